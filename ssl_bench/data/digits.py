"""Handwritten digits of 8x8 pixels, embedded in scikit-learn: a real data set that needs no download."""

import torch
from sklearn.datasets import load_digits

from ssl_bench.data.module import DataModule, DatasetContents
from ssl_bench.data.types import Target


class Digits(DataModule):
    """1,797 grey images in 10 classes (Alpaydin & Kaynak 1998, UCI; scikit-learn holds their test part).

    There is no official split: a fifth is held out as test.
    """

    name = "digits"
    image_shape = (1, 8, 8)
    mean = (0.3060,)
    std = (0.3763,)
    licence = "CC BY 4.0 (UCI Machine Learning Repository)"

    def read(self) -> DatasetContents:
        """Scales the 17 grey levels to 0..255."""
        digits = load_digits()
        images = torch.as_tensor(digits.images, dtype=torch.float32).mul(255 / 16).round().to(torch.uint8)
        return DatasetContents(
            images=images.unsqueeze(1),
            labels=torch.as_tensor(digits.target, dtype=torch.int64),
            targets=(Target("digit", tuple(map(str, digits.target_names))),),
            train=torch.arange(len(images)),
        )
