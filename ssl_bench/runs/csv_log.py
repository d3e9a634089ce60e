"""The log of a run as CSV files."""

from contextlib import nullcontext, suppress
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from ssl_bench.errors import RunError
from ssl_bench.files import writing


class RunCSVLogger(CSVLogger):
    """Lightning's CSV logger, which ends the run with one line if the disk is full."""

    def save(self) -> None:
        """Append the logged metrics to the file.

        Raises:
            RunError: the disk is full.
        """
        with writing(Path(self.log_dir) / "metrics.csv"):
            super().save()

    def finalize(self, status: str) -> None:
        """Append the remaining metrics; after an error of the run, that error is reported."""
        with suppress(RunError) if status == "failed" else nullcontext():
            super().finalize(status)
