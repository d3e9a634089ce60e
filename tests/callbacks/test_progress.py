"""The lines that a run prints: the size of an epoch, and its progress."""

import re

import pytest
import torch
from lightning import Trainer

from ssl_bench.callbacks.progress import EpochLine, EpochSize, epoch_size
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
