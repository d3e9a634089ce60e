"""ADA: augmentation of a discriminator's inputs that becomes more frequent while the discriminator over-fits."""

from typing import Annotated

import torch
from torch import Tensor, nn

from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import Interval, PositiveInt, check_ranges

Target = Annotated[float, Interval(-1, 1, closed="neither")]


@check_ranges
class AdaptiveAugment(Network):
    """ADA (Karras et al. 2020, arXiv 2006.06676): augmentation with a probability adapted to over-fitting.

    The transforms are the paper's set "bgc" (Fig. 4). Each transform is applied to each image with probability p. The
    transforms of pixels and geometry are flips, rotations by multiples of 90 degrees, translation by whole pixels,
    scaling, rotation before and after anisotropic scaling, and translation by fractions of a pixel. The transforms of
    colour are brightness, contrast, inversion of luma, hue and saturation. The probability p increases while the mean
    sign of the logits of real images (r_t, section 3) exceeds `target`, and decreases otherwise.

    All transforms of geometry are applied by one bilinear resampling with reflected borders. The paper resamples at
    twice the size with a wavelet filter (sym6).

    Args:
        target: target of the mean sign of the logits of real images.
        images: number of real images in which p can increase from 0 to 1; with a larger number, p changes more slowly.
        every: number of batches between two changes of p.

    Attributes:
        p: the probability, a scalar.
    """

    p: Tensor
    signs: Tensor

    def __init__(self, target: Target = 0.6, images: PositiveInt = 500_000, every: PositiveInt = 4):
        super().__init__()
        self.target, self.images, self.every = target, images, every
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(3))  # sum of signs, images and batches since p changed

    @torch.no_grad()
    def adapt(self, logits: Tensor) -> None:
        """Update p from the logits of a batch of real images, gathered from all ranks."""
        self.signs += torch.stack([logits.sign().sum(), logits.new_tensor(len(logits)), logits.new_tensor(1.0)]).float()
        total, count, batches = self.signs
        update = batches >= self.every
        step = (total / count - self.target).sign() * count / self.images
        self.p.copy_(torch.where(update, (self.p + step).clamp(0, 1), self.p))
        self.signs *= ~update

    def forward(self, x: Tensor) -> Tensor:
        """Augment every image ``(N, C, H, W)`` independently; the result is float32."""
        x = x.float()
        with torch.autocast(x.device.type, enabled=False):
            grid = nn.functional.affine_grid(self.geometry(len(x), x.shape[2])[:, :2], list(x.shape), False)
            x = nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
            color = self.colors(len(x))
            # A greyscale image is treated as three equal channels.
            rgb = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
            y = torch.einsum("nij,njhw->nihw", color[:, :3, :3], rgb) + color[:, :3, 3, None, None]
            return y.mean(1, keepdim=True) if x.shape[1] == 1 else y

    def with_probability_p(self, values: Tensor, neutral: float) -> Tensor:
        """Keep each image's values ``(..., n)`` with probability p, else replace them by the neutral value."""
        return torch.where(torch.rand(values.shape[-1], device=self.p.device) < self.p, values, neutral)

    def geometry(self, n: int, size: int) -> Tensor:
        """Affine maps from output to input coordinates in [-1, 1], one per image: ``(n, 3, 3)``."""
        device = self.p.device
        one = torch.ones(n, device=device)
        flip = self.with_probability_p(2.0 * torch.randint(0, 2, (n,), device=device) - 1, 1.0)
        quarter_turns = self.with_probability_p(torch.randint(0, 4, (n,), device=device) * (torch.pi / 2), 0.0)
        whole = self.with_probability_p((uniform(2, n, device=device) * size / 8).round() * (2 / size), 0.0)
        scale = self.with_probability_p(torch.exp2(0.2 * torch.randn(n, device=device)), 1.0)
        # The probability that at least one of the two rotations is applied is p, as for all other transforms.
        rotated = torch.rand(2, n, device=device) < 1 - (1 - self.p).sqrt()
        angles = torch.where(rotated, uniform(2, n, device=device) * torch.pi, 0.0)
        stretch = self.with_probability_p(torch.exp2(0.2 * torch.randn(n, device=device)), 1.0)
        fraction = self.with_probability_p(0.25 * torch.randn(2, n, device=device), 0.0)
        return (
            scaling(flip, one) @ rotation(quarter_turns) @ translation(*whole) @ scaling(scale, scale)
            @ rotation(angles[0]) @ scaling(stretch, 1 / stretch) @ rotation(angles[1]) @ translation(*fraction)
        )  # fmt: skip

    def colors(self, n: int) -> Tensor:
        """Affine maps of colours (r, g, b, 1), one per image: ``(n, 4, 4)``."""
        device = self.p.device
        eye = torch.eye(4, device=device)
        grey = torch.tensor([1.0, 1.0, 1.0, 0.0], device=device) / 3**0.5
        along, affine = torch.outer(grey, grey), torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0], device=device))
        across = eye - along - affine  # rotation about the grey axis: cos * across + sin * quarter
        quarter = torch.zeros(4, 4, device=device)
        quarter[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / 3**0.5
        brightness = self.with_probability_p(0.2 * torch.randn(n, device=device), 0.0)[:, None, None]
        contrast = self.with_probability_p(torch.exp2(0.5 * torch.randn(n, device=device)), 1.0)[:, None, None]
        luma = self.with_probability_p(torch.randint(0, 2, (n,), device=device).float(), 0.0)[:, None, None]
        hue = self.with_probability_p(uniform(n, device=device) * torch.pi, 0.0)[:, None, None]
        saturation = self.with_probability_p(torch.exp2(torch.randn(n, device=device)), 1.0)[:, None, None]
        shift = torch.zeros(4, 4, device=device)
        shift[:3, 3] = 1
        return (
            (along + affine + saturation * across)
            @ (along + affine + hue.cos() * across + hue.sin() * quarter)
            @ (eye - 2 * luma * along)
            @ (contrast * (along + across) + affine)
            @ (eye + brightness * shift)
        )


def uniform(*shape: int, device: torch.device) -> Tensor:
    """Uniform random numbers in [-1, 1)."""
    return 2 * torch.rand(*shape, device=device) - 1


def matrices(*rows: list[Tensor]) -> Tensor:
    """Matrices ``(n, 3, 3)`` from rows of entries ``(n,)``; the last row is 0, 0, 1."""
    zero, one = torch.zeros_like(rows[0][0]), torch.ones_like(rows[0][0])
    return torch.stack([torch.stack(row, 1) for row in (*rows, [zero, zero, one])], 1)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Scaling by x and y ``(n,)``."""
    zero = torch.zeros_like(x)
    return matrices([x, zero, zero], [zero, y, zero])


def rotation(angle: Tensor) -> Tensor:
    """Rotation by angles ``(n,)`` in radians."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return matrices([cos, -sin, zero], [sin, cos, zero])


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Translation by x and y ``(n,)``."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrices([one, zero, x], [zero, one, y])
