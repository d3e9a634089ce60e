"""Train, score and record a run from Python."""

import logging
import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ssl_bench.api.runs import LoadedRun, load_run
from ssl_bench.errors import UserError
from ssl_bench.runs.arguments import command_line
from ssl_bench.runs.quiet import LIGHTNING_LOGGERS
from ssl_bench.runs.train_command import train as run_training
from ssl_bench.trust import start as start_trust


def train(
    method: str,
    data: str,
    *,
    seed: int = 0,
    epochs: int | None = None,
    out: str | Path = "runs",
    trust: Iterable[str | Path] = (),
    **settings: Any,
) -> LoadedRun:
    """Train, score and record a run, as `ssl-bench bench` does; a run that is recorded is only read.

    The state of the process is the same afterwards: random states, environment variables, filters of warnings, default
    type, number of threads and search path of modules. Only jsonargparse keeps its settings, by which it imports
    nothing but the classes of ssl_bench and what ``trust`` allows. One device is used unless ``trainer__devices`` is
    given, because the other processes would run your script again.

    Args:
        method: a name from `ssl-bench list`, or the import path of a `Method`.
        data: a name from `ssl-bench list`, or the import path of a `DataModule`.
        seed: seed of the run.
        epochs: number of epochs; default that of the method on this data.
        out: folder of the run folders.
        trust: folders of modules whose classes files may name, as of ``--trust``.
        **settings: other settings by their flags, with ``__`` or ``.`` between the parts: ``method__sigma2=0.1`` is
            ``--method.sigma2 0.1``. A dict has the settings of a group: ``trainer={"accelerator": "cpu"}``.

    Returns:
        The run.

    Raises:
        UserError: a setting does not exist, or has a wrong value.
        RunError: the run failed, or no protocol has scores.

    Example:
        >>> import ssl_bench
        >>> run = ssl_bench.train("beta_vae", "digits", epochs=1, method__beta=2.0)  # doctest: +ELLIPSIS
        setting up beta_vae-digits-s0-...
        >>> run.metrics["knn_5/accuracy"] > 70
        True
    """
    for name, value in {"method": method, "data": data}.items():
        if not isinstance(value, str):
            raise UserError(f"{name} is {type(value).__name__}, expected a name or an import path")
    flags = [f"--{key}={_text(value)}" for key, value in _leaves(settings)]
    if not any(flag.startswith("--trainer.devices=") for flag in flags):
        flags.append("--trainer.devices=1")  # several processes would run this script again
    command = ["bench", "--method", method, "--data", data, f"--seed={seed}", f"--out={out}"]
    command += [] if epochs is None else [f"--epochs={epochs}"]
    with unchanged_process():
        sys.argv = ["ssl-bench", *command, *flags]  # the command in the record
        start_trust(map(str, trust))
        options, rest = command_line().parse_known_args([*command, *flags])
        folder = run_training(options, rest, fit_only=False)
    assert folder is not None
    return load_run(folder, trust)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the state of the process after the block, see `train`."""
    python, numpy_state, state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    environment, arguments, path = dict(os.environ), sys.argv, list(sys.path)
    levels = {name: logging.getLogger(name).level for name in LIGHTNING_LOGGERS}
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        start_trust(())  # removes the folders that it added to the search path
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(state)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        sys.argv, sys.path[:] = arguments, path
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flags and values; a dict with a class path is one value."""
    for key, value in settings.items():
        name = f"{prefix}{key.replace('__', '.')}"
        if isinstance(value, dict) and value and "class_path" not in value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _text(value: Any) -> str:
    """A value of a flag, as YAML on one line.

    Raises:
        UserError: it is neither text, a number, nor a list or dict of them.
    """
    if isinstance(value, str | Path):
        return str(value)
    plain = value.tolist() if isinstance(value, np.generic | np.ndarray | torch.Tensor) else value
    plain = list(plain) if isinstance(plain, tuple) else plain
    try:
        text: str = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"))
    except yaml.YAMLError as error:
        raise UserError(f"a setting of type {type(value).__name__}, expected text, numbers, lists or dicts") from error
    return text.strip().removesuffix("...").strip()
