"""Runs as objects: record, configuration, features, encoder."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_bench.errors import UserError
from ssl_bench.results.record import Record

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_bench.api.encoder import Encoder
    from ssl_bench.methods.base import Method

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class LoadedRun:
    """A recorded run; it can be given wherever the path of a run folder is expected.

    Attributes:
        folder: the run folder.
        record: the record, with scores in `metrics` and times in `seconds`.
        config: the resolved configuration.
        trust: folders of modules with your own classes.
    """

    folder: Path
    record: Record
    config: dict[str, Any]
    trust: tuple[str | Path, ...] = ()

    def __fspath__(self) -> str:
        """The path of the run folder."""
        return str(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """Scores by name; accuracies in percent."""
        return self.record.metrics

    def features(self, split: str) -> "tuple[Tensor, Tensor]":
        """Features ``(N, d)`` and labels, int64 ``(N,)`` or ``(N, T)``, of the images of a split.

        Args:
            split: ``train``, ``validation`` or ``test``.

        Raises:
            UserError: there is no such split, or the features are no longer in the run folder.
        """
        from safetensors.torch import load_file

        if split not in SPLITS:
            raise UserError(f"split {split!r}: give one of {', '.join(SPLITS)}")
        file = self.folder / "features" / f"{split}.safetensors"
        if not file.is_file():
            again = f"`ssl-bench evaluate {self.folder}` encodes the images again"
            where = f"they are in {self.config['features']}" if "features" in self.config else again
            raise UserError(f"no features in {self.folder}: {where}")
        found = load_file(file)
        return found["features"], found["labels"]

    def method(self) -> "Method":
        """The trained method in evaluation mode, on the CPU, without gradients of its parameters.

        Raises:
            UserError: there is no checkpoint, or it cannot be read.
        """
        return self.encoder().method

    def encoder(self) -> "Encoder":
        """The trained encoder as a module that takes images, see `load_encoder`.

        Raises:
            UserError: see `load_encoder`.
        """
        from ssl_bench.api.encoder import load_encoder

        return load_encoder(self.folder, self.trust)


def load_run(folder: str | PathLike[str], trust: Iterable[str | Path] = ()) -> LoadedRun:
    """Read a run.

    Args:
        folder: the run folder, as `ssl-bench bench` prints it.
        trust: folders of modules with your own classes, as of ``--trust``; no other code of a run is executed.

    Returns:
        The run. Its encoder and features are read when they are first used.

    Raises:
        UserError: it is not the folder of a recorded run.

    Example:
        >>> import ssl_bench
        >>> run = ssl_bench.load_run("runs/vae-digits-s0-1a2b3c4d")
        >>> run.metrics["knn_5/accuracy"] > 80
        True
    """
    from ssl_bench.config.agreement import read_config

    path = Path(folder)
    if not (path / "metrics.json").is_file():
        raise UserError(f"no metrics.json in {path}: give the folder of a recorded run, as `ssl-bench bench` prints it")
    return LoadedRun(path, Record.read(path), read_config(path), tuple(trust) or getattr(folder, "trust", ()))
