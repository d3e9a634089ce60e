"""Pretraining on synthetic images and evaluation on real ones."""

from typing import Any, get_args

import torch
from torch import Tensor

from ssl_bench.data.contents import DatasetContents, ImageSet, LazyImages
from ssl_bench.data.module import RESIDENT_SHARE, DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.data.types import Split
from ssl_bench.errors import UserError


class Generated(DataModule):
    """Synthetic images without labels for pretraining; the training, validation and test splits are real images.

    The setting of Table 12 of "Constructive Assimilation": an encoder is evaluated on ImageNet, but its pretraining
    uses no image of ImageNet. Image size, statistics and targets are those of the real data.

    Args:
        real: the data set whose training, validation and test images are used in evaluation.
        root: a folder written by ``ssl-bench views sample``.
        **kwargs: see `DataModule`; `fit_images` and `batch_size` count synthetic images.
    """

    name = "generated"

    def __init__(self, real: DataModule, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.real = real
        self.image_shape, self.mean, self.std, self.licence = real.image_shape, real.mean, real.std, real.licence

    def read(self) -> DatasetContents:
        """Find the synthetic images without reading them.

        Raises:
            UserError: the folder has no images, is incomplete, or its images do not have the shape of the real ones.
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
                f"{self.root} has images of {shape}, {self.real.name} of {tuple(self.image_shape)}: give a "
                "--data.real with images of that shape"
            )
        return DatasetContents(SampledImages(shards), torch.full((len(shards),), -1), (), torch.arange(len(shards)))

    def setup(self, stage: str | None = None) -> None:
        """Move the synthetic images to the training device if they fit; the real images stay on the host."""
        self.prepare_data()
        assert self._contents is not None
        contents = self._contents
        self.real.setup(stage)
        self.targets = self.real.targets
        labels = torch.full((len(contents.train), *self.real.labels("train").shape[1:]), -1)
        self._sets = {split: self.real.split(split) for split in get_args(Split)}
        self._sets["fit"] = ImageSet(self._to_training_device(contents.images), labels, contents.train)

    def fit_order(self) -> Tensor:
        """The order of sampling, which is random; generated views of a subset are those of the first images."""
        return torch.arange(len(self._sets["fit"]))

    def _to_training_device(self, images: Tensor | LazyImages) -> Tensor | LazyImages:
        device = self._training_device()
        if device.type != "cuda" or not isinstance(images, SampledImages):
            return images
        fits = images.shards.nbytes("images") <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return images.shards.read_all("images", device) if fits else images


class SampledImages:
    """Memory-mapped images of a folder of ``ssl-bench views sample``; only the indexed rows are read."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Images at rows, int64 ``(n,)``, as uint8 ``(n, C, H, W)``."""
        return self.shards.read("images", rows)
