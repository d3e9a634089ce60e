"""From names and flags to a resolved configuration, and from that to its objects.

The configuration is jsonargparse's: type hints are the schema, docstrings the help, files are stacked and flags
come last. A class-typed parameter never has a default here, since jsonargparse would leak the default's arguments
into the class chosen in a file.
"""

import hashlib
import importlib
import inspect
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import Trainer

from ssl_bench.config_files import nearest
from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views, read_recipe
from ssl_bench.errors import UserError
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.methods.base import Method

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
    parser.add_argument("--evaluation", type=Evaluation, default=Evaluation())
    parser.add_argument("--curve", type=Curve, default=Curve())
    parser.add_argument("--reference", type=Reference, default=Reference())
    parser.set_defaults({"trainer.log_every_n_steps": 50, "trainer.max_epochs": 100, "views.recipe": "identity"})
    parser.link_arguments("seed", "data.init_args.seed")
    for fact in ("image_shape", "mean", "std"):
        parser.link_arguments(f"data.{fact}", f"views.{fact}", apply_on="instantiate")
    parser.link_arguments("views.output_shape", "method.init_args.image_shape", apply_on="instantiate")
    return parser


def resolve(arguments: list[str]) -> Namespace:
    """Parse a stack of files and flags.

    Raises:
        UserError: a key or value is not of the schema; one line with the nearest valid names.
    """
    parser = make_parser()
    try:
        config = parser.parse_args(arguments)
    except ArgumentError as error:
        raise UserError(explain(str(error), parser)) from error
    del config["config"]
    return config


def explain(message: str, parser: ArgumentParser) -> str:
    """One line from jsonargparse's explanation of what it could not parse."""
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message)).replace("init_args.", "")
    if unknown := re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: --([^\s=]+)", message):
        name = (unknown[1] or unknown[2]).replace("init_args.", "")
        known: list[str] = [action.dest for action in parser._actions if action.dest != "help"]
        inner = re.match(r"\. Got value: Namespace\(class_path='([^']+)'", message[unknown.end() :])
        if found := inner or re.search(r"class_path '([^']+)'", message):
            module, _, attribute = found[1].rpartition(".")
            bases = getattr(importlib.import_module(module), attribute).__mro__
            known = [key for base in bases for key in inspect.signature(base.__init__).parameters]
            known = [key for key in known if key not in ("self", "args", "kwargs")]
        where = f"{keys}.{name}" if keys else name
        return f"no key {where!r}: {nearest(name, dict.fromkeys(known))}"
    expected = re.findall(r"Expected a (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    names = [re.sub(r"<class '([^']+)'>|typing\.", r"\1", kind) for kind in expected]
    names = [name for name in names if name != "NoneType" and "path" not in name]
    if "dot import path" in message and not names:
        names = re.findall(r"Subtypes: \[<class '([^']+)'>", message)[:1]
    value = re.findall(r"(?:Got|Given) value: ([^\n]*?)(?:\. Got value.*)?$", message, re.MULTILINE)
    if nested := re.match(r"NestedArg\(key='([^']+)', val='?([^']*)'?\)", value[0] if value else ""):
        where = f"{keys.removesuffix('.' + nested[1])}.{nested[1]}"
        return f"{where} got {nested[2]!r}: no class or value of that kind; give a class by its import path"
    if keys and value and names:
        return f"{keys} got {value[0]!r}, expected {' or '.join(dict.fromkeys(names))}"
    return " ".join(message.split())


def plain(config: Namespace) -> dict[str, Any]:
    """The configuration as plain data, ready for YAML and JSON: recipes by their steps, linked values left out."""
    text = make_parser().dump(config, skip_link_targets=True, skip_unset=False, skip_validation=True)
    resolved: dict[str, Any] = yaml.safe_load(text)
    for key, recipe in resolved["views"].items():
        if "recipe" in key and recipe is not None:
            resolved["views"][key] = read_recipe(recipe)
    return resolved


def config_hash(config: dict[str, Any], *, seed: bool = True) -> str:
    """Eight hex digits of what decides a run's result: not where it is written, not what it or a paper calls it.

    A root that is given counts, since for folders and parquet files it is the data set; by its absolute path. A curve,
    a part of the images and generated views count where there are any.
    """
    left_out = {"out", "reference", "names"} | (set() if seed else {"seed"})
    left_out |= set() if config.get("curve", {}).get("every") else {"curve"}
    decisive = {key: value for key, value in config.items() if key not in left_out}
    decisive["views"] = {key: value for key, value in config["views"].items() if value or "generated" not in key}
    arguments = dict(config["data"].get("init_args", {}))
    if arguments.get("root"):
        arguments["root"] = str(Path(arguments["root"]).resolve())
    if not arguments.get("fit_images"):
        arguments.pop("fit_images", None)
    if "init_args" in config["data"]:
        decisive["data"] = {**config["data"], "init_args": arguments}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


def names(config: dict[str, Any]) -> tuple[str, str]:
    """Method (with its variant) and data set as the run's folder, the table and wandb call them."""
    method, data = (
        config["names"][room] or config[room]["class_path"].rpartition(".")[2] for room in ("method", "data")
    )
    return method, data


def run_folder(config: dict[str, Any]) -> Path:
    """``OUT/<method>-<data>-s<seed>-<hash>``: the same configuration finds its own run and no other."""
    return Path(config["out"]) / f"{'-'.join(names(config))}-s{config['seed']}-{config_hash(config)}"


@dataclass
class Run:
    """The objects of a configuration."""

    data: DataModule
    views: Views
    method: Method
    evaluation: Evaluation
    curve: Curve = field(default_factory=Curve)


def build(config: Namespace) -> Run:
    """Make the objects of a configuration.

    Raises:
        UserError: a value is of the right type but not one the object can take.
    """
    try:
        objects = make_parser().instantiate(config)
    except (ValueError, ArgumentError) as error:
        innermost = str(error).rpartition("Errors:")[2].strip().removeprefix("- ")
        raise UserError(innermost.split("\n")[0]) from error
    chosen = plain(config)["method"]
    if "image_shape" in config.method.init_args:
        chosen.setdefault("init_args", {})["image_shape"] = list(objects.views.output_shape)
    objects.method.config = chosen
    return Run(objects.data, objects.views, objects.method, objects.evaluation, objects.curve)
