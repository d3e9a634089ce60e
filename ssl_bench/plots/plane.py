"""Figure of a GAN on points in the plane, after Figure 2 of the structural GAN paper (arXiv 2310.00357)."""

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
"""Number of arrows of the gradient field in each direction."""


def is_planar(run: "Run") -> bool:
    """Whether the data of a run are points ``(2,)`` and its method is `Adversarial`, so that it has this figure."""
    return tuple(run.data.image_shape) == (2,) and isinstance(run.method, Adversarial)


class FixedSamples(Network):
    """A generator whose samples are given points, whatever the latents."""

    def __init__(self, points: Tensor):
        super().__init__()
        self.points = points

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents ``(N, L)`` to the N points."""
        return self.points


@contextmanager
def fixed_samples(method: Adversarial, points: Tensor) -> Iterator[None]:
    """Replace the generator of a method by `FixedSamples` inside the block."""
    generator = method.generator
    method.generator = FixedSamples(points)
    try:
        yield
    finally:
        method.generator = generator


def descent_direction(method: Adversarial, points: Tensor, real: Tensor) -> Tensor:
    """Negative gradient of the generator's loss with respect to samples, ``-dL/dx``, ``(N, 2)``.

    Args:
        method: the method.
        points: samples ``(N, 2)``.
        real: points of the data ``(N, 2)``, at least as many as the method needs for its neighbours.
    """
    with torch.enable_grad(), fixed_samples(method, points := points.detach().requires_grad_()):
        loss = method.generator_loss(method.prepare(real)).value
        return -torch.autograd.grad(loss, points)[0]


def position_colours(points: Tensor) -> Tensor:
    """Colours ``(N, 3)`` of points ``(N, 2)`` by their position, as red, green and blue in [0, 1].

    Colours depend on the ranks of the coordinates, so that points in dense regions have distinct colours too.
    """
    u, v = (points.argsort(0).argsort(0) / max(1, len(points) - 1)).T
    return torch.stack([u, v, (1 - u + 1 - v) / 2], 1)


def scatter_points(ax: Axes, points: Tensor, title: str, colours: Any) -> None:
    """Plot points in the plane without ticks."""
    x, y = points.unbind(1)
    ax.scatter(x.numpy(), y.numpy(), c=colours, s=3, linewidths=0, rasterized=True)
    ax.set(title=title, xticks=[], yticks=[])


def vector_field(ax: Axes, places: Tensor, arrows: Tensor) -> None:
    """Plot vectors ``(N, 2)`` at places ``(N, 2)`` as arrows of equal length.

    Vectors with a larger norm, up to the 90th percentile, have a darker arrow.
    """
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
    """Plot data, samples, gradient field and features of a GAN on points in the plane.

    The first row shows the test points by class; samples over the test points (grey); and the negative gradient of the
    generator's loss on a grid, darker where the gradient is larger. A second row for PCA and a third row for t-SNE show
    the features of the test points coloured by class; the same features coloured by their position in the projection;
    and the test points in the latter colours.

    Args:
        run: a run for which `is_planar` returns True.
        device: device of the method.
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
    (data, sampled, gradient), *rows = figure.subplots(1 + len(maps), 3)
    scatter_points(data, plain, f"{len(plain):,} test points", arms)
    for ax in (sampled, gradient):
        scatter_points(ax, plain, "", "0.8")
    scatter_points(sampled, samples, f"{len(samples):,} samples", "black")
    vector_field(gradient, places, arrows)
    gradient.set_title("negative gradient of the loss")
    for (name, places), (by_class, by_place, back) in zip(maps.items(), rows, strict=True):
        colours = position_colours(places)
        scatter_points(by_class, places, f"features by class, {name}", arms)
        scatter_points(by_place, places, "features by position", colours)
        scatter_points(back, plain, "test points in these colours", colours)
    for ax in (data, sampled, gradient, *(row[2] for row in rows)):
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    return figure
