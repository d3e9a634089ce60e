"""SimCLR and SimSiam over two views and more."""

from pathlib import Path

import pytest
import torch

from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Batch
from ssl_bench.losses.contrastive import alignment, info_nce, nt_xent, simsiam, simsiam_alignment
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.methods.simsiam import SimSiam
from ssl_bench.networks.resnet import ResNetEncoder

NARROW = ["--method.backbone.width=4", "--method.projector.outputs=16", "--method.projector.hidden=[16]"]
NAMES = ["simclr", "simsiam"]


def small(name: str, *flags: str) -> Run:
    torch.manual_seed(0)
    return build(resolve([*stack(name, "digits", None), *NARROW, *flags]))


def embedded(views: int) -> torch.Tensor:
    return torch.randn(views, 8, 16, generator=torch.Generator().manual_seed(0))


def test_simclr_of_two_views_is_its_loss_and_of_more_a2() -> None:
    method = small("simclr", "--method.alpha=0.25").method
    assert isinstance(method, SimCLR)
    z = torch.nn.functional.normalize(embedded(4), dim=2)
    base = info_nce(z[:2], 0.5)
    torch.testing.assert_close(method.objective(embedded(4)[:2])["loss"], base)
    torch.testing.assert_close(method.objective(embedded(4))["loss"], base - 0.25 * alignment(z[:2], z[2:], 0.5))


def test_a2_simclr_is_nt_xent_less_the_same_alignment() -> None:
    method = small("simclr", "--method.loss=nt_xent").method
    assert isinstance(method, SimCLR)
    z = torch.nn.functional.normalize(embedded(3), dim=2)
    expected = nt_xent(z[:2], 0.5) - 0.5 * alignment(z[:2], z[2:], 0.5)
    torch.testing.assert_close(method.objective(embedded(3))["loss"], expected)


def test_a2_full_treats_all_views_alike() -> None:
    method = small("simclr", "--method.assimilation=a2_full").method
    assert isinstance(method, SimCLR)
    losses = [method.objective(embedded(3)[order])["loss"] for order in ([0, 1, 2], [2, 0, 1])]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_base_temperature_scales_the_whole_loss() -> None:
    plain, scaled = (small("simclr", *flags).method for flags in ([], ["--method.base_temperature=0.07"]))
    assert isinstance(plain, SimCLR)
    assert isinstance(scaled, SimCLR)
    torch.testing.assert_close(scaled.objective(embedded(3))["loss"], plain.objective(embedded(3))["loss"] * 0.5 / 0.07)


def test_simsiam_of_more_views_adds_alpha_times_their_predictions() -> None:
    method = small("simsiam", "--method.alpha=0.25").method.eval()
    assert isinstance(method, SimSiam)
    z = embedded(3)
    p = torch.stack([method.predictor(view) for view in z])
    expected = simsiam(p[:2], z[:2]) + 0.25 * simsiam_alignment(p[2:], z[:2])
    torch.testing.assert_close(method.objective(z)["loss"], expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("together", [True, False])
def test_views_share_statistics_only_in_a_joint_forward_pass(name: str, together: bool) -> None:
    method = small(name, f"--method.joint_forward={together}").method
    assert isinstance(method, MultiView)
    views = torch.randn(2, 16, 1, 8, 8)
    views[1] = 5 * views[1] + 3
    alone, beside = method.embed_views(views[:1])[0], method.embed_views(views)[0]
    assert torch.allclose(alone, beside, atol=1e-5) != together


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_views_makes_a_step(name: str) -> None:
    run = small(name, "--views.num_views=4")
    run.data.setup()
    batch = run.data.split("train")[torch.arange(16)]
    loss = run.method.training_step(batch._replace(images=run.views(batch.images, batch.ids)), 0)
    assert isinstance(loss, torch.Tensor)
    assert loss.isfinite()


def test_views_belong_to_the_ids_of_a_batch() -> None:
    method = small("simclr").method
    seen: dict[str, torch.Tensor] = {}
    method.views = lambda images, ids: seen.setdefault(
        "views", torch.stack([images, ids.float()[:, None] + 0 * images])
    )
    batch = method.on_after_batch_transfer(Batch(torch.rand(3, 4), torch.zeros(3), torch.tensor([5, 1, 2])), 0)
    assert torch.equal(batch.images[1, :, 0], torch.tensor([5.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--views.num_views=1", "--views.num_views 2"),
        ("--views.generated_recipe=flip", "without generated"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    flag: str, told: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--method=simclr", "--data=digits", f"--out={tmp_path}", *NARROW, flag]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_batch_of_one_image_is_refused_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sampler leaves out a last batch of one image."""
    flags = [*NARROW, "--data.batch_size=1"]
    assert main(["fit", "--method=vicreg", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert "VICReg: a batch of 1 image in a process, needs 2" in error
    assert error.count("\n") == 1


class Of28(ResNetEncoder):
    """A backbone that takes images of 28 px only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != 28:
            raise ValueError(f"got {x.shape[-1]} px, takes 28")
        return super().forward(x)


def test_views_that_the_backbone_cannot_take_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--method.backbone={__name__}.Of28", *NARROW[1:]]
    assert main(["fit", "--method=simsiam", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert "got 8 px, takes 28" in error
    assert "views have this size: give --data.size or a recipe with a crop of another size than 8x8" in error
    assert error.count("\n") == 1
