"""Shards: progress, reading and writing, and folders of other rows."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.data.shards import Shards
from ssl_bench.errors import RunError, UserError
from tests.full_disk import largest_file
from tests.ranks import Ranks

CPU = torch.device("cpu")
KEY = {"kind": "test", "settings": {"sizes": (1, 2), "lr": 0.1}}


def tensors(rows: Tensor) -> dict[str, Tensor]:
    """For each row 3 images whose values encode the row and the index of the image, and a number."""
    images = rows.view(-1, 1, 1, 1) * 10 + torch.arange(3).view(1, 3, 1, 1)
    return {"views": images.expand(-1, -1, 2, 2).to(torch.uint8), "loss": rows / 7}


def fill(folder: Path, count: int = 11) -> Shards:
    shards = Shards.create(folder, KEY, count, shard_rows=4)
    for shard in shards.assigned(CPU):
        shards.write(shard, tensors(shards.rows(shard)))
    return shards


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    fill(tmp_path)
    shards = Shards(tmp_path).require_complete("views")
    rows = torch.tensor([10, 0, 3, 4, 3])
    assert torch.equal(shards.read("views", rows), tensors(rows)["views"])
    columns = torch.tensor([[2, 0], [0, 1], [1, 2], [2, 1], [0, 2]])
    chosen = shards.read("views", rows, columns)
    assert torch.equal(chosen, tensors(rows)["views"][torch.arange(5).unsqueeze(1), columns])
    assert torch.equal(shards.read_all("loss"), torch.arange(11) / 7)
    assert torch.equal(shards.read_all("loss", count=5), torch.arange(5) / 7)
    assert shards.shape("views") == (3, 2, 2)
    assert shards.nbytes("views") == 11 * 12


def test_existing_shards_are_not_written_again(tmp_path: Path) -> None:
    shards = Shards.create(tmp_path, KEY, 11, lambda: {"found": 1}, shard_rows=4)
    shards.write(1, tensors(shards.rows(1)))
    again = Shards.create(tmp_path, KEY, 11, lambda: {"found": 2}, shard_rows=8)
    assert again.assigned(CPU) == again.missing() == [0, 2]
    assert again.notes == {"found": 1}


def test_missing_rows_are_counted(tmp_path: Path) -> None:
    shards = Shards.create(tmp_path, KEY, 11, shard_rows=4)
    shards.write(0, tensors(shards.rows(0)))
    with pytest.raises(UserError, match="7 of 11 rows are missing: resume with `views search`"):
        shards.require_complete("`views search`")


@pytest.mark.parametrize(
    ("key", "count", "named"),
    [
        (KEY | {"kind": "other"}, 11, "kind is test there and other here"),
        (KEY | {"settings": {"sizes": (1, 2), "lr": 0.2}}, 11, "settings.lr is 0.1 there and 0.2 here"),
        (KEY, 12, "count is 11 there and 12 here"),
    ],
)
def test_a_folder_with_another_key_is_refused(tmp_path: Path, key: dict[str, object], count: int, named: str) -> None:
    Shards.create(tmp_path, KEY, 11)
    with pytest.raises(UserError, match=named):
        Shards.create(tmp_path, key, count)


@pytest.mark.parametrize("size", [0, 50, 100])
def test_a_full_disk_leaves_no_shard(tmp_path: Path, size: int) -> None:
    shards = Shards.create(tmp_path, KEY, 4)
    with largest_file(size), pytest.raises(RunError, match=r"cannot write .*00000\.safetensors: File too large: free"):
        shards.write(0, tensors(shards.rows(0)))
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_a_folder_without_shards_and_a_damaged_shard_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no readable index"):
        Shards(tmp_path)
    shards = fill(tmp_path)
    next(tmp_path.glob("*1.safetensors")).write_bytes(b"half")
    with pytest.raises(UserError, match="delete it"):
        shards.read("loss", torch.tensor([5]))
    with pytest.raises(UserError, match="not codes: give a folder of codes"):
        shards.shape("codes")


def test_rows_without_an_index_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(UserError, match=r"has rows but no index\.json"):
        Shards.create(tmp_path, KEY, 11)


def make_in(folder: Path) -> str:
    with pytest.raises(UserError) as raised:
        Shards.create(folder, KEY, 11)
    return str(raised.value)


def test_every_rank_raises_if_the_folder_cannot_be_created(ranks: Ranks, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    first, second = ranks(make_in, tmp_path / "file" / "folder")
    assert first == second
    assert "cannot write to" in first


def mine_and_fill(folder: Path) -> list[int]:
    shards = Shards.create(folder, KEY, 11, shard_rows=4)
    mine = shards.assigned(CPU)
    for shard in mine:
        shards.write(shard, tensors(shards.rows(shard)))
    return mine


def test_two_ranks_divide_the_shards(ranks: Ranks, tmp_path: Path) -> None:
    assert ranks(mine_and_fill, tmp_path) == [[0, 2], [1]]
    assert torch.equal(Shards(tmp_path).require_complete("it").read_all("loss"), torch.arange(11) / 7)
