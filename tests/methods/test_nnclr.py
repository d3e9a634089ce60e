"""What is specific to NNCLR."""

import torch
from torch.nn import functional as F

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.losses.contrastive import nearest, neighbour_contrast
from ssl_bench.methods.nnclr import NNCLR


def small(*flags: str) -> NNCLR:
    torch.manual_seed(0)
    flags = ("--method.backbone.width=4", "--method.queue_size=16", *flags)
    method = build(resolve([*stack("nnclr", "digits", None), *flags])).method.eval()
    assert isinstance(method, NNCLR)
    return method


def normalised(method: NNCLR, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = method.embed(view)
    return F.normalize(z), F.normalize(method.predictor(z))


def test_the_neighbour_of_each_view_is_the_positive_of_the_others_prediction() -> None:
    method, views = small(), torch.randn(2, 6, 1, 8, 8)
    (z1, p1), (z2, p2) = (normalised(method, view) for view in views)
    queue = method.queue["z"].clone()
    expected = neighbour_contrast(nearest(z1, queue), p2, 0.2) + neighbour_contrast(nearest(z2, queue), p1, 0.2)
    torch.testing.assert_close(method.terms(views)["loss"], expected / 2)
    method.on_after_backward()
    torch.testing.assert_close(method.queue["z"][:6], z1)


def test_same_views_takes_one_view_and_its_neighbour() -> None:
    method, views = small("--method.same_views=true"), torch.randn(1, 6, 1, 8, 8)
    z, p = normalised(method, views[0])
    torch.testing.assert_close(method.terms(views)["loss"], neighbour_contrast(nearest(z, method.queue["z"]), p, 0.2))
    assert (method.least_views, method.most_views) == (1, 1)
