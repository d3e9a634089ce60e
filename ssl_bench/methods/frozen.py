"""Encoders that the suite scores and does not train: the floors, and what others have trained."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.networks.mlp import MLPEncoder
from ssl_bench.networks.resnet import ResNetEncoder

EXACT = 4096
"""Numbers of an image up to which the whole covariance of the pixels is decomposed."""


class Frozen(Method):
    """An encoder with nothing to train."""

    def prepare(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Learn what can be learned without training, on the device; nothing by default.

        Args:
            batches: this process's share of the training images, in evaluation's form, each time anew.
        """


class Pixels(Frozen):
    """Raw pixels, flattened.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
    """

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.feature_dim = prod(image_shape)

    def encode(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C * H * W)``."""
        return x.flatten(1)


class PCA(Frozen):
    """Principal components of the training images' pixels.

    They are exact for images of up to 4,096 numbers, and for larger ones those of a randomised subspace after four
    power iterations (Halko et al. 2011, arXiv 0909.4061).

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        components: how many, largest variance first; at most as many as an image has numbers.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, image_shape: tuple[int, ...], components: int = 64):
        super().__init__()
        if components < 1:
            raise UserError(f"pca: {components} components; give at least 1")
        self.feature_dim = min(components, prod(image_shape))
        self.register_buffer("mean", torch.zeros(prod(image_shape)))
        self.register_buffer("components", torch.zeros(self.feature_dim, prod(image_shape)))

    def prepare(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Eigenvectors of the covariance of the training images, by float64 sums over batches."""
        size = len(self.mean)
        count = torch.zeros(1, dtype=torch.float64, device=self.device)
        total = torch.zeros(size, dtype=torch.float64, device=self.device)
        for batch in batches():
            count += len(batch)
            total += batch.flatten(1).sum(0, dtype=torch.float64)
        self.mean.copy_(all_reduce_sum(total) / all_reduce_sum(count))

        def covariance_times(basis: Tensor) -> Tensor:
            product = torch.zeros(size, basis.shape[1], dtype=torch.float64, device=self.device)
            for batch in batches():
                x = batch.flatten(1) - self.mean
                product += (x.T @ (x @ basis.float())) if basis.shape[1] < size else x.T @ x
            return all_reduce_sum(product)

        if size <= EXACT:
            basis = torch.eye(size, dtype=torch.float64, device=self.device)
        else:
            seeded = torch.Generator().manual_seed(0)
            basis = torch.randn(size, self.feature_dim + 16, generator=seeded, dtype=torch.float64).to(self.device)
            for _ in range(4):
                basis = torch.linalg.qr(covariance_times(basis)).Q
        vectors = torch.linalg.eigh(basis.T @ covariance_times(basis)).eigenvectors
        self.components.copy_((basis @ vectors[:, -self.feature_dim :]).flip(1).T)

    def encode(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, components)``."""
        return (x.flatten(1) - self.mean) @ self.components.T


class Random(Frozen):
    """An untrained ResNet-18 (for points: an MLP), as initialised under ``--seed``.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        width: channels of the first of its four stages; 64 is ResNet-18.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 64):
        super().__init__()
        self.feature_dim = 8 * width
        self.network: nn.Module
        if len(image_shape) == 1:
            self.network = MLPEncoder(image_shape, self.feature_dim, hidden=(self.feature_dim,))
        else:
            stem = "small" if image_shape[-1] <= 64 else "imagenet"
            self.network = ResNetEncoder(image_shape, 0, width, stem=stem)  # type: ignore[arg-type]

    def encode(self, x: Tensor) -> Tensor:
        """The pooled features: ``(N, C, H, W)`` normalised to ``(N, 8 * width)``."""
        return self.network(x)  # type: ignore[no-any-return]


class Timm(Frozen):
    """A model of timm, scored before its classifier. Grey images are repeated to three channels.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        model: its name in timm. With a tag (``resnet18.a1_in1k``) it has that tag's weights, downloaded by timm, and
            images are resized and normalised as they ask; without one it has random weights, and images keep their
            size unless the architecture has one size only.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: tuple[int, ...], model: str):
        import timm
        from timm.data.config import resolve_model_data_config

        super().__init__()
        if len(image_shape) != 3 or image_shape[0] not in (1, 3):
            raise UserError(f"timm: {model} needs images of 1 or 3 channels, got shape {image_shape}")
        pretrained = "." in model
        try:
            network: Any = timm.create_model(model, pretrained=pretrained, num_classes=0)
        except Exception as error:  # timm's own, the model hub's and the network's have no common base
            raise UserError(
                f"timm/{model}: {str(error).splitlines()[0]}; see timm.list_models(), "
                f"or give the name without its tag for random weights"
            ) from error
        wanted: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
        resize = pretrained or network.pretrained_cfg.get("fixed_input_size")
        self.network = network
        self.size: tuple[int, int] | None = tuple(wanted["input_size"][1:]) if resize else None
        self.feature_dim = network.head_hidden_size  # some widen pooled features before the classifier
        self.register_buffer("mean", torch.tensor(wanted["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(wanted["std"]).view(3, 1, 1))

    def encode(self, x: Tensor) -> Tensor:
        """What the classifier is given: ``(N, C, H, W)`` in [0, 1] to ``(N, feature_dim)``."""
        if self.size:
            x = interpolate(x, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        return self.network((x.expand(-1, 3, -1, -1) - self.mean) / self.std)  # type: ignore[no-any-return]
