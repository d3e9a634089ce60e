"""Encoders that are scored without training: baselines and external encoders."""

from collections.abc import Callable, Iterable
from itertools import takewhile
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_bench.distributed import all_reduce_sum
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.networks.interfaces import Network
from ssl_bench.networks.mlp import MLPEncoder
from ssl_bench.networks.pretrained import loads_pretrained_weights
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.ranges import PositiveInt, check_ranges

EXACT = 4096
"""Largest size C * H * W of an image for which the full covariance of the pixels is decomposed."""


class Frozen(Method):
    """Base of encoders without trainable parameters."""

    family = "baseline"

    def prepare(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Fit statistics of the training images, on the device; by default nothing is fitted.

        Args:
            batches: returns a new iterator over this process's share of the training images, as evaluation sees them.
        """


class Pixels(Frozen):
    """Raw pixels, flattened: the baseline ``pixels``.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.

    Example:
        ``ssl-bench evaluate pixels --data digits``
    """

    def __init__(self, image_shape: tuple[int, ...]):
        super().__init__()
        self.feature_dim = prod(image_shape)

    def encode(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C * H * W)``."""
        return x.flatten(1)


@check_ranges
class PCA(Frozen):
    """Principal components of the training images' pixels: the baseline ``pca``.

    They are exact for images of up to 4,096 values (C * H * W). For larger images they come from a randomised subspace
    after four power iterations (Halko et al. 2011, arXiv 0909.4061).

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        components: number of components, largest variance first; limited to the number of values of an image.

    Example:
        ``ssl-bench evaluate pca --data digits``
    """

    mean: Tensor
    components: Tensor

    def __init__(self, image_shape: tuple[int, ...], components: PositiveInt = 64):
        super().__init__()
        self.feature_dim = min(components, prod(image_shape))
        self.register_buffer("mean", torch.zeros(prod(image_shape)))
        self.register_buffer("components", torch.zeros(self.feature_dim, prod(image_shape)))

    def prepare(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Eigenvectors of the covariance of the training images, from float64 sums over batches and ranks."""
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


@check_ranges
class Random(Frozen):
    """A ResNet-18 (for points an MLP) with random weights, initialised from ``--seed``: the baseline ``random``.

    It is the same network for every method. To score the network of a method without training, use
    ``ssl-bench bench --method NAME --epochs 0``.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        width: channels of the first of the four stages; 64 is ResNet-18.

    Example:
        ``ssl-bench evaluate random --data digits``
    """

    def __init__(self, image_shape: tuple[int, ...], width: PositiveInt = 64):
        super().__init__()
        self.feature_dim = 8 * width
        self.network: Network
        if len(image_shape) == 1:
            self.network = MLPEncoder(image_shape, self.feature_dim, hidden=(self.feature_dim,))
        else:
            stem: Literal["small", "imagenet"] = "small" if image_shape[-1] <= 64 else "imagenet"
            self.network = ResNetEncoder(image_shape, 0, width, stem=stem)

    def encode(self, x: Tensor) -> Tensor:
        """The pooled features: normalised ``(N, C, H, W)`` to ``(N, 8 * width)``."""
        return self.network(x)


class Timm(Frozen):
    """A model of timm, scored before its classifier. Greyscale images are repeated to three channels.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        model: name of the model in timm. With a tag (``resnet18.a1_in1k``), timm downloads the weights of this tag, and
            images are resized, cropped and normalised as timm evaluates them. Without a tag the weights are random, and
            images keep their size unless the architecture has a fixed input size.

    Example:
        ``ssl-bench evaluate timm/resnet18.a1_in1k --data cifar10``
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: tuple[int, ...], model: str):
        import timm
        from timm.data import MaybeToTensor
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        from ssl_bench.networks.timm_backbone import check_images, reason

        super().__init__()
        if len(image_shape) != 3 or image_shape[0] not in (1, 3):
            raise UserError(f"timm: {model} needs images of 1 or 3 channels, got shape {image_shape}")
        self.pretrained = "." in model
        try:
            loaded = self.pretrained and loads_pretrained_weights()
            network: Any = timm.create_model(model, pretrained=loaded, num_classes=0)
        except Exception as error:  # errors of timm, of the model hub and of the network have no common base
            raise UserError(
                f"timm/{model}: {reason(error)}; see timm.list_models(), "
                f"or give the name without its tag for random weights"
            ) from error
        wanted: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
        fixed = self.pretrained or network.pretrained_cfg.get("fixed_input_size")
        self.network: Any = network
        self.steps: list[Any] = []
        self.feature_dim = network.head_hidden_size  # some models widen the features after pooling
        if fixed:
            transform: Any = create_transform(**wanted, is_training=False)
            self.steps = list(takewhile(lambda step: not isinstance(step, MaybeToTensor), transform.transforms))
        else:
            check_images(network, model, (3, *image_shape[1:]))
        self.register_buffer("mean", torch.tensor(wanted["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(wanted["std"]).view(3, 1, 1))
        self.register_buffer("fingerprint", fingerprint_features(self, image_shape))

    def encode(self, x: Tensor) -> Tensor:
        """The classifier's input: ``(N, C, H, W)`` in [0, 1] to ``(N, feature_dim)``."""
        for step in self.steps:  # a resize and a crop
            x = step(x)
        x = x.clamp(0, 1)  # bicubic interpolation exceeds the range
        features: Tensor = self.network((x.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return features


@torch.no_grad()
def fingerprint_features(method: Frozen, image_shape: tuple[int, ...]) -> Tensor:
    """Features of two fixed images, as a buffer: features are encoded again if the code or the weights change."""
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    return method.eval().encode(images)
