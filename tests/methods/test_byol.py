"""What is specific to BYOL."""

import torch

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.losses.contrastive import byol
from ssl_bench.methods.byol import BYOL


def test_the_loss_compares_predictions_of_the_student_with_projections_of_the_teacher() -> None:
    method = build(resolve([*stack("byol", "digits", None), "--method.backbone.width=4"])).method.eval()
    assert isinstance(method, BYOL)
    views = torch.randn(2, 6, 1, 8, 8)
    predictions = torch.stack([method.predictor(method.embed(view)) for view in views])
    targets = torch.stack([method.teacher(view) for view in views])
    torch.testing.assert_close(method.terms(views)["loss"], byol(predictions, targets))
