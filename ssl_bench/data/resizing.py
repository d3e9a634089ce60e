"""Images of any size as the input of an encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.errors import UserError


def resize_and_crop(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images of a given shape: resized with bilinear interpolation and antialiasing, and cropped to the centre.

    Args:
        images: ``(N, C, h, w)``, uint8 or float in [0, 1]; or points, float ``(N, D)``.
        shape: ``(C, H, W)``, or ``(D,)``.

    Returns:
        The images themselves if they have this shape, else float ``(N, C, H, W)`` in [0, 1].

    Raises:
        UserError: the images have another number of channels or dimensions, another type, or other values.
    """
    if not isinstance(images, Tensor):
        raise UserError(f"images are {type(images).__name__}, expected a tensor: torch.as_tensor converts arrays")
    given = tuple(images.shape)
    expected = f"(N, {', '.join(map(str, shape))})"
    if images.ndim != len(shape) + 1 or given[1] != shape[0] or 0 in given[1:]:
        anything = " with any height and width" if len(shape) == 3 else ""
        raise UserError(f"images of shape {given}, expected {expected}{anything}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise UserError(f"images of type {images.dtype}, expected uint8, or float in [0, 1]")
    if len(shape) == 1:
        if not images.is_floating_point() or not images.isfinite().all():
            raise UserError(f"points of type {images.dtype}, expected finite floats")
        return images
    if images.is_floating_point() and images.numel():
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise UserError(f"images with values from {low:.3g} to {high:.3g}, expected uint8, or float in [0, 1]")
    if given[1:] == shape:
        return images
    x = images.float() if images.is_floating_point() else images.float() / 255
    scale = max(shape[1] / given[2], shape[2] / given[3])
    size = [max(side, round(length * scale)) for side, length in zip(shape[1:], given[2:], strict=True)]
    x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    top, left = ((length - side) // 2 for length, side in zip(size, shape[1:], strict=True))
    return x[..., top : top + shape[1], left : left + shape[2]].clamp(0, 1)
