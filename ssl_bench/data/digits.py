"""Handwritten digits of 8x8 pixels, part of scikit-learn: a real data set that needs no download."""

import torch
from sklearn.datasets import load_digits

from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target


class Digits(DataModule):
    """1,797 grey images in 10 classes (Alpaydin & Kaynak 1998, UCI; scikit-learn contains their test part).

    There is no official split: a fifth of the images is held out as test.
    """

    name = "digits"
    image_shape = (1, 8, 8)
    mean = (0.3060,)
    std = (0.3763,)
    licence = "CC BY 4.0 (UCI Machine Learning Repository)"

    def read(self) -> DatasetContents:
        """Scale the 17 grey levels to 0..255."""
        digits = load_digits()
        images = torch.as_tensor(digits.images, dtype=torch.float32).mul(255 / 16).round().to(torch.uint8)
        return DatasetContents(
            images=images.unsqueeze(1),
            labels=torch.as_tensor(digits.target, dtype=torch.int64),
            targets=(Target("digit", tuple(map(str, digits.target_names))),),
            train=torch.arange(len(images)),
        )
