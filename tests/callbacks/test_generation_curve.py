"""Generation metrics during training: when they are measured, and that training is unchanged."""

import csv
import os
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from ssl_bench import distributed
from ssl_bench.callbacks.generation_curve import GenerationCurve
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.cli import main
from ssl_bench.config.identity import config_hash
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.evaluation.generative.inception import EXTRACTORS, Extractor
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.results.record import Record
from ssl_bench.results.training_log import read_log
from ssl_bench.runs.train import fit, make_folder
from tests.ranks import Ranks

SMALL = [
    "--method.discriminator.width=4", "--method.generator.width=4", "--method.latent_dim=4", "--data.batch_size=64",
    "--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.limit_train_batches=3",
    "--trainer.log_every_n_steps=1", "--curve.images=50", "--evaluation.generation.batch_size=20",
]  # fmt: skip
METRICS = {"fd_pixels", "inception_score_pixels", "inception_score_pixels_sd"}


def pixels(weights: Path | None, device: torch.device) -> Extractor:
    """An extractor whose features are random projections of the pixels."""
    projections = torch.randn(192, 12, generator=Generator().manual_seed(0))

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        features = images.flatten(1).float() / 255 @ projections
        return features, features

    return Extractor("pixels", "fd_pixels", "kd_pixels", "inception_score_pixels", 12, 12, network)


@pytest.fixture(autouse=True)
def fake_extractor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(EXTRACTORS, "inception", pixels)
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))


def trained(folder: Path, *flags: str, method: str = "ssgan") -> dict[str, list[tuple[int, float]]]:
    """Train or resume; return the curves of the run."""
    config = resolve([*stack(method, "digits", None), *SMALL, *flags])
    torch.manual_seed(0)
    run = build(config)
    if distributed.rank() == 0:
        make_folder(folder, to_dict(config))
    fit(run, config, folder)
    return read_log(folder / "logs", "generation/")


def steps(curves: dict[str, list[tuple[int, float]]]) -> list[int]:
    return [step for step, _ in curves["fd_pixels"]]


def test_it_is_measured_before_the_first_step_after_every_nth_epoch_and_after_the_last(tmp_path: Path) -> None:
    curves = trained(tmp_path, "--curve.every=2", "--trainer.max_epochs=3")
    assert set(curves) == METRICS
    assert steps(curves) == [0, 2 * 3, 3 * 3]
    assert all(distance > 0 for _, distance in curves["fd_pixels"])


@pytest.mark.parametrize("method", ["ssgan", "hinge_gan"])
def test_a_run_with_a_curve_is_the_run_without(method: str, tmp_path: Path) -> None:
    measured = trained(tmp_path / "with", "--curve.every=1", "--trainer.max_epochs=2", method=method)
    assert steps(measured) == [0, 3, 6]
    assert trained(tmp_path / "without", "--trainer.max_epochs=2", method=method) == {}
    weights = load_method(tmp_path / "without").state_dict()
    for name, value in load_method(tmp_path / "with").state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_resumed_run_continues_the_curve_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object, trainer: object, *arguments: object) -> None:
        if getattr(trainer, "current_epoch", 0) == 1:
            raise RuntimeError("stop")

    flags = ["--curve.every=1", "--trainer.max_epochs=2"]
    whole = trained(tmp_path / "whole", *flags)
    with monkeypatch.context() as patch:
        patch.setattr("ssl_bench.callbacks.finite.StopOnNonFinite.on_train_batch_start", stop)
        with pytest.raises(RuntimeError, match="stop"):
            trained(tmp_path / "parts", *flags)
    assert steps(read_log(tmp_path / "parts" / "logs", "generation/")) == [0, 3]
    assert trained(tmp_path / "parts", *flags) == whole
    sessions = sorted((tmp_path / "parts" / "logs").glob("*/metrics.csv"))
    rows = [row for file in sessions for row in csv.DictReader(file.open(encoding="utf-8"))]
    assert [int(row["step"]) for row in rows if row["generation/fd_pixels"]] == [0, 3, 6]


def test_the_last_distance_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    flags = [*SMALL, f"--out={tmp_path / 'runs'}", "--trainer.max_epochs=1", "--curve.every=1"]
    protocol = ["--evaluation.protocols=[generation]", "--evaluation.generation.images=50"]
    assert main(["bench", "--method=ssgan", "--data=digits", *flags, *protocol]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    step, distance = read_log(folder / "logs", "generation/")["fd_pixels"][-1]
    assert step == 3
    assert distance == pytest.approx(Record.read(folder).metrics["fd_pixels"], rel=1e-5)
    assert (folder / "figures" / "generation.png").is_file()


def test_the_hash_of_a_run_depends_on_a_curve_only_if_it_has_one() -> None:
    files = stack("ssgan", "digits", None)
    config = to_dict(resolve(files))
    before = {key: value for key, value in config.items() if key != "curve"}
    assert config_hash(config) == config_hash(before) == config_hash(to_dict(resolve([*files, "--curve.images=99"])))
    assert config_hash(config) != config_hash(to_dict(resolve([*files, "--curve.every=1"])))


def test_a_method_that_is_not_generative_is_refused(tmp_path: Path) -> None:
    config = resolve([*stack("ssgan", "digits", None), "--curve.every=1"])
    run = build(config)
    run.method = Method()
    with pytest.raises(UserError, match="Method has no sample"):
        GenerationCurve(run, to_dict(config), tmp_path, Stopwatch())


def on_rank(folder: Path) -> dict[str, list[tuple[int, float]]]:
    EXTRACTORS["inception"] = pixels
    os.environ["SSL_BENCH_CACHE"] = str(folder / "cache")
    flags = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=32"]
    return trained(folder, "--curve.every=1", "--trainer.max_epochs=1", *flags)


def test_ranks_measure_what_one_process_measures(ranks: Ranks, tmp_path: Path) -> None:
    """Before the first step, where both have the same weights; BatchNorm's statistics are of half the batch."""
    alone = trained(tmp_path / "one", "--curve.every=1", "--trainer.max_epochs=1", "--data.batch_size=32")
    found, _ = ranks(on_rank, tmp_path / "two")
    assert steps(found) == steps(alone) == [0, 3]
    assert found["fd_pixels"][0][1] == pytest.approx(alone["fd_pixels"][0][1], rel=1e-4)
