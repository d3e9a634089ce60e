"""Masked autoencoder: the patches of images, and the loss of the masked ones."""

from torch import Tensor


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """Patches ``(N, L, patch_size^2 C)`` of images ``(N, C, H, W)``, row by row; pixels before channels."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // patch_size, patch_size, w // patch_size, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch_size**2 * c)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Images ``(N, C, H, W)`` of patches ``(N, L, patch_size^2 C)``: the inverse of `patchify`."""
    n, (rows, columns) = len(patches), grid
    x = patches.view(n, rows, columns, patch_size, patch_size, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(n, -1, rows * patch_size, columns * patch_size)


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Patches ``(N, L, P)`` with mean 0 and variance 1 over the values of each patch (unbiased, as released)."""
    return (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + eps).sqrt()


def masked_error(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """Mean squared error of the masked patches (He et al. 2022, arXiv 2111.06377, section 3).

    Args:
        predicted: values ``(N, L, P)`` of all patches.
        target: values of the same shape.
        masked: indices int64 ``(N, M)`` of the masked patches.
    """
    error = (predicted - target).square().mean(2)
    return error.gather(1, masked).mean()
