"""Local views: which methods use them and how, and what is refused before training."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ssl_bench.cli import main
from ssl_bench.data.types import Batch, MultiCropBatch
from ssl_bench.losses.dino import dino, teacher_distribution
from ssl_bench.losses.swav import codes, swapped_prediction
from ssl_bench.methods.dino import DINO
from ssl_bench.methods.swav import SwAV
from ssl_bench.networks.resnet import ResNetEncoder
from tests.methods.test_contract import tiny, tiny_flags, trained_weights, views_of

LOCAL = [
    "--views.num_local_views=3",
    "--views.local_recipe=[{random_resized_crop: {scale: [0.1, 0.5], size: 5}}, normalize]",
]


class FixedSize(ResNetEncoder):
    """A backbone of images of 8 pixels only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of images ``(N, C, 8, 8)``."""
        if x.shape[-1] != 8:
            raise ValueError("not 8 pixels")
        return super().forward(x)


@pytest.mark.parametrize("joint", [True, False])
def test_the_student_of_dino_sees_all_views_and_the_teacher_no_local_view(joint: bool) -> None:
    method = tiny("dino", f"--method.joint_forward={joint}").method.eval()
    assert isinstance(method, DINO)
    views, local_views = torch.randn(2, 6, 1, 8, 8), torch.randn(3, 6, 1, 5, 5)
    s = torch.stack([method.embed(view) for view in (*views, *local_views)])
    p_t = teacher_distribution(torch.stack([method.teacher(view) for view in views]), method.center, method.tau_t())
    expected = dino(s, p_t, method.temperature)
    torch.testing.assert_close(method.terms(views, local_views)["loss"], expected)


def test_codes_of_swav_are_those_of_the_first_two_views() -> None:
    run = tiny("swav", "--method.queue_epoch=1")
    method = run.method.eval()
    assert isinstance(method, SwAV)
    batch = MultiCropBatch(*views_of(run, 6), torch.randn(3, 6, 1, 5, 5))
    loss = method.training_step(batch, 0)
    z = torch.stack([F.normalize(method.embed(view)) for view in (*batch.images, *batch.local_views)])
    scores = z @ method.prototypes.weight.T
    q = torch.stack([codes(view) for view in scores[:2]])
    torch.testing.assert_close(loss, swapped_prediction(scores, q))


@pytest.mark.parametrize("name", ["dino", "swav"])
def test_a_resumed_run_with_local_views_equals_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    once = trained_weights(name, tmp_path / "once", *LOCAL)
    resumed = trained_weights(name, tmp_path / "resumed", *LOCAL, terminated=5)
    without = trained_weights(name, tmp_path / "without")
    assert all(torch.equal(value, resumed[key]) for key, value in once.items())
    assert not torch.equal(once["backbone.backbone.0.weight"], without["backbone.backbone.0.weight"])


def test_local_views_are_made_on_the_device_of_the_method() -> None:
    run = tiny("dino", *LOCAL)
    run.method.views = run.views
    batch = Batch(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4), torch.arange(4))
    found = run.method.on_after_batch_transfer(run.method.transfer_batch_to_device(batch, torch.device("cpu"), 0), 0)
    assert isinstance(found, MultiCropBatch)
    assert (found.images.shape, found.local_views.shape) == ((2, 4, 1, 8, 8), (3, 4, 1, 5, 5))


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("simclr", [], "SimCLR does not use local views: give --views.num_local_views 0"),
        ("vae", [], "VAE does not use local views: give --views.num_local_views 0"),
        ("dino", ["--method.backbone=tests.methods.test_local_views.FixedSize"],
         "local views have this size: give --views.local_recipe a crop of another size than 5x5, or another backbone"),
    ],
)  # fmt: skip
def test_what_cannot_use_local_views_is_refused_before_training(
    name: str, flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", f"--method={name}", "--data=digits", f"--out={tmp_path / 'runs'}", *tiny_flags(name)]
    assert main([*command, *LOCAL, *flags]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not any((tmp_path / "runs").glob("*"))
