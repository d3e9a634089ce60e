"""The facts about data and views that a method checks before training."""

from pathlib import Path

import pytest
from lightning import Trainer

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data.inputs import training_inputs
from ssl_bench.data.types import TrainingInputs
from ssl_bench.errors import UserError


def inputs(*flags: str) -> TrainingInputs:
    run = build(resolve([*stack("simclr", "digits", None), "--method.backbone.width=4", *flags]))
    run.data.setup()
    return training_inputs(run.data, run.views)


def test_images_of_a_step_count_every_view() -> None:
    found = inputs("--data.batch_size=32", "--views.num_views=3")
    assert (found.images, found.views, found.processes, found.generated) == (96, 3, 1, False)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"--data\.batch_size 32 is more than the 10 training images"):
        inputs("--data.batch_size=32", "--data.fit_images=10")


@pytest.mark.parametrize(("drop", "last"), [("true", 20), ("false", 8)])
def test_images_of_the_last_step_are_those_of_the_sampler(drop: str, last: int) -> None:
    found = inputs("--data.batch_size=10", "--data.fit_images=34", "--views.num_views=2", f"--data.drop_last={drop}")
    assert (found.images, found.last_images) == (20, last)


def test_the_range_of_pixels_is_that_of_the_normalisation() -> None:
    found = inputs("--views.recipe=[{normalize: {mean: 0.5, std: 0.25}}]")
    assert (found.black, found.white) == ((-2.0,), (2.0,))
    assert inputs("--views.recipe=identity").white == (1.0,)


def test_generated_views_are_reported() -> None:
    assert inputs("--views.generated=ssl_bench.generation.sources.original_images").generated


def test_local_views_are_counted_apart() -> None:
    found = inputs("--data.batch_size=32", "--views.num_local_views=3", "--views.local_recipe=normalize")
    assert (found.images, found.views, found.local_views) == (64, 2, 3)


@pytest.mark.parametrize("method", ["simvae", "cr_vae", "simclr"])
def test_inputs_are_checked_under_a_trainer_of_the_users_own(method: str, tmp_path: Path) -> None:
    run = build(resolve([*stack(method, "digits", None), "--views.num_views=1"]))
    run.method.views = run.views
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, default_root_dir=tmp_path, barebones=True)
    with pytest.raises(UserError, match=r"--views\.num_views 2"):
        trainer.fit(run.method, datamodule=run.data)
