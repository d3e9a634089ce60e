"""Quarter turns move pixels and change none, and labels say which."""

import pytest
import torch
from torchvision.transforms.v2.functional import rotate

from ssl_bench.losses.rotation import NUM_ROTATIONS, Orientations, quarter_turn, rotate_images


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("turns", range(NUM_ROTATIONS))
def test_a_turn_is_torchvisions_to_the_last_bit(turns: int, size: int) -> None:
    images = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([rotate(image, 90.0 * turns) for image in images])
    assert torch.equal(quarter_turn(images, turns), expected)


def test_four_turns_are_none_and_two_of_one_are_one_of_two(images: torch.Tensor) -> None:
    once = quarter_turn(images, 1)
    assert not torch.equal(once, images)
    assert torch.equal(quarter_turn(once, 1), quarter_turn(images, 2))
    assert torch.equal(quarter_turn(quarter_turn(once, 2), 1), images)


@pytest.mark.parametrize("count", [4, 7, 8, 10])
@pytest.mark.parametrize("orientations", ["all", "one"])
def test_every_label_is_the_turn_of_its_image(images: torch.Tensor, orientations: Orientations, count: int) -> None:
    batch, quarter = images[:count], count // 4
    moved, upright, labels = rotate_images(batch, orientations)
    assert len(moved) == 3 * quarter
    assert labels.tolist() == [turn for turn in range(4) for _ in range(quarter)]
    for number, (image, label) in enumerate(zip(torch.cat([batch[upright], moved]), labels, strict=True)):
        turn, place = divmod(number, quarter)
        source = 4 * place if orientations == "all" else 4 * place + turn
        assert torch.equal(image, rotate(batch[source], 90.0 * label.item()))


@pytest.mark.parametrize("orientations", ["all", "one"])
def test_gradients_reach_the_images_that_are_turned(images: torch.Tensor, orientations: Orientations) -> None:
    moved, _, _ = rotate_images(images.requires_grad_(), orientations)
    (gradient,) = torch.autograd.grad(moved.sum(), images)
    reached = gradient.flatten(1)[:, 0]
    assert reached.tolist() == ([3, 0, 0, 0] * 2 + [0, 0] if orientations == "all" else [0, 1, 1, 1] * 2 + [0, 0])


@pytest.mark.parametrize("orientations", ["all", "one"])
def test_parts_of_a_batch_are_turned_as_the_whole_is(images: torch.Tensor, orientations: Orientations) -> None:
    def turns_of(batch: torch.Tensor) -> dict[bytes, list[int]]:
        moved, upright, labels = rotate_images(batch, orientations)
        found: dict[bytes, list[int]] = {}
        for image, label in zip(torch.cat([batch[upright], moved]), labels.tolist(), strict=True):
            found.setdefault(quarter_turn(image.unsqueeze(0), -label).numpy().tobytes(), []).append(label)
        return found

    assert turns_of(images[:8]) == turns_of(images[:4]) | turns_of(images[4:8])
