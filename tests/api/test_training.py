"""Training from Python."""

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import ssl_bench
from ssl_bench.cli import main


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


OWN = """
import torch
from ssl_bench.methods.base import Method


class Mean(Method):
    def __init__(self, image_shape: tuple[int, ...], **kwargs):
        super().__init__(**kwargs)
        self.feature_dim = image_shape[-1]
        self.scale = torch.nn.Parameter(torch.ones(1))

    def encode(self, x):
        return self.scale * x.mean((1, 2))

    def training_step(self, batch, batch_idx):
        return (self.encode(batch.images[0]) - 1).square().mean()
"""


def test_a_method_of_your_own_is_trained_loaded_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_method.py").write_text(OWN, encoding="utf-8")
    trust = [tmp_path / "code"]
    path = list(sys.path)
    settings = {"epochs": 1, "out": tmp_path / "runs", "evaluation__protocols": ["knn"], "trainer__accelerator": "cpu"}
    run = ssl_bench.train("own_method.Mean", "digits", trust=trust, **settings)  # type: ignore[arg-type]
    assert sys.path == path
    x = torch.rand(3, 1, 8, 8)
    features = run.encoder()(x)
    again = ssl_bench.train("own_method.Mean", "digits", trust=trust, **settings)  # type: ignore[arg-type]
    assert again.folder == run.folder
    folder = ssl_bench.export(run, tmp_path / "by_function")
    assert torch.equal(ssl_bench.load_encoder(folder, trust=trust)(x), features)
    with pytest.raises(ssl_bench.UserError, match=r"names own_method\.Mean, which is no class of ssl_bench") as error:
        ssl_bench.load_encoder(folder)
    assert "damaged" not in str(error.value)
    command = ["export", str(run.folder), f"--out={tmp_path / 'by_command'}"]
    assert main([*command, f"--trust={trust[0]}"]) == 0
    sys.modules.pop("own_method", None)


FRESH = """
import logging, os, random, sys, warnings
import ssl_bench
ssl_bench.train  # torch and other libraries add filters when they are imported
before = dict(os.environ), list(warnings.filters), list(sys.path), logging.getLogger(NAME).level
ssl_bench.train("vae", "digits", epochs=0, out=sys.argv[1], evaluation__protocols=["knn"], trainer__accelerator="cpu")
after = dict(os.environ), list(warnings.filters), list(sys.path), logging.getLogger(NAME).level
for one, other in zip(before, after):
    assert one == other, (one, other)
"""


def test_the_first_run_of_a_process_leaves_no_state(tmp_path: Path) -> None:
    """Also what imports change: the packages are imported by this run."""
    code = FRESH.replace("NAME", repr("lightning.pytorch.utilities.rank_zero"))
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
