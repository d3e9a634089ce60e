"""The lines that a run prints: the size of an epoch, and its progress."""

import csv
import re
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from benchmarks.mutations.methods import MODULE, STEP
from ssl_bench.callbacks.progress import EpochLine, EpochSize, ProgressBar, epoch_size
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data import Digits
from ssl_bench.data.sampler import BatchSampler
from tests.data.test_sampler import Recorder


@pytest.mark.parametrize(
    ("batch", "world", "drop_last", "line"),
    [
        (128, 1, False, "1,437 images, 12 steps of up to 128 per epoch; none dropped"),
        (479, 1, True, "1,437 images, 3 steps of 479 per epoch; none dropped"),
        (
            256, 3, True,
            "1,437 images, 1 step of 768 per epoch (3 processes x 256); 669 (46.6 %) dropped in every epoch: "
            "--data.drop_last false uses them",
        ),
        (
            100, 2, False,
            "1,437 images, 8 steps of up to 200 per epoch (2 processes x 100); 1 (0.1 %) dropped in every epoch",
        ),
    ],
)  # fmt: skip
def test_the_line_states_steps_and_dropped_images(batch: int, world: int, drop_last: bool, line: str) -> None:
    sampler = BatchSampler(range(1437), batch, num_replicas=world, rank=0, drop_last=drop_last)
    assert epoch_size(sampler, len(sampler)) == line


def test_images_that_limited_epochs_leave_out_are_counted() -> None:
    sampler = BatchSampler(range(100), 30, num_replicas=1, rank=0, drop_last=False)
    assert epoch_size(sampler, 2) == "100 images, 2 steps of 30 per epoch; 40 (40.0 %) dropped in every epoch"


@pytest.mark.parametrize("flags", [[], ["--trainer.accumulate_grad_batches=4"], ["--trainer.log_every_n_steps=2"]])
def test_the_loss_of_every_epoch_is_logged_and_printed(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--method=simclr", "--data=digits", "--epochs=3", "--method.backbone.width=8",
               "--trainer.limit_train_batches=5", "--data.batch_size=16", "--trainer.accelerator=cpu"]  # fmt: skip
    assert main([*command, *flags, f"--out={tmp_path}"]) == 0
    epochs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 3
    assert all(re.search(r"loss \d+\.\d{4}  lr [\d.e-]+  [\d,]+ images/s", line) for line in epochs)
    (log,) = tmp_path.rglob("metrics.csv")
    rows = list(csv.DictReader(log.open()))
    assert {row["epoch"] for row in rows if row["train/loss"]} == {"0", "1", "2"}
    assert len({row["step"] for row in rows}) == len(rows)


TWO_OPTIMIZERS = """
    automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(self.encoder.parameters(), lr=0.01) for _ in range(2)]

    def training_step(self, batch, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = self.encoder(batch.images[0]).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log_metrics({"loss": loss.detach()})
"""


def test_the_loss_of_a_method_with_two_optimizers_is_logged_by_batches(tmp_path: Path) -> None:
    """`global_step` counts the steps of both, 0, 2, 4, ..., and never reaches the end of an even interval."""
    (tmp_path / "own_two.py").write_text(MODULE.replace(STEP, TWO_OPTIMIZERS, 1))
    command = ["fit", f"--trust={tmp_path}", "--method=own_two.Own", "--data=digits", "--epochs=3"]
    flags = ["--trainer.limit_train_batches=4", "--trainer.accelerator=cpu", f"--out={tmp_path / 'runs'}"]
    assert main([*command, *flags]) == 0
    (log,) = tmp_path.rglob("metrics.csv")
    assert [row["step"] for row in csv.DictReader(log.open()) if row["train/loss"]] == ["3", "7", "11"]


def test_the_bar_of_a_terminal_shows_loss_learning_rate_and_speed() -> None:
    bar, shown = ProgressBar(), []

    class Shown(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: object) -> None:
            shown.append([*bar.get_metrics(trainer, pl_module)])

    trainer = Trainer(max_epochs=1, limit_train_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_model_summary=False, callbacks=[bar, Shown()], log_every_n_steps=1)  # fmt: skip
    run = build(resolve(stack("vae", "digits", None)))
    run.method.views = run.views
    trainer.fit(run.method, Digits(batch_size=8))
    assert shown == [["loss", "lr", "images/s"]] * 2


def test_a_run_prints_the_size_of_an_epoch_and_the_images_per_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 0.0, 1.0, 10.0, 12.0])
    monkeypatch.setattr("ssl_bench.callbacks.progress.time.perf_counter", lambda: next(times))
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[EpochSize(), EpochLine()],
    )  # fmt: skip
    recorder = Recorder()
    trainer.fit(recorder, Digits(batch_size=700, drop_last=False))
    assert [len(batch) for batch in recorder.seen] == [700, 700, 38] * 2
    assert torch.cat(recorder.seen[:3]).unique().numel() == 1438
    first, *epochs = capsys.readouterr().out.splitlines()
    assert first == "1,438 images, 3 steps of up to 700 per epoch; none dropped"
    assert re.findall(r"[\d,]+ images/s", "\n".join(epochs)) == ["1,438 images/s", "719 images/s"]
