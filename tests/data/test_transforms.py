"""Batched transforms compared with torchvision's functional transforms image by image, with the same parameters."""

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms as T
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from ssl_bench.data.color import ColorJitter, Grayscale, Solarize
from ssl_bench.data.crops import CenterCrop, Crop, Pad, RandomCrop, RandomResizedCrop, Resize
from ssl_bench.data.resampling import GaussianBlur, Resample
from ssl_bench.data.transforms import HorizontalFlip, Normalize, Threshold, Transform, VerticalFlip

CPU = torch.device("cpu")
SIZES = [(32, 32), (24, 40)]
N = 24


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(height: int, width: int, channels: int = 3, n: int = N) -> Tensor:
    """Smooth, grey and noisy images with exact 8-bit values."""
    noise = torch.rand(n, channels, height, width)
    noise[: n // 3] = torch.nn.functional.avg_pool2d(noise[: n // 3], 5, 1, 2)
    noise[n // 3 : n // 2] = noise[n // 3 : n // 2, :1]
    return (noise * 255).round() / 255


def cut(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """torchvision's crop; pixels outside the image are black."""
    box: Tensor = F.crop(image, top, left, height, width)
    return box


def jitter(image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    image = F.adjust_brightness(image, float(brightness))
    image = F.adjust_contrast(image, float(contrast))
    image = F.adjust_saturation(image, float(saturation))
    shifted: Tensor = F.adjust_hue(image, float(hue))
    return shifted


def grey(image: Tensor, chosen: Tensor) -> Tensor:
    return F.rgb_to_grayscale(image, image.shape[0]) if chosen else image


CASES: dict[str, tuple[Transform, Callable[..., Tensor]]] = {
    "horizontal_flip": (HorizontalFlip(0.5), lambda x, chosen: F.hflip(x) if chosen else x),
    "vertical_flip": (VerticalFlip(0.5), lambda x, chosen: F.vflip(x) if chosen else x),
    "color_jitter": (ColorJitter(0.8, 0.8, 0.8, 0.5, p=0.8), jitter),
    "grayscale": (Grayscale(0.5), grey),
    "solarize": (Solarize(0.5, 0.4), lambda x, chosen: F.solarize(x, 0.4) if chosen else x),
    "threshold": (Threshold(0.5), lambda x: (x > 0.5).float()),
    "normalize": (
        Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
        lambda x: F.normalize(x, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]),
    ),
    "gaussian_blur": (
        GaussianBlur(1.0, (0.1, 2.0), kernel_size=7),
        lambda x, sigma: F.gaussian_blur(x, [7, 7], [float(sigma)] * 2),
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_a_transform_equals_torchvisions_with_each_images_parameters(name: str, size: tuple[int, int]) -> None:
    transform, reference = CASES[name]
    x = pictures(*size)
    drawn = transform.sample_parameters(N, *size, CPU)
    expected = [reference(image, *(p[i] for p in drawn)) for i, image in enumerate(x)]
    torch.testing.assert_close(transform(x, *drawn), torch.stack(expected), atol=1e-5, rtol=0)


CROPS: dict[str, Crop] = {
    "same size": RandomResizedCrop((0.08, 1.0)),
    "bicubic": RandomResizedCrop((0.08, 1.0), interpolation="bicubic"),
    "much smaller": RandomResizedCrop((0.3, 1.0), size=9),
    "much smaller, bicubic": RandomResizedCrop((0.3, 1.0), size=9, interpolation="bicubic"),
    "larger": RandomResizedCrop((0.3, 1.0), size=50),
    "pad and crop": RandomCrop(padding=4),
    "part": RandomCrop(size=20),
    "middle": CenterCrop(17),
    "middle of more than there is": CenterCrop(45),
    "pad": Pad(3),
    "resize": Resize(20),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CROPS)
def test_a_fused_crop_equals_torchvisions_crop_resize_and_flips(name: str, size: tuple[int, int]) -> None:
    crop = CROPS[name]
    resample = Resample(crop, (HorizontalFlip(0.5), VerticalFlip(0.5)))
    x = pictures(*size)
    drawn = resample.sample_parameters(N, *size, CPU)
    mode = InterpolationMode(crop.interpolation)
    expected = []
    for i, image in enumerate(x):
        top, left, height, width = (int(edge[i]) for edge in drawn[:4])
        image = F.resize(cut(image, top, left, height, width), list(crop.output_size(*size)), mode, antialias=True)
        image = F.vflip(image) if drawn[4][i] else image
        image = F.hflip(image) if drawn[5][i] else image
        expected.append(image.clamp(0, 1))
    torch.testing.assert_close(resample(x, *drawn), torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (31, 44), (10, 12)])
@pytest.mark.parametrize("out", [9, 24, 33])
def test_center_crop_equals_torchvisions(size: tuple[int, int], out: int) -> None:
    x, crop = pictures(*size), Resample(CenterCrop(out))
    assert torch.equal(crop(x, *crop.sample_parameters(N, *size, CPU)), F.center_crop(x, [out, out]))


def test_flips_in_a_crop_are_exact() -> None:
    flip = Resample(CenterCrop(16), (HorizontalFlip(1.0), VerticalFlip(1.0)))
    x = pictures(16, 16)
    assert torch.equal(flip(x, *flip.sample_parameters(N, 16, 16, CPU)), x.flip(-1, -2))


@pytest.mark.parametrize(
    ("scale", "ratio", "size"),
    [
        ((0.08, 1.0), (3 / 4, 4 / 3), (32, 32)),
        ((0.6, 1.0), (0.75, 1.3), (8, 8)),
        ((0.5, 1.0), (3 / 4, 4 / 3), (20, 48)),
        ((0.9, 1.0), (1.9, 2.0), (32, 32)),  # seldom or never fits: the fallback
    ],
)
def test_boxes_have_torchvisions_distribution(
    scale: tuple[float, float], ratio: tuple[float, float], size: tuple[int, int]
) -> None:
    n = 4000
    box = RandomResizedCrop(scale, ratio).box(n, *size, CPU)
    top, left, height, width = (edge.double() for edge in box)
    image = torch.empty(1, *size)
    theirs = torch.tensor([T.RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)])
    mine = torch.stack([top, left, height, width], 1)
    both = [torch.cat([t, t[:, 2:3] * t[:, 3:], t[:, 3:] / t[:, 2:3]], 1) for t in (mine, theirs.double())]
    for a, b in zip(*(t.T for t in both), strict=True):  # edges, area, ratio
        grid = torch.unique(torch.cat([a, b]))
        cdf = [torch.searchsorted(t.sort().values, grid, right=True) / n for t in (a, b)]
        # Kolmogorov-Smirnov at the 1e-4 level for two samples of n.
        assert (cdf[0] - cdf[1]).abs().max() < math.sqrt(-math.log(0.5e-4) / n)


def test_positions_of_random_crops_are_uniform() -> None:
    box = RandomCrop(padding=2).box(5000, 8, 8, CPU)
    for start in (box.top, box.left):
        places, counts = torch.unique(start, return_counts=True)
        assert places.tolist() == [-2, -1, 0, 1, 2]
        assert (counts - 1000).abs().max() < 5 * math.sqrt(1000)


@pytest.mark.parametrize(("step", "p"), [(HorizontalFlip(0.3), 0.3), (Grayscale(0.2), 0.2), (Solarize(0.7), 0.7)])
def test_a_step_is_applied_with_its_probability(step: Transform, p: float) -> None:
    (chosen,) = step.sample_parameters(20_000, 8, 8, CPU)
    assert chosen.float().mean().item() == pytest.approx(p, abs=0.015)


def test_jitter_factors_have_torchvisions_ranges() -> None:
    jitter = ColorJitter(1.5, 0.4, 0.2, 0.1)
    ranges = [(0, 2.5), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]
    for factor, (low, high) in zip(jitter.sample_parameters(5000, 8, 8, CPU), ranges, strict=True):
        assert factor.min().item() == pytest.approx(low, abs=2e-3 * (high - low))
        assert factor.max().item() == pytest.approx(high, abs=2e-3 * (high - low))


def test_jitter_with_probability_zero_changes_nothing() -> None:
    x, jitter = pictures(16, 16), ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.0)
    torch.testing.assert_close(jitter(x, *jitter.sample_parameters(N, 16, 16, CPU)), x, atol=1e-6, rtol=0)


def test_blur_with_probability_zero_changes_nothing() -> None:
    x, blur = pictures(16, 16), GaussianBlur(p=0.0, kernel_size=5)
    assert torch.equal(blur(x, *blur.sample_parameters(N, 16, 16, CPU)), x)


def test_blur_skips_images_up_to_the_given_size() -> None:
    blur = GaussianBlur(p=1.0, above=32)
    small, large = pictures(32, 32), pictures(33, 33)
    assert torch.equal(blur(small, *blur.sample_parameters(N, 32, 32, CPU)), small)
    assert not torch.allclose(blur(large, *blur.sample_parameters(N, 33, 33, CPU)), large, atol=0.05)


def test_an_image_with_one_channel_has_brightness_and_contrast_only() -> None:
    x, step = pictures(16, 16, channels=1), ColorJitter(0.5, 0.5, 0.5, 0.5)
    drawn = step.sample_parameters(N, 16, 16, CPU)
    expected = [jitter(image, *(p[i] for p in drawn)) for i, image in enumerate(x)]
    torch.testing.assert_close(step(x, *drawn), torch.stack(expected), atol=1e-5, rtol=0)


def test_a_transform_does_not_modify_its_input() -> None:
    x = pictures(16, 16)
    for transform, _ in CASES.values():
        before = x.clone()
        transform(x, *transform.sample_parameters(N, 16, 16, CPU))
        assert torch.equal(x, before), transform
