import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.distributed import rank, share, world_size
from ssl_bench.errors import RunError, UserError
from ssl_bench.evaluation.features import DataSource, Features, extract
from tests.full_disk import largest_file
from tests.ranks import Ranks

COUNTS: dict[Split, int] = {"train": 70, "validation": 20, "test": 30}
ALL = sum(COUNTS.values()) + 2 * len(COUNTS)  # two of each split are encoded once more to see how long a feature is
CPU = torch.device("cpu")


class Images:
    """Three splits of random uint8 images."""

    targets = (Target("parity", ("even", "odd")),)

    def labels(self, split: Split) -> Tensor:
        return torch.arange(COUNTS[split]) % 2

    def batches(self, split: Split, batch_size: int, *, shared: bool = False) -> Iterator[Batch]:
        n = COUNTS[split]
        images = torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
        parts = torch.split(torch.arange(n), batch_size)
        for i in share(len(parts)) if shared else range(len(parts)):
            yield Batch(images[parts[i]], parts[i] % 2, parts[i])


class Padded(Images):
    """Share of each process padded with images of another one, out of order, as padding samplers do."""

    def batches(self, split: Split, batch_size: int, *, shared: bool = False) -> Iterator[Batch]:
        for whole in super().batches(split, batch_size):
            rows = torch.arange(len(whole.ids)).flip(0)
            rows = torch.cat([rows[rank() :: world_size()], rows[:3]]) if shared else rows
            yield Batch(*(tensor[rows] for tensor in whole))


class Encoder:
    """A linear map that counts its images."""

    def __init__(self) -> None:
        self.layer = torch.nn.Linear(16, 3)
        self.seen = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        out: Tensor = self.layer(x.flatten(1))
        return out


def scale(images: Tensor, ids: Tensor) -> Tensor:
    return images.float() / 255


def run(
    encode: Callable[[Tensor], Tensor],
    folder: Path,
    key: str = "a",
    autocast: torch.dtype | None = None,
    images: DataSource | None = None,
) -> Features:
    return extract(encode, images or Images(), scale, folder, key=key, device=CPU, autocast=autocast)


def test_features_are_the_encoders_in_order_with_labels(tmp_path: Path) -> None:
    encoder = Encoder()
    features = run(encoder, tmp_path / "features")
    assert features.targets == Images.targets
    for split, part in zip(COUNTS, features[:3], strict=True):
        (batch,) = Images().batches(split, 1000)
        torch.testing.assert_close(part.features, encoder(scale(batch.images, batch.ids)).detach())
        assert torch.equal(part.labels, batch.labels)


def test_features_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder()
    whole = run(encoder, tmp_path / "whole")
    monkeypatch.setattr("ssl_bench.evaluation.features.BATCH_SIZE", 7)
    parts = run(encoder, tmp_path / "parts")
    torch.testing.assert_close(parts.train.features, whole.train.features)


def test_the_second_call_reads_and_does_not_encode(tmp_path: Path) -> None:
    encoder = Encoder()
    first, second = run(encoder, tmp_path), run(encoder, tmp_path)
    assert encoder.seen == ALL
    assert torch.equal(first.test.features, second.test.features)


def spoil_key(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "other"}))


def truncate_features(folder: Path) -> None:
    path = folder / "test.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def truncate_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:20])


def swap_splits(folder: Path) -> None:
    (folder / "test.safetensors").write_bytes((folder / "train.safetensors").read_bytes())


def remove_split(folder: Path) -> None:
    (folder / "validation.safetensors").unlink()


@pytest.mark.parametrize("spoil", [spoil_key, truncate_features, truncate_manifest, swap_splits, remove_split])
def test_features_of_another_encoder_and_damaged_files_are_recomputed(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    encoder = Encoder()
    first = [part.features.clone() for part in run(encoder, tmp_path)[:3]]
    spoil(tmp_path)
    again = run(encoder, tmp_path)
    assert encoder.seen == 2 * ALL
    assert all(torch.equal(a, b.features) for a, b in zip(first, again[:3], strict=True))


def test_features_are_float32_and_can_be_trained_on(tmp_path: Path) -> None:
    features = run(Encoder(), tmp_path, autocast=torch.bfloat16).train.features
    assert features.dtype == torch.float32
    assert torch.equal(features, features.bfloat16().float())  # the encoder did run in lower precision
    weight = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad((features @ weight).sum(), weight)
    torch.testing.assert_close(gradient, features.sum(0))


def test_non_finite_features_are_counted_and_no_file_remains(tmp_path: Path) -> None:
    def encode(x: Tensor) -> Tensor:
        return torch.where(torch.arange(len(x))[:, None] < 2, torch.nan, x.flatten(1))

    with pytest.raises(UserError, match="train split: features of 2 of 70 images are not finite"):
        run(encode, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_feature_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shape \(2, 1, 4, 4\) for 2 images; expected \(2, features\)"):
        run(lambda x: x, tmp_path)


def test_an_interrupted_run_leaves_no_manifest_and_no_half_written_file(tmp_path: Path) -> None:
    run(Encoder(), tmp_path)

    def encode(x: Tensor) -> Tensor:
        if len(x) == COUNTS["test"]:
            raise KeyboardInterrupt
        return x.flatten(1)

    with pytest.raises(KeyboardInterrupt):
        run(encode, tmp_path, key="b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{split}.safetensors" for split in ("test", "train", "validation")
    ]


@pytest.mark.parametrize("size", [0, 50, 1000])
def test_a_full_disk_leaves_no_half_written_file_and_the_next_call_completes(tmp_path: Path, size: int) -> None:
    expected = run(lambda x: x.flatten(1), tmp_path / "undisturbed")
    with largest_file(size), pytest.raises(RunError, match=r"cannot write .*train\.safetensors: File too large: free"):
        run(lambda x: x.flatten(1), tmp_path / "full")
    assert list((tmp_path / "full").iterdir()) == []
    features = run(lambda x: x.flatten(1), tmp_path / "full")
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(features[:3], expected[:3], strict=True))


def on_rank(folder: Path) -> list[Tensor]:
    parts = run(lambda x: x.flatten(1)[:, :5], folder, images=Padded())[:3]
    return [part.features.clone() for part in parts]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_write_one_file_without_duplicates_and_in_order(tmp_path: Path, ranks: Ranks, size: int) -> None:
    alone = run(lambda x: x.flatten(1)[:, :5], tmp_path / "alone")
    for found in ranks(on_rank, tmp_path / "shared", size=size):
        assert all(torch.equal(a.features, b) for a, b in zip(alone[:3], found, strict=True))
    assert not list(tmp_path.glob("**/*.partial"))


class Gap(Images):
    """A data set whose batches leave images out."""

    def batches(self, split: Split, batch_size: int, *, shared: bool = False) -> Iterator[Batch]:
        for batch in super().batches(split, batch_size, shared=shared):
            yield Batch(*(tensor[:-1] for tensor in batch))


def test_missing_images_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train split: 1 of 70 images are in no batch"):
        run(lambda x: x.flatten(1), tmp_path, images=Gap())
    assert list(tmp_path.iterdir()) == []
