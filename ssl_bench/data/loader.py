"""The data loader of the training images, which can resume in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from ssl_bench.data.sampler import BatchSampler
from ssl_bench.data.types import Batch


class TrainingLoader(DataLoader[Batch]):
    """Data loader whose state is the number of batches that were used of the current epoch.

    Lightning saves the state in every checkpoint, and restores it if the checkpoint is from the middle of an epoch.
    Batches that workers have prefetched do not count. The length stays that of a whole epoch, because Lightning counts
    the batches before the checkpoint itself.
    """

    sampler: BatchSampler
    used = 0
    """Number of batches of this epoch that were yielded."""
    skip = 0
    """Number of batches that the next iteration skips."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield the batches of an epoch, or the rest of one.

        Workers start at the first batch, and not before: Lightning sets the epoch after it has created the iterator.
        """
        self.sampler.start = self.used = self.skip
        self.skip = 0
        for batch in super().__iter__():
            self.used += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint."""
        return {"used": self.used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Skip the batches before the checkpoint."""
        self.skip = state_dict["used"]
