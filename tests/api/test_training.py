"""Training from Python."""

import os
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import ssl_bench


def state() -> list[object]:
    """What a run must not change."""
    return [
        random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), dict(os.environ),  # noqa: NPY002
        torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters), list(sys.path), list(sys.argv),
        torch.are_deterministic_algorithms_enabled(),
    ]  # fmt: skip


def test_a_run_equals_that_of_the_command_and_leaves_no_state(run_folder: Path, tmp_path: Path) -> None:
    before = state()
    run = ssl_bench.train(
        "vae", "digits", epochs=1, out=tmp_path, evaluation__protocols=["knn", "kmeans"],
        trainer={"accelerator": "cpu", "precision": "32-true"},
    )  # fmt: skip
    assert state() == before
    assert run.metrics == ssl_bench.load_run(run_folder).metrics
    assert run.folder.name == run_folder.name
    assert run.record.command.startswith("ssl-bench bench --method vae --data digits --seed=0 ")


def test_settings_of_the_method_have_two_underscores_or_dots(tmp_path: Path) -> None:
    usual = {"epochs": 0, "seed": 5, "out": tmp_path, "evaluation__protocols": ["knn"], "trainer__accelerator": "cpu"}
    first = ssl_bench.train("beta_vae", "digits", **usual, method__beta=2.5)  # type: ignore[arg-type]
    assert first.config["method"]["init_args"]["beta"] == 2.5
    assert first.record.seed == 5
    second = ssl_bench.train("beta_vae", "digits", **usual, **{"method.beta": 2.5})  # type: ignore[arg-type]
    assert second.folder == first.folder


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("simvea", {}, "no method named 'simvea': did you mean simvae"),
        ("vae", {"trainer": {"max_epoch": 1}}, "max_epoch"),
        ("vae", {"epochs": -1}, "epochs"),
        (3, {}, "method is int, expected a name or an import path"),
        ("vae", {"method__beta": object()}, "a setting of type object"),
    ],
)
def test_wrong_settings_are_usage_errors(
    method: str, settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ssl_bench.UserError, match=message):
        ssl_bench.train(method, "digits", out=tmp_path, **settings)  # type: ignore[arg-type]
