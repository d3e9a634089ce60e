"""A generator and a discriminator of points in the plane, after Figure 2 of the structural GAN's paper."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.networks.interfaces import Network
from ssl_bench.plots.primitives import canvas
from ssl_bench.plots.projection import project

if TYPE_CHECKING:
    from ssl_bench.config.schema import Run

NUM_POINTS = 2000
GRID_SIZE = 25
"""Points of the gradient field, across and up."""


def is_planar(run: "Run") -> bool:
    """Whether there is such a figure: of points ``(2,)`` and an `Adversarial` method."""
    return tuple(run.data.image_shape) == (2,) and isinstance(run.method, Adversarial)


class FixedSamples(Network):
    """A generator that makes the points it was given, whatever the latents."""

    def __init__(self, points: Tensor):
        super().__init__()
        self.points = points

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``(N, L)`` to the N points."""
        return self.points


@contextmanager
def fixed_samples(method: Adversarial, points: Tensor) -> Iterator[None]:
    """Let points stand in for the generator's."""
    generator = method.generator
    method.generator = FixedSamples(points)
    try:
        yield
    finally:
        method.generator = generator


def descent_direction(method: Adversarial, points: Tensor, real: Tensor) -> Tensor:
    """Where the generator's loss would move points if they were its samples: ``-dL/dx``, ``(N, 2)``.

    Args:
        method: whose loss; as many of the points' neighbours as it asks for are among the real points.
        points: ``(N, 2)``.
        real: points of the data, ``(N, 2)``.
    """
    with torch.enable_grad(), fixed_samples(method, points := points.detach().requires_grad_()):
        loss = method.generator_loss(method.prepare(real)).value
        return -torch.autograd.grad(loss, points)[0]


def position_colours(points: Tensor) -> Tensor:
    """A colour for each place of a map: places ``(N, 2)`` to red, green and blue in [0, 1], ``(N, 3)``.

    It goes by ranks, so that all colours are used however places crowd.
    """
    u, v = (points.argsort(0).argsort(0) / max(1, len(points) - 1)).T
    return torch.stack([u, v, (1 - u + 1 - v) / 2], 1)


def scatter_points(ax: Axes, points: Tensor, title: str, colours: Any) -> None:
    """Points of the plane without axes around them."""
    x, y = points.unbind(1)
    ax.scatter(x.numpy(), y.numpy(), c=colours, s=3, linewidths=0, rasterized=True)
    ax.set(title=title, xticks=[], yticks=[])


def vector_field(ax: Axes, places: Tensor, arrows: Tensor) -> None:
    """Directions at places, both ``(N, 2)``, the darker the longer of the longest tenth's shortest."""
    length = arrows.norm(dim=1)
    shade = (length / length.quantile(0.9).clamp_min(1e-30)).clamp(0.15, 1)
    colours = torch.cat([torch.zeros(len(shade), 3), shade.unsqueeze(1)], 1)
    ax.quiver(
        *places.T.numpy(),
        *F.normalize(arrows).T.numpy(),
        color=colours.numpy(),
        angles="xy",
        scale=GRID_SIZE,
        width=0.004,
    )


def plot_plane(run: "Run", device: torch.device) -> Figure:
    """Data, samples and gradient field in the plane, and what the discriminator makes of the data.

    Above: test points by class; samples on the test points, in grey; at the places of a grid the direction in which
    the generator's loss would move a sample, darker where it would by more. Below, a row for each of PCA and t-SNE
    (where openTSNE is installed): features of the test points by class; in a palette of places; and the test points in
    the colours that their features have there.

    Args:
        run: one that is `is_planar`.
        device: where the method is.
    """
    method = run.method
    assert isinstance(method, Adversarial)
    test = next(iter(run.data.batches("test", NUM_POINTS)))
    points = run.views.evaluation_input(test.images.to(device))
    plain, maps = points.cpu(), project(method.encode(points).cpu())
    samples = method.sample(len(points), torch.Generator().manual_seed(0)).cpu()
    reach = 1.2 * plain.abs().max().item()
    places = torch.cartesian_prod(*2 * [torch.linspace(-reach, reach, GRID_SIZE)])
    arrows = descent_direction(method, places.to(device), points[torch.randperm(len(points))[: len(places)]]).cpu()
    arms = [matplotlib.colormaps["tab10"](label) for label in test.labels.flatten().tolist()]

    figure = canvas(9.6, 3.3 * (1 + len(maps)))
    (data, drawn, gradient), *rows = figure.subplots(1 + len(maps), 3)
    scatter_points(data, plain, f"{len(plain):,} test points", arms)
    for ax in (drawn, gradient):
        scatter_points(ax, plain, "", "0.8")
    scatter_points(drawn, samples, f"{len(samples):,} samples", "black")
    vector_field(gradient, places, arrows)
    gradient.set_title("where the loss moves samples")
    for (name, places), (by_class, by_place, back) in zip(maps.items(), rows, strict=True):
        colours = position_colours(places)
        scatter_points(by_class, places, f"features, {name}", arms)
        scatter_points(by_place, places, "a palette of places", colours)
        scatter_points(back, plain, "test points in its colours", colours)
    for ax in (data, drawn, gradient, *(row[2] for row in rows)):
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    return figure
