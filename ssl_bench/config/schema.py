"""The schema of a run: its keys, their types and the objects they make.

The configuration is jsonargparse's: type hints are the schema, docstrings the help, files are stacked and flags
come last. A class-typed parameter never has a default here, since jsonargparse would leak the default's arguments
into the class chosen in a file.
"""

from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from jsonargparse import ArgumentParser
from lightning import Trainer

from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method

EVALUATION = "ssl_bench.evaluation.suite:Evaluation"
"""The evaluator, by its import path as methods and data sets are: its package imports this one."""

OURS = {"logger", "callbacks", "default_root_dir", "enable_checkpointing", "enable_progress_bar", "plugins",
        "enable_model_summary", "use_distributed_sampler", "reload_dataloaders_every_n_epochs", "profiler",
        "num_sanity_val_steps", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "barebones",
        "val_check_interval", "check_val_every_n_epoch", "fast_dev_run", "overfit_batches", "inference_mode",
        "model_registry", "enable_autolog_hparams"}  # fmt: skip
"""Trainer arguments that the suite sets itself or that mean nothing without a validation loop."""


@dataclass(frozen=True)
class Names:
    """What a run is called in its folder's name, in the table and in wandb; by default after its classes.

    Args:
        method: the method, and the experiment's variant where it is one.
        data: the data set.
    """

    method: str = ""
    data: str = ""


@dataclass(frozen=True)
class Reference:
    """What a paper reports for this setting.

    Args:
        source: paper, table and what differs from our protocol.
        metrics: our metric names with the paper's values.
    """

    source: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """Generated images against real ones as a generative method learns, by the extractor of evaluation.generation.

    Frechet distance and inception score before the first step and after epochs. The distance falls as there are more
    images, so that it is comparable with those of as many only: by 2,000 it is above the record's by 10,000.

    Args:
        every: epochs from one to the next; the last is measured too. 0 leaves them out.
        images: generated images of one; real ones are all of those of evaluation.generation, encoded once.
    """

    every: int = 0
    images: int = 2000

    def __post_init__(self) -> None:
        if self.every < 0 or self.images < 10:
            raise UserError(f"curve: every {self.every}, images {self.images}: give 0 or more, and 10 or more")


def make_parser() -> ArgumentParser:
    """The schema of a run."""
    parser = ArgumentParser(prog="ssl-bench bench", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a configuration file; may be given several times")
    parser.add_argument("--names", type=Names, default=Names())
    parser.add_argument("--seed", type=int, default=0, help="seed of initialisation, order and views")
    parser.add_argument("--out", type=str, default="runs", help="folder that run folders are made in")
    parser.add_argument("--channels_last", type=bool, default=False, help="channels-last layout of convolutions")
    parser.add_subclass_arguments(DataModule, "data", required=True)
    parser.add_class_arguments(Views, "views")
    parser.add_subclass_arguments(Method, "method", required=True)
    parser.add_class_arguments(Trainer, "trainer", instantiate=False, skip=OURS)
    evaluation = resolve_name(EVALUATION)
    parser.add_argument("--evaluation", type=evaluation, default=evaluation())
    parser.add_argument("--curve", type=Curve, default=Curve())
    parser.add_argument("--reference", type=Reference, default=Reference())
    parser.set_defaults({"trainer.log_every_n_steps": 50, "trainer.max_epochs": 100, "views.recipe": "identity"})
    parser.link_arguments("seed", "data.init_args.seed")
    for fact in ("image_shape", "mean", "std"):
        parser.link_arguments(f"data.{fact}", f"views.{fact}", apply_on="instantiate")
    parser.link_arguments("views.output_shape", "method.init_args.image_shape", apply_on="instantiate")
    return parser


@dataclass
class Run:
    """The objects of a configuration."""

    data: DataModule
    views: Views
    method: Method
    evaluation: Any
    curve: Curve = field(default_factory=Curve)
