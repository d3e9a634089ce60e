"""ADA: augmentation of what a discriminator sees, the stronger the more it over-fits."""

import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network


class AdaptiveAugment(Network):
    """ADA (Karras et al. 2020, arXiv 2006.06676): a probability that rises while the discriminator over-fits.

    Each transform of its strongest useful set, geometry and colour ("bgc", Fig. 4), is applied to an image with
    probability p: flips, quarter turns, translation by whole pixels, scaling, rotation before and after scaling of one
    direction, translation; brightness, contrast, inversion of luma, hue, saturation. Where more than a share
    `target` of real images have logits above 0 by as much as the others are below (r_t, section 3), p rises.

    All geometry is one bilinear resampling with reflected borders; the paper's filters at twice the size (sym6).

    Args:
        target: of the mean sign of real images' logits.
        images: by how many p goes from 0 to 1, at the fastest.
        every: batches between two changes of p.

    Attributes:
        p: the probability, a scalar.
    """

    p: Tensor
    signs: Tensor

    def __init__(self, target: float = 0.6, images: int = 500_000, every: int = 4):
        super().__init__()
        if not -1 < target < 1 or images < 1 or every < 1:
            raise UserError(
                f"AdaptiveAugment: target {target}, images {images}, every {every}: give a target between -1 and 1 and "
                "1 or more of the others"
            )
        self.target, self.images, self.every = target, images, every
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(3))  # their sum, images and batches since p changed

    @torch.no_grad()
    def adapt(self, logits: Tensor) -> None:
        """Take notice of the logits of a batch of real images, of all ranks."""
        self.signs += torch.stack([logits.sign().sum(), logits.new_tensor(len(logits)), logits.new_tensor(1.0)]).float()
        total, count, batches = self.signs
        due = batches >= self.every
        step = (total / count - self.target).sign() * count / self.images
        self.p.copy_(torch.where(due, (self.p + step).clamp(0, 1), self.p))
        self.signs *= ~due

    def forward(self, x: Tensor) -> Tensor:
        """Each image by random numbers of its own, ``(N, C, H, W)`` in float32."""
        x = x.float()
        with torch.autocast(x.device.type, enabled=False):
            grid = nn.functional.affine_grid(self.geometry(len(x), x.shape[2])[:, :2], list(x.shape), False)
            x = nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
            color = self.colors(len(x))
            # Grey images are three equal channels, seen as one.
            rgb = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
            y = torch.einsum("nij,njhw->nihw", color[:, :3, :3], rgb) + color[:, :3, 3, None, None]
            return y.mean(1, keepdim=True) if x.shape[1] == 1 else y

    def drawn(self, values: Tensor, neutral: float) -> Tensor:
        """The values ``(..., n)`` of each image with probability p, else what changes nothing."""
        return torch.where(torch.rand(values.shape[-1], device=self.p.device) < self.p, values, neutral)

    def geometry(self, n: int, size: int) -> Tensor:
        """Where the pixels of each image come from: ``(n, 3, 3)`` in coordinates from -1 to 1."""
        device = self.p.device
        one = torch.ones(n, device=device)
        flip = self.drawn(2.0 * torch.randint(0, 2, (n,), device=device) - 1, 1.0)
        turns = self.drawn(torch.randint(0, 4, (n,), device=device) * (torch.pi / 2), 0.0)
        whole = self.drawn((uniform(2, n, device=device) * size / 8).round() * (2 / size), 0.0)
        scale = self.drawn(torch.exp2(0.2 * torch.randn(n, device=device)), 1.0)
        # Of the two rotations together, as of everything else, there is one with probability p.
        turned = torch.rand(2, n, device=device) < 1 - (1 - self.p).sqrt()
        angles = torch.where(turned, uniform(2, n, device=device) * torch.pi, 0.0)
        stretch = self.drawn(torch.exp2(0.2 * torch.randn(n, device=device)), 1.0)
        fraction = self.drawn(0.25 * torch.randn(2, n, device=device), 0.0)
        return (
            scaling(flip, one) @ rotation(turns) @ translation(*whole) @ scaling(scale, scale)
            @ rotation(angles[0]) @ scaling(stretch, 1 / stretch) @ rotation(angles[1]) @ translation(*fraction)
        )  # fmt: skip

    def colors(self, n: int) -> Tensor:
        """What is done to the colour (r, g, b, 1) of each image: ``(n, 4, 4)``."""
        device = self.p.device
        eye = torch.eye(4, device=device)
        grey = torch.tensor([1.0, 1.0, 1.0, 0.0], device=device) / 3**0.5
        along, affine = torch.outer(grey, grey), torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0], device=device))
        across = eye - along - affine  # a rotation about the grey axis is cos on it and sin on its quarter turn
        quarter = torch.zeros(4, 4, device=device)
        quarter[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / 3**0.5
        brightness = self.drawn(0.2 * torch.randn(n, device=device), 0.0)[:, None, None]
        contrast = self.drawn(torch.exp2(0.5 * torch.randn(n, device=device)), 1.0)[:, None, None]
        luma = self.drawn(torch.randint(0, 2, (n,), device=device).float(), 0.0)[:, None, None]
        hue = self.drawn(uniform(n, device=device) * torch.pi, 0.0)[:, None, None]
        saturation = self.drawn(torch.exp2(torch.randn(n, device=device)), 1.0)[:, None, None]
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
    """Uniform numbers from -1 to 1."""
    return 2 * torch.rand(*shape, device=device) - 1


def matrices(*rows: list[Tensor]) -> Tensor:
    """``(n, 3, 3)`` of entries ``(n,)``, the last row 0, 0, 1."""
    zero, one = torch.zeros_like(rows[0][0]), torch.ones_like(rows[0][0])
    return torch.stack([torch.stack(row, 1) for row in (*rows, [zero, zero, one])], 1)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """By x and y ``(n,)``."""
    zero = torch.zeros_like(x)
    return matrices([x, zero, zero], [zero, y, zero])


def rotation(angle: Tensor) -> Tensor:
    """By angles ``(n,)`` in radians."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return matrices([cos, -sin, zero], [sin, cos, zero])


def translation(x: Tensor, y: Tensor) -> Tensor:
    """By x and y ``(n,)``."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrices([one, zero, x], [zero, one, y])
