"""Figure of a GAN on points of the plane: gradient field, colours, panels."""

from pathlib import Path

import matplotlib.image
import pytest
import torch

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.plots import plane
from ssl_bench.plots.run import plot_run

CPU = torch.device("cpu")
NETWORKS = [
    "--method.generator=ssl_bench.networks.mlp.MLPGenerator", "--method.generator.hidden=[8]",
    "--method.discriminator=ssl_bench.networks.mlp.MLPDiscriminator", "--method.discriminator.hidden=[8]",
    "--views.recipe=[]", "--trainer.precision=32-true",
]  # fmt: skip


def untrained(name: str) -> Run:
    torch.manual_seed(0)
    return build(resolve([*stack(name, "double_spiral", None), *NETWORKS]))


def adversarial(run: Run) -> Adversarial:
    assert isinstance(run.method, Adversarial)
    return run.method


def test_an_arrow_is_the_negative_gradient_of_the_generator_loss() -> None:
    method = adversarial(untrained("hinge_gan"))
    places, real = torch.randn(5, 2), torch.randn(7, 2)
    x = places.clone().requires_grad_()
    (expected,) = torch.autograd.grad(method.discriminator(x).mean(), x)  # the hinge loss of a generator is -D(x)
    torch.testing.assert_close(plane.descent_direction(method, places, real), expected)


def test_the_generator_is_restored_after_an_error() -> None:
    method = adversarial(untrained("hinge_gan"))
    generator = method.generator
    with pytest.raises(RuntimeError, match="shapes"):
        plane.descent_direction(method, torch.randn(5, 3), torch.randn(7, 2))
    assert method.generator is generator


def test_dense_positions_have_distinct_colours() -> None:
    places = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) ** 9
    colours = plane.position_colours(places)
    assert 0 <= colours.min() <= colours.max() <= 1
    assert len(colours.unique(dim=0)) == 100


@pytest.mark.parametrize("name", ["structural_gan", "hinge_gan"])
def test_a_run_on_points_is_plotted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "NUM_POINTS", 60)
    run = untrained(name)
    run.data.setup("fit")
    assert plot_run(tmp_path, run, CPU) == [tmp_path / "figures" / "plane.png"]
    assert matplotlib.image.imread(tmp_path / "figures" / "plane.png").std() > 0
    figure = plane.plot_plane(run, CPU)
    assert len(figure.axes) == 9
    data, samples = (torch.as_tensor(figure.axes[i].collections[-1].get_offsets()).float() for i in (0, 1))
    torch.testing.assert_close(data, next(iter(run.data.batches("test", 60))).images)
    torch.testing.assert_close(samples, adversarial(run).sample(60, torch.Generator().manual_seed(0)))
