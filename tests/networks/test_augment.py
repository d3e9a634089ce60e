"""What discriminators are shown: DiffAugment's and ADA's transforms, and ADA's probability."""

import pytest
import torch
from torch import Tensor

from ssl_bench.networks.adaptive_augment import AdaptiveAugment
from ssl_bench.networks.diff_augment import DiffAugment


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(64, 3, 16, 16) * 2 - 1


def certain() -> AdaptiveAugment:
    augment = AdaptiveAugment()
    augment.p.fill_(1)
    return augment


def test_translation_moves_each_image_by_up_to_an_eighth(x: Tensor) -> None:
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    found = set()
    for image, moved in zip(padded, DiffAugment(color=False, cutout=False)(x), strict=True):
        shifts = [(i, j) for i in range(5) for j in range(5) if torch.equal(moved, image[:, i : i + 16, j : j + 16])]
        assert len(shifts) == 1
        found.add(shifts[0])
    assert len(found) > 15


def test_cutout_leaves_all_but_a_square_of_half_the_side(x: Tensor) -> None:
    y = DiffAugment(color=False, translation=False)(x)
    gone = (y == 0).all(1)
    assert torch.equal(y, x * ~gone[:, None])
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), rows * columns)
    assert rows.max() == columns.max() == 8  # whole where it does not leave the image
    assert rows.min() >= 4


def test_color_changes_brightness_saturation_and_contrast_of_each_image(x: Tensor) -> None:
    y = DiffAugment(translation=False, cutout=False)(x)
    shift = y.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert -0.5 <= shift.min() < -0.4
    assert 0.4 < shift.max() <= 0.5
    grey = (y.mean(1) - y.mean((1, 2, 3))[:, None, None]).std((1, 2)) / x.mean(1).std((1, 2))
    assert 0.5 - 1e-3 <= grey.min() < 0.6
    assert 1.4 < grey.max() <= 1.5 + 1e-3


@pytest.mark.parametrize("augment", [DiffAugment(), certain()])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_by_itself_differs_and_has_gradients(
    augment: DiffAugment | AdaptiveAugment, channels: int, x: Tensor
) -> None:
    x = x[:1, :channels].repeat(8, 1, 1, 1).requires_grad_()
    y = augment(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert all(not torch.equal(y[0], other) for other in y[1:])
    (gradient,) = torch.autograd.grad(y[0].square().sum(), x)
    assert gradient[0].any()
    assert not gradient[1:].any()


def test_without_probability_nothing_changes(x: Tensor) -> None:
    torch.testing.assert_close(AdaptiveAugment()(x), x)


def test_every_transform_has_that_probability() -> None:
    augment = AdaptiveAugment()
    augment.p.fill_(0.3)
    values = augment.with_probability_p(torch.ones(20_000), 0.0)
    assert values.mean() == pytest.approx(0.3, abs=0.02)


def test_rotations_and_flips_are_exact(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last random values mid-range, geometry is flips, rotations by 90 degrees and whole pixels."""
    augment, number = certain(), iter(range(100))

    def values(self: AdaptiveAugment, values: Tensor, neutral: float) -> Tensor:
        return values if next(number) < 2 else torch.full_like(values, neutral)

    monkeypatch.setattr(AdaptiveAugment, "with_probability_p", values)
    monkeypatch.setattr("ssl_bench.networks.adaptive_augment.uniform", lambda *shape, device: torch.zeros(shape))
    kinds = set()
    for image, rotated in zip(x, augment(x), strict=True):
        known = {(k, f): (image.flip(2) if f else image).rot90(k, (1, 2)) for k in range(4) for f in (False, True)}
        same = [kind for kind, candidate in known.items() if torch.allclose(rotated, candidate, atol=1e-4)]
        assert len(same) == 1
        kinds.add(same[0])
    assert len(kinds) == 8


def draw_one(monkeypatch: pytest.MonkeyPatch, transform: int | None, uniform: float) -> AdaptiveAugment:
    """All draws known, normal ones 1 and whole ones too; only that transform is applied, rotations none."""
    number = iter(range(100))

    def with_probability_p(self: AdaptiveAugment, values: Tensor, neutral: float) -> Tensor:
        return values if next(number) == transform else torch.full_like(values, neutral)

    monkeypatch.setattr(AdaptiveAugment, "with_probability_p", with_probability_p)
    monkeypatch.setattr(
        "ssl_bench.networks.adaptive_augment.uniform", lambda *shape, device: torch.full(shape, uniform)
    )
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.ones(shape))
    monkeypatch.setattr(torch, "randint", lambda low, high, shape, device: torch.ones(shape, dtype=torch.int64))
    return AdaptiveAugment()


GROWN = 2**0.2


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        pytest.param(2, [[1, 0, 0.125], [0, 1, 0.125]], id="one pixel of 16"),
        pytest.param(3, [[GROWN, 0, 0], [0, GROWN, 0]], id="scale"),
        pytest.param(4, [[GROWN, 0, 0], [0, 1 / GROWN, 0]], id="stretch"),
        pytest.param(5, [[1, 0, 0.25], [0, 1, 0.25]], id="an eighth of the width"),
    ],
)
def test_geometry_by_known_random_numbers(
    transform: int, expected: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = draw_one(monkeypatch, transform, 0.5).geometry(1, 16)
    torch.testing.assert_close(matrix[0], torch.tensor([*expected, [0.0, 0, 1]]))


def test_both_rotations_turn_by_up_to_half_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = draw_one(monkeypatch, None, 0.25)
    augment.p.fill_(1)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(augment.geometry(1, 16)[0], quarter, atol=1e-6, rtol=0)


def test_one_of_the_two_rotations_or_both_have_that_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = draw_one(monkeypatch, None, 0.25)
    augment.p.fill_(0.36)
    rotated = augment.geometry(20_000, 16)[:, 0, 0] < 0.99
    assert rotated.float().mean() == pytest.approx(0.36, abs=0.02)


RED, GREEN, BLUE = COLOR = (0.5, 0.1, -0.3)
GREY = sum(COLOR) / 3


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        pytest.param(6, [c + 0.2 for c in COLOR], id="brightness"),
        pytest.param(7, [c * 2**0.5 for c in COLOR], id="contrast"),
        pytest.param(8, [c - 2 * GREY for c in COLOR], id="luma"),
        pytest.param(9, [BLUE, RED, GREEN], id="hue, a third of a circle"),
        pytest.param(10, [GREY + 2 * (c - GREY) for c in COLOR], id="saturation"),
    ],
)
def test_colors_by_known_random_numbers(transform: int, expected: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.tensor(COLOR).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    seen = draw_one(monkeypatch, transform, 2 / 3)(image)
    torch.testing.assert_close(seen, torch.tensor(expected).view(1, 3, 1, 1).expand(1, 3, 4, 4))


def test_colors_turn_about_and_stretch_along_the_grey_axis() -> None:
    """Grey stays grey whatever the hue and saturation; all else is affine."""
    colors = certain().colors(50)
    assert torch.equal(colors[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(50, 4))
    grey = colors[:, :3] @ torch.tensor([0.4, 0.4, 0.4, 1.0])
    torch.testing.assert_close(grey, grey[:, :1].expand(-1, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sign", "start", "expected"), [(1.0, 0.5, 0.5 + 32 / 1000), (-1.0, 0.5, 0.5 - 32 / 1000),
                                                          (1.0, 1.0, 1.0), (-1.0, 0.0, 0.0)])  # fmt: skip
def test_the_probability_follows_the_sign_of_real_logits_every_fourth_batch(
    sign: float, start: float, expected: float
) -> None:
    augment = AdaptiveAugment(images=1000)
    augment.p.fill_(start)
    for batch in range(4):
        assert augment.p == start, batch
        augment.adapt(sign * torch.ones(8, 1))
    assert augment.p.item() == pytest.approx(expected)
    assert not augment.signs.any()
