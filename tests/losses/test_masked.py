"""Masked autoencoder: patches, their normalisation and the loss against loops."""

import torch

from ssl_bench.losses.masked import masked_error, normalize_patches, patchify, unpatchify


def images() -> torch.Tensor:
    return torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_patches_are_row_by_row_with_pixels_before_channels() -> None:
    x = images()
    patches = patchify(x, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            patch = x[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(patches[1, 3 * row + column], patch.permute(1, 2, 0).flatten())


def test_unpatchify_is_the_inverse() -> None:
    torch.testing.assert_close(unpatchify(patchify(images(), 2), (2, 3), 2), images())


def test_loss_is_the_mean_over_masked_patches_of_normalised_patches() -> None:
    target, predicted = patchify(images(), 2), patchify(images().flip(0), 2)
    masked = torch.tensor([[0, 3, 4], [5, 1, 2]])
    errors = []
    for n in range(2):
        for place in masked[n].tolist():
            patch = target[n, place]
            deviation = (((patch - patch.mean()) ** 2).sum() / 11 + 1e-6) ** 0.5
            errors.append((((patch - patch.mean()) / deviation - predicted[n, place]) ** 2).mean())
    torch.testing.assert_close(masked_error(predicted, normalize_patches(target), masked), torch.stack(errors).mean())


def test_a_constant_patch_is_normalised_to_zero() -> None:
    assert torch.equal(normalize_patches(torch.full((1, 1, 12), 0.5)), torch.zeros(1, 1, 12))
