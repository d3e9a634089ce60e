"""What is specific to MoCo."""

import pytest
import torch
from torch.nn import functional as F

from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.losses.contrastive import moco
from ssl_bench.methods.moco import MoCo


def small(*flags: str) -> MoCo:
    torch.manual_seed(0)
    flags = ("--method.backbone.width=4", "--method.queue_size=16", *flags)
    method = build(resolve([*stack("moco", "digits", None), *flags])).method.eval()
    assert isinstance(method, MoCo)
    return method


@pytest.mark.parametrize("symmetric", [True, False])
def test_keys_are_the_teachers_and_negatives_those_of_the_same_view(symmetric: bool) -> None:
    method = small(f"--method.symmetric={symmetric}")
    views = torch.randn(2, 6, 1, 8, 8)
    q = [F.normalize(method.embed(view)) for view in views]
    k = [F.normalize(method.teacher(view)) for view in views]
    expected = moco(q[0], k[1], method.queue["second"], 0.2)
    if symmetric:
        expected = (expected + moco(q[1], k[0], method.queue["first"], 0.2)) / 2
    torch.testing.assert_close(method.terms(views)["loss"], expected)
    method.on_after_backward()
    torch.testing.assert_close(method.queue["second"][:6], k[1])


def test_a_queue_that_is_shorter_than_a_batch_is_refused_before_training(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--method.queue_size=64", "--data.batch_size=65", "--method.backbone.width=4"]
    assert main(["fit", "--method=moco", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert "MoCo: a queue of 64 is shorter than the batch of 65 images in 1 process: give --method.queue_size" in error
    assert error.count("\n") == 1


def test_more_than_two_views_are_refused_before_training(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--views.num_views=3", "--method.backbone.width=4"]
    assert main(["fit", "--method=moco", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert "MoCo got 3 views of each image, accepts 2: give --views.num_views 2" in error
    assert error.count("\n") == 1
