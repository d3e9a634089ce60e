"""`ssl-bench evaluate`: its arguments are checked before torch is imported."""

import argparse
import re
from pathlib import Path

from ssl_bench import trust
from ssl_bench.catalogue import config_names
from ssl_bench.config.names import as_name, check_name
from ssl_bench.config.stack import choose
from ssl_bench.errors import RunError, UserError, did_you_mean
from ssl_bench.runs.arguments import files_and_flags, output_folder
from ssl_bench.runs.checks import (
    FEATURE_SUFFIXES,
    check_devices,
    check_evaluation_flags,
    check_feature_file,
    check_run_folder,
)
from ssl_bench.runs.train_command import any_configuration, print_help, requested_help, stacked

NAMED_MODELS = ("timm", "torchvision", "hub")
"""Encoders with a name of a model after them, as in ``timm/resnet18``."""
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""Import path of a function that makes an encoder."""
FORMS = "pixels, pca, random, timm/NAME, torchvision/NAME, hub/FOLDER, hub/USER/NAME or MODULE:FUNCTION"
"""Forms of the names of encoders."""


def evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    """Carry out `ssl-bench evaluate`, or print help on the settings."""
    key, rest = requested_help(rest)
    if options.encoder is None:
        if not key:
            raise UserError(f"nothing to score: give a run folder, a file of features, or {FORMS}")
        return print_help(key, [*any_configuration(data=options.data), *rest])
    check_devices(options.devices)
    path = Path(options.encoder)
    if names_encoder(options.encoder) and not path.exists():
        if "," in (options.data or ""):
            return evaluate_on_several(options, rest)
        files, flags = files_and_flags(rest)
        chosen, named = encoder_arguments(options)
        seed = [f"--seed={options.seed}"] if options.seed is not None else []
        out = output_folder(options.out, files)
        arguments = stacked(chosen, files, [*named, *flags, *seed], None if key else out)
        if key:
            return print_help(key, arguments)

        from ssl_bench.runs.evaluate import evaluate_encoder

        return evaluate_encoder(arguments, out, options.devices, options.wait)
    check_scored_flags(options, path)
    if path.suffix in FEATURE_SUFFIXES:
        check_feature_file(path)
        check_evaluation_flags("FILE", rest)
        if key:
            return print_help(key, [*any_configuration(), *rest])

        from ssl_bench.runs.evaluate import evaluate_file

        out = options.out or Path("runs")
        return evaluate_file(path, options.labels, options.data, out, options.devices, rest, options.wait)
    check_run_folder(path)
    check_evaluation_flags("RUN", rest)
    if key:
        return print_help(key, ["--config", str(path / "config.yaml"), *rest])

    from ssl_bench.runs.evaluate import evaluate_run

    return evaluate_run(path, options.devices, rest, options.wait)


def names_encoder(text: str) -> bool:
    """Whether a text is the name of an encoder, and not a path: ``pixels``, ``timm/NAME`` or ``MODULE:FUNCTION``."""
    return bool(FACTORY.fullmatch(text)) or text.partition("/")[0] in config_names("encoder")


def evaluate_on_several(options: argparse.Namespace, rest: list[str]) -> None:
    """Score an encoder on several data sets, one after the other, in one process.

    A data set on which it fails does not stop the others.

    Raises:
        UserError: a data set does not exist, or there are several processes.
        RunError: the encoder could not be scored on one of the data sets.
    """
    names, known = options.data.split(","), config_names("data")
    for name in names:
        if name not in known:
            raise UserError(f"--data: no data set named {name!r}: {did_you_mean(name, known)}")
    if options.devices not in ("auto", "1"):
        raise UserError(
            f"--devices {options.devices} with several data sets: give --devices 1, or one data set at a time"
        )
    failures = []
    for name in names:
        try:
            evaluate(argparse.Namespace(**vars(options) | {"data": name, "devices": "1"}), list(rest))
        except (RunError, UserError) as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise RunError("; ".join(failures))


def encoder_arguments(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Arguments that choose an encoder given by name and its data, and flags with its settings."""
    encoder, _, model = options.encoder.partition("/")
    if FACTORY.fullmatch(options.encoder):
        encoder, model = "module", options.encoder
        trust.name_factory(model)
    if options.labels:
        raise UserError(f"--labels does not go with {encoder}: it is for features in a .npy file")
    if not options.data:
        raise UserError(f"--data is missing: give one of {', '.join(config_names('data'))}")
    if (encoder in (*NAMED_MODELS, "module")) != bool(model) or options.encoder.startswith("module/"):
        raise UserError(f"no encoder named {options.encoder!r}: give {FORMS}")
    name = f"hub-{Path(model).name}" if encoder == "hub" and Path(model).is_dir() else options.encoder.replace("/", "-")
    settings = {"names.method": as_name(name), "method.model": model}
    flags = [f"--{key}={value}" for key, value in settings.items() if value]
    return [*choose("data", options.data), *choose("encoder", encoder)], flags


def check_scored_flags(options: argparse.Namespace, path: Path) -> None:
    """Check the flags that are given with a run folder or a file of features.

    Raises:
        UserError: a flag cannot be used with the folder or file, or the path does not exist and looks like the name of
            an encoder.
    """
    encoders, is_file = config_names("encoder"), path.suffix in FEATURE_SUFFIXES
    if options.data and not path.exists() and not is_file:
        name = options.encoder.partition("/")[0]
        hint = "" if "/" in options.encoder else f"; timm's models are timm/NAME, such as timm/{name}"
        raise UserError(f"no encoder named {name!r}: {did_you_mean(name, encoders)}{hint}")
    if is_file and options.data is not None:
        check_name("--data", options.data)
    given = {"--data": options.data, "--labels": options.labels, "--seed": options.seed, "--out": options.out}
    allowed = ["--data", "--out"] if is_file else []
    allowed += ["--labels"] if path.suffix == ".npy" else []
    if wrong := [flag for flag, value in given.items() if value is not None and flag not in allowed]:
        purpose = "features in a .npy file" if wrong[0] == "--labels" else ", ".join(encoders)
        raise UserError(f"{wrong[0]} does not go with {path}: it is for {purpose}")
