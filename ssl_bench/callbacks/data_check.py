"""Check that a run is trained on the data recorded in its run folder."""

from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ssl_bench.data.fingerprint import record_data
from ssl_bench.data.module import DataModule


class DataCheck(Callback):
    """Print a summary of the data; write their fingerprint to the run folder, and check it when the run resumes.

    Lightning calls ``setup`` after that of the data and before the checkpoint is restored.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the summary on the first rank; write or check the fingerprint in every process."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DataModule)
        if trainer.is_global_zero:
            print(data.summary(), flush=True)
        record_data(data, self.folder)
