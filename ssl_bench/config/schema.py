"""The schema of a run's configuration: keys, types and the objects that are built.

The configuration is parsed by jsonargparse: type hints are the schema, and docstrings are the help. Files are stacked,
and flags come last. A parameter whose type is a class never has a default here, because jsonargparse would pass the
arguments of the default to the class that a file chooses.
"""

from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from pkgutil import resolve_name
from typing import Annotated, Any

from jsonargparse import ArgumentParser
from lightning import Trainer

from ssl_bench.config.known_settings import TRAINER
from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views
from ssl_bench.methods.base import Method
from ssl_bench.precision import AUTO
from ssl_bench.ranges import Interval, NonNegativeInt, check_ranges
from ssl_bench.trust import enforce

EVALUATION = "ssl_bench.evaluation.suite:Evaluation"
"""The evaluator, by import path, because `ssl_bench.evaluation` imports `ssl_bench.config`."""

TYPES = {
    "limit_train_batches": int | float | None,
    "gradient_clip_val": int | float | None,
    "precision": TRAINER["precision"],
}
"""Types of trainer arguments that are not Lightning's. 1 batch is not 1.0, all batches; Lightning's type of both
numbers may have the reverse order, because `typing` caches equal types, and jsonargparse would convert integers to
floats. The precision may be ``auto``."""


@dataclass(frozen=True)
class Names:
    """Names of a run in its folder, in tables and in wandb.

    Args:
        method: name of the method, followed by the variant of the experiment if there is one.
        data: name of the data set; default its name on the command line, or ``data.name`` for your own images.
    """

    method: str = ""
    data: str = ""


@dataclass(frozen=True)
class Reference:
    """Results that a paper reports for this setting.

    Args:
        source: paper, table and differences from our protocol.
        metrics: the paper's values under our metric names.
    """

    source: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@check_ranges
@dataclass(frozen=True)
class Curve:
    """Frechet distance and inception score of a generative method's samples during training.

    Both metrics are computed before the first step and after every ``every`` epochs, with the network of
    ``evaluation.generation``. The distance decreases with the number of samples, so only distances with the same number
    are comparable. With 2,000 samples it is higher than the final score of the run with 10,000.

    Args:
        every: number of epochs between two measurements; the last epoch is always measured. Zero disables them.
        images: number of samples of one measurement. All real images of ``evaluation.generation`` are used; they are
            encoded once.
    """

    every: NonNegativeInt = 0
    images: Annotated[int, Interval(10)] = 2000


@check_ranges
@dataclass(frozen=True)
class Validation:
    """Accuracy of the encoder on the validation images during training, as ``validation/knn_5/accuracy``.

    The neighbours are the images of the train split. The test split is not used. Measurements do not change the result
    of a run, so they are not part of its hash.

    Args:
        every: number of epochs between two measurements; the untrained encoder and the last epoch are then measured,
            too. By default there are up to 10 measurements, at most every fourth epoch, and those that would take more
            than 5 % of the training time are left out. Zero disables them.
        images: maximum number of train images; if there are more, a fixed random part of them is used.
        linear_probe: whether to fit the linear probe, too.
    """

    every: NonNegativeInt | None = None
    images: Annotated[int, Interval(10)] = 50_000
    linear_probe: bool = False


def shared_parser() -> ArgumentParser:
    """The parser of a run's configuration, made once per process: making one takes as long as parsing."""
    enforce()
    return _parser()


@cache
def _parser() -> ArgumentParser:
    return make_parser()


def make_parser() -> ArgumentParser:
    """A new parser of a run's configuration."""
    enforce()
    parser = ArgumentParser(prog="ssl-bench bench", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="configuration file; may be given several times")
    parser.add_argument("--names", type=Names, default=Names())
    parser.add_argument("--seed", type=int, default=0, help="seed of initialisation, order of images and views")
    parser.add_argument("--channels_last", type=bool, default=False, help="channels-last memory layout of convolutions")
    parser.add_subclass_arguments(DataModule, "data", required=True)
    parser.add_class_arguments(Views, "views")
    parser.add_subclass_arguments(Method, "method", required=True)
    skipped = set(signature(Trainer).parameters) - TRAINER.keys() | TYPES.keys()
    parser.add_class_arguments(Trainer, "trainer", instantiate=False, skip=skipped)
    for name, hint in TYPES.items():
        parser.add_argument(f"--trainer.{name}", type=hint)
    evaluation = resolve_name(EVALUATION)
    parser.add_argument("--evaluation", type=evaluation, default=evaluation())
    parser.add_argument("--curve", type=Curve, default=Curve())
    parser.add_argument("--validation", type=Validation, default=Validation())
    parser.add_argument("--reference", type=Reference, default=Reference())
    trainer = {"trainer.log_every_n_steps": 50, "trainer.max_epochs": 100, "trainer.precision": AUTO}
    parser.set_defaults(trainer | {"views.recipe": "identity"})
    parser.link_arguments("seed", "data.init_args.seed")
    for name in ("image_shape", "mean", "std"):
        parser.link_arguments(f"data.{name}", f"views.{name}", apply_on="instantiate")
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
    validation: Validation = field(default_factory=Validation)
