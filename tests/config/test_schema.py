"""Links and defaults of the schema's keys."""

from typing import Union

import pytest
import torch
from lightning import Trainer

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


@pytest.mark.parametrize(("value", "kind"), [("1", int), ("1.0", float), ("null", type(None))])
def test_whole_numbers_are_integers_in_any_order_of_lightnings_types(
    value: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch of an epoch, or all of it. `typing` gives equal types the order of the first one in the process."""
    monkeypatch.setitem(
        Trainer.__init__.__wrapped__.__annotations__,  # type: ignore[attr-defined]
        "limit_train_batches",
        Union[float, int, None],  # noqa: UP007
    )
    assert type(resolved(None, f"--trainer.limit_train_batches={value}")["trainer"]["limit_train_batches"]) is kind
