"""Crop, resize, flip and blur a batch of images, each image in its own way.

All of them are linear and separable, so a step is two small matrices per image, one for the rows and one for
the columns, and one pair of batched matrix products whatever it is made of. Unlike an affine grid, a matrix
clamps at the crop's edge and filters against aliasing as torchvision's crop and resize do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_bench.data.crops import Crop
from ssl_bench.data.transforms import Flip, Transform, bernoulli, check, check_range, check_size, uniform


def _kernel(distance: Tensor, interpolation: str) -> Tensor:
    d = distance.abs()
    if interpolation == "bilinear":
        return (1 - d).clamp(min=0)
    # Keys' cubic with a = -0.5, as Pillow and torchvision's antialiased resize have it.
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, torch.where(d < 2, far, 0.0))


def resize_matrix(
    start: Tensor, length: Tensor, mirrored: Tensor, size: int, out: int, interpolation: str = "bilinear"
) -> Tensor:
    """Matrices that cut [start, start + length) out of `size` pixels and resize it to `out` pixels.

    Weights are those of torchvision's ``resize(crop(x), antialias=True)``: the kernel is widened by the scale
    when the crop is larger than the output, and what falls outside the crop is left out before the weights are
    normalised, which is clamping at the crop's edge.

    Args:
        start: ``(N,)`` first pixel of the crop.
        length: ``(N,)`` pixels in the crop.
        mirrored: ``(N,)`` whether the output runs backwards.
        size: pixels of the input.
        out: pixels of the output.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        ``(N, out, size)``; rows add up to 1, or to 0 where they see nothing of the image.
    """
    i = torch.arange(out, device=start.device)
    k = torch.arange(size, device=start.device)
    start, length, mirrored = start[:, None], length[:, None], mirrored[:, None]
    scale = length / out
    centre = start + (torch.where(mirrored, out - 1 - i, i) + 0.5) * scale
    width = scale.clamp(min=1)
    weights = _kernel(((k + 0.5) / width)[:, None] - (centre / width)[..., None], interpolation)
    weights = weights * ((k >= start) & (k < start + length))[:, None]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-3)


def blur_matrix(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Matrices of a Gaussian blur with the border reflected, as torchvision's ``gaussian_blur``.

    Args:
        sigma: ``(N,)`` standard deviation in pixels.
        size: pixels of the input and the output.
        radius: pixels the kernel reaches to either side, less than `size`.

    Returns:
        ``(N, size, size)``; rows add up to 1.
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
    """``(N, C, H, W)`` images by ``(N, h, H)`` rows and ``(N, w, W)`` columns -> ``(N, C, h, w)``."""
    n, c, height, width = x.shape
    x = (x.reshape(n, c * height, width) @ columns.mT).view(n, c, height, columns.shape[1])
    return rows[:, None] @ x


@dataclass(frozen=True)
class Resample(Transform):
    """A crop and the flips that come straight after it, as one operation."""

    crop: Crop
    flips: tuple[Flip, ...] = ()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The crop's output."""
        return self.crop.output_size(height, width)

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The crop's box, and whether it is turned upside down and mirrored."""
        flipped = {axis: torch.zeros(n, dtype=torch.bool, device=device) for axis in (-2, -1)}
        box = self.crop.box(n, height, width, device)
        for flip in self.flips:
            flipped[flip.axis] ^= flip.sample_parameters(n, height, width, device)[0]
        return *box, flipped[-2], flipped[-1]

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Cut the boxes out and bring them to one size."""
        top, left, box_height, box_width, upside_down, mirrored = drawn
        height, width = x.shape[-2:]
        out_height, out_width = self.output_size(height, width)
        rows = resize_matrix(top, box_height, upside_down, height, out_height, self.crop.interpolation)
        columns = resize_matrix(left, box_width, mirrored, width, out_width, self.crop.interpolation)
        x = separable(x, rows, columns)
        return x.clamp(0, 1) if self.crop.interpolation == "bicubic" else x


@dataclass(frozen=True)
class GaussianBlur(Transform):
    """Blur with probability `p`.

    Args:
        p: probability.
        sigma: range of the standard deviation in pixels, uniform.
        kernel_size: odd number of pixels the kernel spans; by default the odd number next to a tenth of the
            image's smaller side (23 at 224 pixels), as in SimCLR.
        above: leave images alone whose smaller side has no more pixels than this.
    """

    p: float = 0.5
    sigma: Sequence[float] = (0.1, 2.0)
    kernel_size: int | None = None
    above: int = 0

    def __post_init__(self) -> None:
        check("p", self.p, 0, 1)
        check_range("sigma", self.sigma, 1e-2)
        check_size("above", self.above, least=0)
        if self.kernel_size is not None:
            check_size("kernel_size", self.kernel_size)
            if self.kernel_size % 2 == 0:
                raise ValueError(f"kernel_size is {self.kernel_size}, expected an odd number")

    def sample_parameters(self, n: int, height: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """The standard deviations; one too small to reach a neighbour leaves its image alone."""
        sigma = uniform(n, self.sigma, device)
        return (torch.where(bernoulli(n, self.p, device), sigma, 1e-2),)

    def __call__(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Blur rows and columns."""
        height, width = x.shape[-2:]
        side = min(height, width)
        if side <= self.above:
            return x
        radius = int(0.05 * side) if self.kernel_size is None else self.kernel_size // 2
        rows, columns = (blur_matrix(drawn[0], size, min(radius, size - 1)) for size in (height, width))
        return separable(x, rows, columns)
