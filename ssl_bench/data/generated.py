"""Training on generated images what is scored on real ones."""

from typing import Any, get_args

import torch
from torch import Tensor

from ssl_bench.data.module import RESIDENT_SHARE, DataModule, DatasetContents, ImageSet, LazyImages
from ssl_bench.data.shards import Shards
from ssl_bench.data.types import Split
from ssl_bench.errors import UserError


class Generated(DataModule):
    """Pretraining sees images drawn by a generator, without labels; every split that is scored is of real images.

    The setting of Table 12 of "Constructive Assimilation": an encoder of ImageNet that has never seen it. Image size,
    statistics and targets are the real data's.

    Args:
        real: The data set whose training, validation and test images are scored.
        root: The folder that ``ssl-bench views sample`` has written.
        **kwargs: As for every data set; `fit_images` and `batch_size` are of generated images.
    """

    name = "generated"

    def __init__(self, real: DataModule, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.real = real
        self.image_shape, self.mean, self.std, self.licence = real.image_shape, real.mean, real.std, real.licence

    def read(self) -> DatasetContents:
        """Finds the generated images; none is read.

        Raises:
            UserError: The folder has none, or not all, or they are not of the real images' shape.
        """
        if not (self.root / "index.json").is_file():
            raise UserError(
                f"{self.name}: no index.json in {self.root}: give --data.root a folder of `ssl-bench views sample`"
            )
        self.real.prepare_data()
        shards = Shards(self.root)
        if shards.key["kind"] != "sample":
            raise UserError(f"{self.root} was made by `views {shards.key['kind']}`: give a folder of `views sample`")
        shards.require_complete(f"`ssl-bench views sample --out {self.root}` as before")
        if (shape := shards.shape("images")) != tuple(self.image_shape):
            raise UserError(
                f"{self.root} has images of {shape}, {self.real.name} of {tuple(self.image_shape)}: give --data.real "
                "one of that size"
            )
        return DatasetContents(SampledImages(shards), torch.full((len(shards),), -1), (), torch.arange(len(shards)))

    def setup(self, stage: str | None = None) -> None:
        """Puts generated images where the training is, if they fit; the real ones stay on the host."""
        self.prepare_data()
        assert self._contents is not None
        contents = self._contents
        self.real.setup(stage)
        self.targets = self.real.targets
        labels = torch.full((len(contents.train), *self.real.labels("train").shape[1:]), -1)
        self._sets = {split: self.real.split(split) for split in get_args(Split)}
        self._sets["fit"] = ImageSet(self._place(contents.images), labels, contents.train)

    def fit_order(self) -> Tensor:
        """As they were sampled: one is as good as another, and of the first of them views are made first."""
        return torch.arange(len(self._sets["fit"]))

    def _place(self, images: Tensor | LazyImages) -> Tensor | LazyImages:
        device = self._device()
        if device.type != "cuda" or not isinstance(images, SampledImages):
            return images
        fits = images.shards.nbytes("images") <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return images.shards.read_all("images", device) if fits else images


class SampledImages:
    """Images of a folder of ``ssl-bench views sample`` by row, mapped to memory: a batch costs what it has."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows, int64 ``(n,)``, as uint8 ``(n, C, H, W)``."""
        return self.shards.read("images", rows)
