"""Links and defaults of the schema's keys."""

import torch

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Batch
from tests.config.resolved import resolved


def test_a_method_sees_the_size_that_the_views_have() -> None:
    recipe = '--views.recipe=[{"random_resized_crop": {"size": 16}}, {"center_crop": {"size": 16}}]'
    run = build(resolve([*stack("vae", "mnist", None), recipe]))
    views = run.views(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert run.method.training_step(Batch(views, torch.zeros(2), torch.arange(2)), 0) is not None
    assert run.method.config is not None
    assert run.method.config["init_args"]["image_shape"] == [1, 16, 16]


def test_switching_the_optimizer_leaks_nothing_into_it_but_what_the_file_set() -> None:
    """Adam's eps or AdamW's weight decay in SGD would be silent and wrong; the file's learning rate is kept."""
    optimizer = resolved(None, "--method.optimizer=SGD")["method"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.SGD"
    assert optimizer["init_args"]["weight_decay"] == 0
    assert "eps" not in optimizer["init_args"]
    assert optimizer["init_args"]["lr"] == 1e-3
