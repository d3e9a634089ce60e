"""Pretraining on synthetic images, evaluation on real ones, and folders that do not fit."""

from pathlib import Path

import pytest
import torch

from ssl_bench.cli import main
from ssl_bench.data import CIFAR10, Digits, Generated
from ssl_bench.data.shards import Shards
from ssl_bench.data.types import Split
from ssl_bench.errors import UserError
from ssl_bench.generation.image_identity import identify_code_images, match_rows
from tests.data.conftest import Make


@pytest.fixture
def generated(make: Make) -> Generated:
    module = make("generated")
    assert isinstance(module, Generated)
    module.setup()
    return module


def sampled(folder: Path, images: torch.Tensor, kind: str = "sample", of: int = 0) -> str:
    """A folder of these images; it is incomplete if `of` is larger than their number."""
    shards = Shards.create(folder, {"kind": kind}, of or len(images), shard_rows=len(images))
    shards.write(0, {"images": images})
    return str(folder)


def test_training_uses_synthetic_images_without_labels(generated: Generated) -> None:
    generated.batch_size = 7
    for batch in generated.train_dataloader():
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.ids)  # of the sample image i is grey i
        assert (batch.labels == -1).all()
    fit = generated.split("fit")
    assert len(fit) == 100
    assert torch.equal(fit.rows, torch.arange(100))
    assert torch.equal(fit[torch.tensor([77, 3])].images[:, 0, 0, 0], torch.tensor([77, 3], dtype=torch.uint8))


def test_splits_are_those_of_the_real_images(generated: Generated, root: Path) -> None:
    real = CIFAR10(root=str(root))
    real.setup()
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for split in splits:
        everything = torch.arange(len(real.split(split)))
        for ours, theirs in zip(generated.split(split)[everything], real.split(split)[everything], strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(generated.labels(split), real.labels(split))
        batches = torch.cat([batch.images for batch in generated.batches(split, 8)])
        assert torch.equal(batches, real.split(split)[everything].images)
    assert generated.targets == real.targets
    assert (generated.image_shape, generated.mean, generated.std) == (real.image_shape, real.mean, real.std)


def test_only_the_indexed_images_are_read(generated: Generated) -> None:
    fit = generated.split("fit")
    fit.images.shards._open.clear()  # type: ignore[union-attr]
    fit[torch.tensor([31, 59])]
    assert list(fit.images.shards._open) == [1]  # type: ignore[union-attr]


def test_views_of_sampled_codes_are_found_by_the_images_ids(generated: Generated, root: Path) -> None:
    folder = Shards(root / "sampled")
    assert torch.equal(match_rows(folder, identify_code_images(folder), generated), torch.arange(100))


def test_fit_images_selects_the_first_of_the_synthetic_images(make: Make) -> None:
    module = make("generated", fit_images=20, batch_size=10)
    module.setup()
    seen = torch.cat([batch.ids for batch in module.train_dataloader()])
    assert sorted(seen.tolist()) == sorted(module.fit_order()[:20].tolist())


def test_unsuitable_folders_are_refused(tmp_path: Path) -> None:
    def refused(folder: str, line: str) -> None:
        with pytest.raises(UserError, match=line) as raised:
            Generated(Digits(), folder).setup()
        assert "\n" not in str(raised.value)

    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    refused(str(tmp_path / "none"), "no index.json in .*--data.root")
    refused(sampled(tmp_path / "part", images, of=6), "2 of 6 rows are missing: resume with `ssl-bench views sample")
    refused(
        sampled(tmp_path / "views", images, kind="search"), "made by `views search`: give a folder of `views sample`"
    )
    refused(
        sampled(tmp_path / "large", torch.zeros(4, 3, 32, 32, dtype=torch.uint8)), r"images of \(3, 32, 32\), digits"
    )


def test_a_method_is_trained_on_synthetic_images_and_scored_on_real_ones(tmp_path: Path) -> None:
    images = torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert main([
        "bench", "--method=vae", "--data=generated", f"--data.root={sampled(tmp_path / 'sampled', images)}",
        "--data.real=ssl_bench.data.Digits", "--data.num_workers=0", f"--out={tmp_path / 'runs'}",
        "--method.encoder.hidden=[16]", "--method.decoder.hidden=[16]", "--data.batch_size=16", "--epochs=1",
        "--evaluation.protocols=[knn]", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
    ]) == 0  # fmt: skip
    (record,) = (tmp_path / "runs").glob("*/metrics.json")
    assert "knn_5/accuracy" in record.read_text()
