"""Rotations move pixels and change none; labels are the numbers of rotations."""

import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from ssl_bench.losses.rotation import NUM_ROTATIONS, Orientations, rotate, rotate_images


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("rotations", range(NUM_ROTATIONS))
def test_a_rotation_equals_torchvisions_bit_by_bit(rotations: int, size: int) -> None:
    images = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([transforms.rotate(image, 90.0 * rotations) for image in images])
    assert torch.equal(rotate(images, rotations), expected)


def test_rotations_add_up_modulo_four(images: torch.Tensor) -> None:
    once = rotate(images, 1)
    assert not torch.equal(once, images)
    assert torch.equal(rotate(once, 1), rotate(images, 2))
    assert torch.equal(rotate(rotate(once, 2), 1), images)


@pytest.mark.parametrize("count", [4, 7, 8, 10])
@pytest.mark.parametrize("orientations", ["all", "one"])
def test_every_label_is_the_rotation_of_its_image(images: torch.Tensor, orientations: Orientations, count: int) -> None:
    batch, quarter = images[:count], count // 4
    rotated, upright, labels = rotate_images(batch, orientations)
    assert len(rotated) == 3 * quarter
    assert labels.tolist() == [rotation for rotation in range(4) for _ in range(quarter)]
    for number, (image, label) in enumerate(zip(torch.cat([batch[upright], rotated]), labels, strict=True)):
        rotation, place = divmod(number, quarter)
        source = 4 * place if orientations == "all" else 4 * place + rotation
        assert torch.equal(image, transforms.rotate(batch[source], 90.0 * label.item()))


@pytest.mark.parametrize("orientations", ["all", "one"])
def test_gradients_reach_the_rotated_images(images: torch.Tensor, orientations: Orientations) -> None:
    rotated, _, _ = rotate_images(images.requires_grad_(), orientations)
    (gradient,) = torch.autograd.grad(rotated.sum(), images)
    reached = gradient.flatten(1)[:, 0]
    assert reached.tolist() == ([3, 0, 0, 0] * 2 + [0, 0] if orientations == "all" else [0, 1, 1, 1] * 2 + [0, 0])


@pytest.mark.parametrize("orientations", ["all", "one"])
def test_parts_of_a_batch_are_rotated_as_the_whole_is(images: torch.Tensor, orientations: Orientations) -> None:
    def rotations_of(batch: torch.Tensor) -> dict[bytes, list[int]]:
        rotated, upright, labels = rotate_images(batch, orientations)
        found: dict[bytes, list[int]] = {}
        for image, label in zip(torch.cat([batch[upright], rotated]), labels.tolist(), strict=True):
            found.setdefault(rotate(image.unsqueeze(0), -label).numpy().tobytes(), []).append(label)
        return found

    assert rotations_of(images[:8]) == rotations_of(images[:4]) | rotations_of(images[4:8])
