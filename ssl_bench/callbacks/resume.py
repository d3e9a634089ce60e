"""Resume a run with `max_steps` after its last epoch."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class ResumeAfterEpoch(Callback):
    """Resume from a checkpoint of the end of an epoch at the start of the next epoch, also with `max_steps`.

    With `max_steps`, Lightning takes every checkpoint for one in the middle of an epoch, and trains one more batch of
    the finished epoch. Its counters are therefore set to those of an epoch that has not started.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Change the counters before Lightning restores them."""
        loops = checkpoint["loops"]["fit_loop"]
        epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        if trainer.max_steps == -1 or epochs["current"]["ready"] > epochs["current"]["processed"]:
            return
        for counts in epochs.values():
            counts["completed"] = counts["processed"]
        batches["current"] = dict.fromkeys(batches["current"], 0)
        batches["is_last_batch"] = False
        loops["state_dict"].pop("combined_loader", None)
