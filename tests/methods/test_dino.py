"""What is specific to DINO."""

import pytest
import torch
from torch.nn import functional as F

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.losses.dino import dino, teacher_distribution
from ssl_bench.methods.dino import DINO


def small(*flags: str) -> DINO:
    torch.manual_seed(0)
    method = build(resolve([*stack("dino", "digits", None), "--method.backbone.width=4", *flags])).method
    assert isinstance(method, DINO)
    return method


def test_the_student_predicts_the_centred_teacher_and_then_the_centre_moves() -> None:
    method = small("--method.center_momentum=0.75").eval()
    method.center.copy_(torch.linspace(-0.1, 0.1, len(method.center)))
    before, views = method.center.clone(), torch.randn(2, 6, 1, 8, 8)
    s = torch.stack([method.embed(view) for view in views])
    t = torch.stack([method.teacher(view) for view in views])
    expected = dino(s, teacher_distribution(t, before, 0.04), 0.1)
    torch.testing.assert_close(method.terms(views)["loss"], expected)
    torch.testing.assert_close(method.center, 0.75 * before + 0.25 * t.mean((0, 1)))


def test_outputs_are_cosines_with_the_prototypes() -> None:
    method = small()
    head, features = method.projector.eval(), torch.randn(3, method.feature_dim)
    expected = F.cosine_similarity(head.layers(features)[:, None], head.prototypes.weight, dim=2)
    torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize(
    ("epochs", "epoch", "tau"), [(50, 0, 0.04), (50, 49, 0.07), (4, 1, 0.05), (1, 0, 0.04), (0, 0, 0.07)]
)
def test_the_teachers_temperature_increases_linearly(
    epochs: int, epoch: int, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = small("--method.teacher_temperature=0.07", f"--method.warmup_epochs={epochs}")
    monkeypatch.setattr(DINO, "current_epoch", epoch)
    assert method.tau_t() == pytest.approx(tau)


@pytest.mark.parametrize("epoch", [0, 1])
def test_prototypes_are_frozen_in_the_first_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    method = small()
    monkeypatch.setattr(DINO, "current_epoch", epoch)
    method.terms(torch.randn(2, 8, 1, 8, 8))["loss"].backward()
    method.on_after_backward()
    assert (method.projector.prototypes.weight.grad is None) == (epoch == 0)
