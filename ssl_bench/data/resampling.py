"""Crop, resize, flip and blur a batch of images, with separate parameters for each image.

All of these operations are linear and separable. Any combination of them is therefore a product of the image with two
small matrices, one for the rows and one for the columns, in two batched matrix products. Unlike an affine grid, the
matrices clamp at the edge of the crop and antialias, like torchvision's crop and resize.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ssl_bench.data.crops import Crop, Interpolation
from ssl_bench.data.transforms import Flip, Probability, Transform, bernoulli, check_ascending, uniform
from ssl_bench.errors import UserError
from ssl_bench.ranges import Interval, NonNegativeInt, PositiveInt, check_ranges

BlurSigma = Annotated[float, Interval(1e-2)]


def _kernel(distance: Tensor, interpolation: Interpolation) -> Tensor:
    d = distance.abs()
    if interpolation == "bilinear":
        return (1 - d).clamp(min=0)
    # Keys' cubic with a = -0.5, as in Pillow and torchvision's antialiased resize.
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


def resize_matrix(
    start: Tensor, length: Tensor, flipped: Tensor, size: int, out: int, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Matrices that take pixels [start, start + length) out of `size` pixels and resize them to `out` pixels.

    Weights are those of torchvision's ``resize(crop(x), antialias=True)``: if the crop is larger than the output, the
    kernel is widened by the scale. Pixels outside the crop are excluded before the weights are normalised; this clamps
    at the edge of the crop.

    Args:
        start: ``(N,)`` first pixel of the crop.
        length: ``(N,)`` number of pixels in the crop.
        flipped: ``(N,)`` whether the order of the output is reversed.
        size: number of pixels of the input.
        out: number of pixels of the output.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        ``(N, out, size)``; each row sums to 1, or to 0 if its output pixel lies outside the image.
    """
    i = torch.arange(out, device=start.device)
    k = torch.arange(size, device=start.device)
    start, length, flipped = start[:, None], length[:, None], flipped[:, None]
    scale = length / out
    centre = start + (torch.where(flipped, out - 1 - i, i) + 0.5) * scale
    width = scale.clamp(min=1)
    weights = _kernel(((k + 0.5) / width)[:, None] - (centre / width)[..., None], interpolation)
    weights = weights * ((k >= start) & (k < start + length))[:, None]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-3)


def blur_matrix(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Matrices of a Gaussian blur with reflected borders, as in torchvision's ``gaussian_blur``.

    Args:
        sigma: ``(N,)`` standard deviation in pixels.
        size: number of pixels of the input and of the output.
        radius: number of kernel pixels on either side of the centre, less than `size`.

    Returns:
        ``(N, size, size)``; rows sum to 1.
    """
    i = torch.arange(size, device=sigma.device)[:, None]
    k = torch.arange(size, device=sigma.device)
    last = size - 1

    def tap(distance: Tensor) -> Tensor:
        gauss = torch.exp(-0.5 * (distance / sigma[:, None, None]) ** 2)
        return torch.where(distance.abs() <= radius, gauss, 0.0)

    weights = tap(i - k) + tap(i + k) * (k > 0) + tap(2 * last - i - k) * (k < last)
    return weights / weights.sum(-1, keepdim=True)


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply images ``(N, C, H, W)`` by matrices ``(N, h, H)`` and ``(N, w, W)``; returns ``(N, C, h, w)``."""
    n, c, height, width = x.shape
    x = (x.reshape(n, c * height, width) @ columns.mT).view(n, c, height, columns.shape[1])
    return rows[:, None] @ x


@dataclass(frozen=True)
class Resample(Transform):
    """A crop and the flips that directly follow it, as one operation."""

    crop: Crop
    flips: tuple[Flip, ...] = ()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The size of the crop's output."""
        return self.crop.output_size(height, width)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The crop's box, and whether rows and columns are flipped."""
        flipped = {axis: torch.zeros(n, dtype=torch.bool, device=device) for axis in (-2, -1)}
        box = self.crop.box(n, height, width, device)
        for flip in self.flips:
            flipped[flip.axis] ^= flip.sample_parameters(n, height, width, device)[0]
        return *box, flipped[-2], flipped[-1]

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Crop, flip and resize."""
        top, left, box_height, box_width, flipped_rows, flipped_columns = parameters
        height, width = x.shape[-2:]
        out_height, out_width = self.output_size(height, width)
        rows = resize_matrix(top, box_height, flipped_rows, height, out_height, self.crop.interpolation)
        columns = resize_matrix(left, box_width, flipped_columns, width, out_width, self.crop.interpolation)
        x = separable(x, rows, columns)
        return x.clamp(0, 1) if self.crop.interpolation == "bicubic" else x


@check_ranges
@dataclass(frozen=True)
class GaussianBlur(Transform):
    """Blur with probability `p`.

    Args:
        p: probability that an image is blurred.
        sigma: lowest and highest standard deviation in pixels; the distribution is uniform.
        kernel_size: size of the kernel in pixels, odd; by default ``2 int(s / 20) + 1``, where s is the smaller side of
            the image (23 at 224 pixels), as in SimCLR.
        above: blur only images whose smaller side has more pixels than this.
    """

    p: Probability = 0.5
    sigma: tuple[BlurSigma, BlurSigma] = (0.1, 2.0)
    kernel_size: PositiveInt | None = None
    above: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_ascending(self, "sigma")
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise UserError(f"GaussianBlur: kernel_size must be an odd integer, got {self.kernel_size}")

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The standard deviations; for an image that is not selected, a value too small to have an effect."""
        sigma = uniform(n, self.sigma, device)
        return (torch.where(bernoulli(n, self.p, device), sigma, 1e-2),)

    def __call__(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """Blur rows and columns."""
        height, width = x.shape[-2:]
        side = min(height, width)
        if side <= self.above:
            return x
        radius = int(0.05 * side) if self.kernel_size is None else self.kernel_size // 2
        rows, columns = (blur_matrix(parameters[0], size, min(radius, size - 1)) for size in (height, width))
        return separable(x, rows, columns)
