"""Messages of Lightning that do not concern users of ssl_bench."""

import logging
import os
import warnings

LIGHTNING_LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")
"""Loggers of device lists and advertisements."""
MESSAGES = (
    ".*overridden `.*transfer.*` in `LightningModule`",  # intended: the method makes the views
    ".*isinstance.treespec, LeafSpec.. is deprecated",  # raised inside Lightning
    ".*does not have many workers",  # a batch is one gather: workers are slower
    ".*module.s. in eval mode at the start of training",  # moving averages always are
    ".*number of training batches .* is smaller than the logging interval",
    ".*The `srun` command is available on your system but is not used",  # Lightning starts the processes
)


def prepare_process() -> None:
    """Silence these messages in this process, and spare optimizers the search for GPUs where there are none."""
    import torch

    for name in LIGHTNING_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
    if not torch.cuda.is_available():
        # Without this, a torch built for CUDA looks for GPUs in every optimizer step, which takes 0.3 ms.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
