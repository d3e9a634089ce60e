"""Sample grids: when they are saved, and that training is unchanged."""

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ssl_bench.callbacks.samples import SampleGrid
from ssl_bench.data.types import Batch
from ssl_bench.methods.base import Method


class Points(Dataset[Batch]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Batch:
        return Batch(torch.full((1, 3), float(index)), torch.tensor(0), torch.tensor(index))


class Sampler(Method):
    """Samples with BatchNorm and dropout, which depend on the mode; one of its networks is never in training mode."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 4)):
        super().__init__()
        self.network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 16))
        self.average = nn.BatchNorm1d(3).eval()
        self.shape = shape
        self.modes: list[tuple[bool, bool, bool, torch.dtype]] = []
        self.latents: list[Tensor] = []
        self.noise: list[float] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.noise.append(torch.rand(()).item())
        return self.network(batch.images.flatten(1)).square().mean()  # type: ignore[no-any-return]

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        torch.rand(5)  # the global generator's, as a careless method would
        self.latents.append(torch.randn(n, 3, generator=generator))
        y = self.network(self.latents[-1])
        self.modes.append((self.training, self.network[1].training, torch.is_grad_enabled(), y.dtype))
        return torch.sigmoid(y).view(n, *self.shape)


class NotGenerative(Method):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(3, 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.network(batch.images.flatten(1)).square().mean()  # type: ignore[no-any-return]


def fit(method: Method, folder: Path, epochs: int, grids: bool = True, **trainer: Any) -> None:
    torch.manual_seed(0)
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[SampleGrid(folder)] if grids else [],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, **trainer},
    ).fit(method, DataLoader(Points(), batch_size=2))


def grids(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("samples_epoch")) for path in sorted((folder / "figures").glob("*.png"))]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, [1]), (3, [1, 2, 3]), (10, [*range(1, 11)]), (15, [2, 4, 6, 8, 10, 12, 14, 15])]
)
def test_a_run_has_at_most_ten_grids_and_one_of_its_last_epoch(
    epochs: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_bench.callbacks.samples.save", lambda figure, path, title: path.touch() or path)
    fit(Sampler(), tmp_path, epochs)
    assert grids(tmp_path) == expected


def test_a_grid_has_64_images(tmp_path: Path) -> None:
    fit(method := Sampler(), tmp_path, 1)
    assert len(method.latents[0]) == 64
    assert matplotlib.image.imread(tmp_path / "figures" / "samples_epoch0001.png").std() > 0.05


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_sampling_changes_no_random_number_no_weight_and_no_mode(precision: str, tmp_path: Path) -> None:
    runs = []
    for with_grids in (True, False):
        torch.manual_seed(0)
        runs.append(Sampler())
        fit(runs[-1], tmp_path, 3, with_grids, precision=precision)
    sampled, plain = runs
    assert sampled.noise == plain.noise
    for name, value in sampled.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name
    assert sampled.modes == [(False, False, False, torch.float32)] * 3
    assert [module.training for module in sampled.modules()] == [module.training for module in plain.modules()]
    assert not sampled.average.training


def test_every_grid_has_the_same_noise(tmp_path: Path) -> None:
    fit(method := Sampler(), tmp_path, 2)
    assert torch.equal(method.latents[0], method.latents[1])


@pytest.mark.parametrize("method", [Sampler(shape=(16,)), NotGenerative()], ids=["points", "not generative"])
def test_there_is_no_grid_without_images(method: Method, tmp_path: Path) -> None:
    fit(method, tmp_path, 1)
    assert grids(tmp_path) == []


def test_an_error_of_a_grid_is_printed_and_does_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(method := Sampler(shape=(5, 5, 5)), tmp_path, 2)
    assert len(method.noise) == 4
    assert method.network.training
    assert "samples of epoch 2: RuntimeError" in capsys.readouterr().err


def test_the_grid_is_logged_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, list[str], int]] = []
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, key, images, step: logged.append((key, images, step)))
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda self, params: None)
    wandb = WandbLogger(save_dir=tmp_path, mode="disabled")
    fit(Sampler(), tmp_path, 1, logger=[CSVLogger(tmp_path), wandb])
    wandb.experiment.finish()  # else the logger of the next test would continue this run
    assert logged == [("samples", [str(tmp_path / "figures" / "samples_epoch0001.png")], 2)]
