"""The viewmaker observes its budget and raises the encoder's loss, alignment included."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.generation.sources import ViewMakerViews, original_images
from ssl_bench.losses.contrastive import alignment, info_nce
from ssl_bench.networks.viewmaker import ViewMakerNetwork
from ssl_bench.runs.train import fit, make_folder

NARROW = [
    "--method.backbone.width=8", "--method.projector.outputs=16", "--method.projector.hidden=[16]",
    "--method.viewmaker.width=4", "--method.viewmaker.blocks=1",
]  # fmt: skip
RECIPE = "--views.recipe=[random_resized_crop, normalize]"


def small(*flags: str, name: str = "viewmaker") -> tuple[Run, Any]:
    """A run over digits and its method, which has been given the run's views."""
    torch.manual_seed(0)
    run = build(resolve([*stack(name, "digits", None), *NARROW, RECIPE, *flags]))
    run.data.setup()
    run.method.views = run.views
    return run, run.method


def views_of(run: Run, images: int = 12) -> Tensor:
    batch = run.data.split("train")[torch.arange(images)]
    torch.manual_seed(1)
    return run.views(batch.images, batch.ids)


def fitted(folder: Path, *flags: str) -> tuple[Run, dict[str, Tensor]]:
    """A run after one step, and its parameters before that."""
    torch.manual_seed(0)
    flags = (*NARROW, "--trainer.max_steps=1", "--trainer.accelerator=cpu", *flags)
    config = resolve([*stack("viewmaker", "digits", None), *flags])
    run = build(config)
    before = {name: p.detach().clone() for name, p in run.method.named_parameters()}
    make_folder(folder, {})
    fit(run, config, folder)
    return run, before


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 48)])
@pytest.mark.parametrize("budget", [0.05, 0.3])
def test_every_image_is_changed_by_the_budget(shape: tuple[int, ...], budget: float) -> None:
    network = ViewMakerNetwork(shape, 4, 2, budget, clamp=False)
    x = torch.rand(3, *shape)
    change = (network(x) - x).abs().mean((1, 2, 3))
    torch.testing.assert_close(change, torch.full((3,), budget))


def test_views_are_clamped_to_images_and_random() -> None:
    network = ViewMakerNetwork((1, 8, 8), 4, budget=0.5)
    x = torch.rand(2, 1, 8, 8).round()
    one, other = network(x), network(x)
    assert one.min() >= 0
    assert one.max() <= 1
    assert not torch.equal(one, other)


def test_the_network_has_the_published_layers() -> None:
    def convolution(inputs: int, outputs: int, size: int) -> int:
        return inputs * outputs * size**2 + outputs

    expected = convolution(4, 32, 9) + convolution(32, 64, 3) + convolution(64, 128, 3) + 2 * (32 + 64 + 128)
    expected += sum(2 * (convolution(c, c, 3) + 2 * c) for c in (129, 130, 131))
    expected += convolution(131, 64, 3) + convolution(64, 32, 3) + 2 * (64 + 32) + convolution(32, 3, 9)
    assert sum(p.numel() for p in ViewMakerNetwork((3, 32, 32)).parameters()) == expected


@pytest.mark.parametrize(("made", "number"), [(1, 2), (2, 2), (1, 3)])
def test_the_last_views_are_made_of_themselves_within_the_budget(made: int, number: int) -> None:
    run, method = small(f"--method.num_learned_views={made}", f"--views.num_views={number}")
    views = views_of(run)
    perturbed = method.perturb(views)
    assert torch.equal(perturbed[:-made], views[:-made])
    change = (run.views.to_image(perturbed[-made:]) - run.views.to_image(views[-made:])).abs().mean((2, 3, 4))
    assert (change > 0).all()
    assert change.max() <= 0.05 + 1e-5  # less where clamping cut it


@pytest.mark.parametrize(("made", "number"), [(1, 2), (2, 2), (1, 3)])
def test_the_losses_are_simclrs_of_the_perturbed_views_and_its_opposite(made: int, number: int) -> None:
    run, method = small(f"--method.num_learned_views={made}", f"--views.num_views={number}", "--method.alpha=0.3")
    views = views_of(run)
    torch.manual_seed(2)
    z = torch.stack([method.project(view) for view in method.perturb(views)])
    expected = info_nce(z[:2], 0.5) - (0.3 * alignment(z[:2], z[2:], 0.5) if number == 3 else 0)
    torch.manual_seed(2)  # the same noise
    torch.testing.assert_close(method.encoder_loss(views).value, expected)
    torch.manual_seed(2)
    torch.testing.assert_close(method.viewmaker_loss(views).value, -expected)


def test_the_viewmakers_steps_lower_the_alignment_and_raise_the_loss() -> None:
    run, method = small("--method.num_learned_views=1", "--views.num_views=3", "--method.alpha=2")
    method.eval()  # statistics of so few images would move more than the viewmaker does
    views = views_of(run)
    torch.manual_seed(2)
    before = method.encoder_loss(views)
    optimizer = torch.optim.Adam(method.viewmaker.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        method.viewmaker_loss(views).value.backward()
        optimizer.step()
    torch.manual_seed(2)
    after = method.encoder_loss(views)
    assert after.terms["alignment"] < before.terms["alignment"]
    assert after.value > before.value


def test_originals_have_a_recipe_of_their_own() -> None:
    run, method = small(
        "--views.num_views=1", "--views.generated=ssl_bench.generation.sources.original_images",
        "--views.generated_recipe=normalize", "--method.num_learned_views=1",
    )  # fmt: skip
    batch = run.data.split("train")[torch.arange(3)]
    views = run.views(batch.images, batch.ids)
    assert views.shape[0] == 2
    torch.testing.assert_close(views[1], run.views.evaluation_input(batch.images))
    assert torch.equal(original_images(batch.images, batch.ids)[0], batch.images)
    assert method.perturb(views).shape == views.shape


def test_a_step_moves_both_networks_and_its_viewmaker_is_a_source_of_views(tmp_path: Path) -> None:
    run, before = fitted(tmp_path)
    moved = {name.split(".")[0] for name, p in run.method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"backbone", "projector", "viewmaker"}
    batch = run.data.split("train")[torch.arange(3)]
    source = ViewMakerViews(str(tmp_path), views=2)
    source.attach(run.method, run.data)
    views = source(batch.images, batch.ids)
    assert views.shape == (2, *batch.images.shape)
    assert 0 <= views.min() < views.max() <= 1
    change = (views - batch.images / 255).abs().mean((2, 3, 4))
    assert 0 < change.max() <= 0.05 + 1e-5
    assert not torch.equal(views[0], views[1])
    run.data.image_shape = (1, 16, 16)
    with pytest.raises(UserError, match=r"takes images of \(1, 8, 8\), the data are \(1, 16, 16\)"):
        source.attach(run.method, run.data)


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiples of 4 and at least 8"):
        ViewMakerNetwork((3, 30, 30))
    with pytest.raises(UserError, match="no checkpoint"):
        ViewMakerViews(str(tmp_path))(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    with pytest.raises(UserError, match="num_learned_views is 3, got 2 views"):
        fitted(tmp_path, "--method.num_learned_views=3")
