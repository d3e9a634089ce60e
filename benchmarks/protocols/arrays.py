"""The arrays on which protocols are measured, and the measurement of time and memory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

TRAIN, VALIDATION, TEST, DIM, CLASSES = 45_000, 5_000, 10_000, 512, 10
Found = dict[str, float]
T = TypeVar("T")


def make_data() -> dict[str, np.ndarray]:
    """Gaussian classes around random centres, with correlated features of different scales."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    total = TRAIN + VALIDATION + TEST
    y = torch.randint(CLASSES, (total,), generator=generator)
    centres = normal(CLASSES, 64)
    hidden = centres[y] + 2.9 * normal(total, 64)
    x = hidden @ normal(64, DIM) / 8 + 0.7 * normal(total, DIM)
    x = x * torch.logspace(-1, 1, DIM) + normal(DIM)
    fit, train = TRAIN + VALIDATION, TRAIN
    parts = {"train": slice(train), "validation": slice(train, fit), "test": slice(fit, None)}
    arrays = {f"{split}_x": x[rows].numpy() for split, rows in parts.items()}
    return arrays | {f"{split}_y": y[rows].numpy() for split, rows in parts.items()}


class Data:
    """The arrays in the formats of ssl_bench and of the other libraries."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = torch.device(device)
        self.arrays = {path.stem: np.load(path, mmap_mode="c") for path in folder.glob("*.npy")}

    def rows(self, split: str) -> Rows:
        """Rows of one split."""
        x = torch.from_numpy(self.arrays[f"{split}_x"]).to(self.device)
        return Rows(x, torch.from_numpy(self.arrays[f"{split}_y"])[:, None].to(self.device), self.device)

    def task(self) -> Task:
        """Task with all splits."""
        return Task(self.rows("train"), self.rows("validation"), self.rows("test"), CLASSES)

    def features(self) -> Features:
        """Features of all splits, the input of the whole suite."""
        train, validation, test = (
            FeatureSplit(torch.from_numpy(self.arrays[f"{name}_x"]), torch.from_numpy(self.arrays[f"{name}_y"]))
            for name in ("train", "validation", "test")
        )
        return Features(train, validation, test, (Target("class", tuple(map(str, range(CLASSES)))),))

    def fitting(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of train and validation together."""
        return tuple(np.concatenate([self.arrays[f"train_{a}"], self.arrays[f"validation_{a}"]]) for a in "xy")  # type: ignore[return-value]

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the test split."""
        return self.arrays["test_x"], self.arrays["test_y"]


def percent(predicted: Any, labels: Any) -> float:
    return 100 * float((np.asarray(predicted) == np.asarray(labels)).mean())


def standardised(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """float32 features with mean 0 and standard deviation 1 over the train split, as in scikit-learn's examples."""
    x, y = data.fitting()
    mean, deviation = data.arrays["train_x"].mean(0), data.arrays["train_x"].std(0)
    return (x - mean) / deviation, y, (data.test[0] - mean) / deviation, data.test[1]


def memory(field: str) -> float:
    """Memory of this process in MB: ``VmRSS`` is the current size, ``VmHWM`` the peak since the last reset."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def timed(work: Callable[[], T]) -> tuple[Found, T]:
    """Run `work`; returns its wall time in seconds with its additional peak memory in MB, and its result."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = memory("VmRSS"), time.perf_counter()
    found = work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - start, "mb": memory("VmHWM") - before}, found


def scores(work: Callable[[], Found], accuracy: str = "") -> Found:
    """Scores of a protocol with seconds, memory and the accuracy of that name (default: the first one)."""
    result, found = timed(work)
    known = accuracy or next(name for name in found if name.endswith("/accuracy"))
    return found | result | {"accuracy": found[known]}
