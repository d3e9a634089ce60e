"""Validation accuracy during training: when it is measured, its value, and that training is unchanged."""

import time
from pathlib import Path

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from ssl_bench import distributed
from ssl_bench.callbacks import validation_curve
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.config.identity import config_hash
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.vae import VAE
from ssl_bench.plots.run import validation_curve as figure
from ssl_bench.results.training_log import read_log
from ssl_bench.runs.train import fit, make_folder
from tests.methods.test_contract import METHODS, tiny_flags
from tests.ranks import Ranks

FAST = ["--data.batch_size=64", "--trainer.precision=32-true", "--trainer.accelerator=cpu"]
FAST += ["--trainer.limit_train_batches=3", "--trainer.log_every_n_steps=1"]
KNN = "knn_5_euclidean/accuracy"
Curves = dict[str, list[tuple[int, float]]]


def trained(folder: Path, *flags: str, method: str = "vae") -> tuple[Run, Curves]:
    """Train or resume; return the objects of the run and its curves against the epoch."""
    config = resolve([*stack(method, "digits", None), *FAST, *flags])
    torch.manual_seed(0)
    run = build(config)
    if distributed.rank() == 0:
        make_folder(folder, to_dict(config))
    fit(run, config, folder)
    return run, read_log(folder / "logs", "validation/", against="epoch")


def epochs(curves: Curves) -> list[int]:
    return [epoch for epoch, _ in curves.get(KNN, [])]


def test_an_interval_measures_the_untrained_encoder_every_nth_epoch_and_the_last(tmp_path: Path) -> None:
    _, curves = trained(tmp_path, "--validation.every=2", "--trainer.max_epochs=3", "--validation.linear_probe=true")
    assert {"knn_5/accuracy", KNN, "linear_probe/accuracy", "rankme"} <= set(curves)
    assert epochs(curves) == [0, 2, 3]


@pytest.mark.parametrize(("share", "expected"), [(1e9, [4, 8]), (0, [4])])
def test_the_default_measures_every_fourth_epoch_while_its_share_of_the_time_is_small(
    share: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_curve, "MAX_SHARE", share)
    _, curves = trained(tmp_path, "--trainer.max_epochs=9")
    assert epochs(curves) == expected


def test_zero_disables_it(tmp_path: Path) -> None:
    assert trained(tmp_path, "--validation.every=0", "--trainer.max_epochs=4")[1] == {}


def test_a_value_is_the_accuracy_of_the_checkpoint_on_the_validation_images(tmp_path: Path) -> None:
    run, curves = trained(tmp_path, "--validation.every=1", "--trainer.max_epochs=1")
    method = load_method(tmp_path).eval()

    def features(split: str) -> Tensor:
        with torch.no_grad():
            return method.encode(run.views.evaluation_input(run.data.split(split)[torch.arange(len(run.data.labels(split)))].images))  # type: ignore[arg-type] # fmt: skip # noqa: E501

    for name, metric in {KNN: "euclidean", "knn_5/accuracy": "cosine"}.items():
        classifier = KNeighborsClassifier(5, metric=metric).fit(features("train").double(), run.data.labels("train"))
        expected = 100 * classifier.score(features("validation").double(), run.data.labels("validation"))
        assert curves[name][-1][1] == pytest.approx(expected, abs=100 / len(run.data.labels("validation")) + 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_a_curve_is_the_run_without(method: str, tmp_path: Path) -> None:
    flags = [*tiny_flags(method), "--data.batch_size=32", "--trainer.max_epochs=2"]
    _, curves = trained(tmp_path / "with", "--validation.every=1", *flags, method=method)
    assert epochs(curves) == [0, 1, 2]
    trained(tmp_path / "without", "--validation.every=0", *flags, method=method)
    weights = load_method(tmp_path / "without").state_dict()
    for name, value in load_method(tmp_path / "with").state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_resumed_run_continues_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: object, trainer: object, *arguments: object) -> None:
        if getattr(trainer, "current_epoch", 0) == 1:
            raise RuntimeError("stop")

    flags = ["--validation.every=1", "--trainer.max_epochs=2"]
    _, whole = trained(tmp_path / "whole", *flags)
    with monkeypatch.context() as patch:
        patch.setattr("ssl_bench.callbacks.finite.StopOnNonFinite.on_train_batch_start", stop)
        with pytest.raises(RuntimeError, match="stop"):
            trained(tmp_path / "parts", *flags)
    assert trained(tmp_path / "parts", *flags)[1] == whole


def test_settings_of_the_curve_do_not_change_the_hash() -> None:
    files = stack("vae", "digits", None)
    config = to_dict(resolve(files))
    before = {key: value for key, value in config.items() if key != "validation"}
    assert config_hash(config) == config_hash(before)
    assert config_hash(config) == config_hash(to_dict(resolve([*files, "--validation.every=3"])))


def test_collapsed_features_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(self: VAE, x: Tensor) -> Tensor:
        return torch.ones(len(x), self.feature_dim) + 1e-4 * x.flatten(1)[:, 20 : 20 + self.feature_dim]

    monkeypatch.setattr(VAE, "encode", encode)
    trained(tmp_path, "--validation.every=1", "--trainer.max_epochs=1")
    warning = "warning: validation after epoch 1: RankMe of the features is 1.0 of at most 10"
    assert f"{warning}: the encoder may have collapsed" in capsys.readouterr().err


def test_a_constant_loss_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = VAE.training_step
    monkeypatch.setattr(VAE, "training_step", lambda self, *batch: 0 * step(self, *batch) + 7)
    trained(tmp_path, "--validation.every=1", "--trainer.max_epochs=1")
    assert "the loss of all steps of the epoch is 7: the encoder may have collapsed" in capsys.readouterr().err


def test_a_learning_encoder_is_not_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, "--validation.every=1", "--trainer.max_epochs=1")
    assert "collapsed" not in capsys.readouterr().err


def test_data_without_labels_have_the_warning_only_and_are_refused_if_an_interval_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssl_bench.data.module import DataModule

    labels = DataModule.labels
    monkeypatch.setattr(DataModule, "labels", lambda self, split: torch.full_like(labels(self, split), -1))
    monkeypatch.setattr(VAE, "encode", lambda self, x: torch.ones(len(x), 10) + 1e-4 * x.flatten(1)[:, 20:30])
    curves = trained(tmp_path / "default", "--trainer.max_epochs=4")[1]
    assert {name: [epoch for epoch, _ in curve] for name, curve in curves.items()} == {"rankme": [4]}
    assert "validation after epoch 4: RankMe of the features is 1.0" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"validation\.every needs labelled train and validation images"):
        trained(tmp_path / "interval", "--trainer.max_epochs=1", "--validation.every=1")


def test_a_stopped_clock_leaves_out_the_time() -> None:
    stopwatch = Stopwatch()
    with stopwatch.paused():
        time.sleep(0.2)
    assert stopwatch.state_dict()["seconds"] < 0.15


def test_the_figure_shows_accuracies_against_epochs(tmp_path: Path) -> None:
    log = tmp_path / "version_0" / "metrics.csv"
    log.parent.mkdir()
    log.write_text("epoch,step,validation/knn_5/accuracy,validation/rankme\n0,0,50,3\n2,20,75,4\n")
    plotted = figure(tmp_path)
    assert plotted is not None
    (line,) = plotted.axes[0].lines
    assert torch.as_tensor(line.get_xydata()).tolist() == [[0, 50], [2, 75]]


def on_rank(folder: Path) -> Curves:
    flags = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=32"]
    return trained(folder, "--validation.every=1", "--trainer.max_epochs=1", *flags)[1]


def test_ranks_measure_what_one_process_measures(ranks: Ranks, tmp_path: Path) -> None:
    """Before the first step, where both have the same weights."""
    _, alone = trained(tmp_path / "one", "--validation.every=1", "--trainer.max_epochs=1")
    found, _ = ranks(on_rank, tmp_path / "two")
    assert epochs(found) == epochs(alone) == [0, 1]
    assert found[KNN][0] == alone[KNN][0]
    assert found["rankme"][0][1] == pytest.approx(alone["rankme"][0][1], rel=1e-4)
