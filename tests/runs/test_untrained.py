"""Runs without training: every method is scored with its initial weights, and the table says so."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.frozen import PCA, Pixels, Random, Timm
from ssl_bench.networks.timm_backbone import TimmBackbone
from ssl_bench.runs.score import is_untrained
from tests.methods.test_contract import tiny_flags
from tests.runs.test_train import only_run

KNN = ["--trainer.accelerator=cpu", "--data.batch_size=32", "--evaluation.protocols=[knn]", "--evaluation.knn.k=[5]"]
SHAPE = (1, 8, 8)


def run(command: str, method: str, out: Path, *flags: str) -> Path:
    """Run folder of a tiny method on digits, after `ssl-bench bench` or `ssl-bench fit`."""
    arguments = [command, f"--method={method}", "--data=digits", *tiny_flags(method), *KNN, *flags, f"--out={out}"]
    assert main(arguments) == 0
    return only_run(out)


@pytest.mark.parametrize("method", sorted(config_names("method")))
def test_a_method_without_epochs_is_scored_and_called_untrained(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("bench", method, tmp_path, "--epochs=0")
    record = json.loads((folder / "metrics.json").read_text())
    assert (record["epochs"], record["untrained"]) == (0, True)
    assert record["metrics"]["knn_5/accuracy"] > 10
    assert re.search(rf"^ {method} \(untrained\) +0 +1 +\d", capsys.readouterr().out, re.MULTILINE)


def test_no_steps_are_no_training_either(tmp_path: Path) -> None:
    record = json.loads((run("bench", "vae", tmp_path, "--trainer.max_steps=0") / "metrics.json").read_text())
    assert (record["epochs"], record["untrained"]) == (0, True)


def test_the_averages_of_an_untrained_gan_are_those_of_a_trained_one(tmp_path: Path) -> None:
    """BatchNorm statistics of the averaged generator are those of its samples, not the initial 0 and 1."""
    method = load_method(run("fit", "hinge_gan", tmp_path, "--epochs=0"))
    assert isinstance(method, Adversarial)
    norms = [module for module in method.generator_ema.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: list[torch.Tensor] = []
    hooks = [norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])) for norm in norms]
    with torch.no_grad():
        method.decode(method.latents(4096, torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    assert norms
    for norm, x in zip(norms, seen, strict=True):
        torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)), rtol=0.2, atol=1e-4)


class Pretrained(Method):
    """A method with a backbone of timm; `model` has weights if it has a tag."""

    def __init__(self, pretrained: bool):
        super().__init__()
        self.backbone = TimmBackbone(SHAPE, 0, "test_resnet")
        self.backbone.pretrained = pretrained


@pytest.mark.parametrize(
    ("method", "untrained"),
    [
        (Pixels(SHAPE), False),
        (PCA(SHAPE), False),
        (Random(SHAPE, width=4), True),
        (Timm(SHAPE, "test_resnet"), True),
        (Pretrained(False), True),
        (Pretrained(True), False),
    ],
    ids=["pixels", "pca", "random", "timm", "random backbone", "pretrained backbone"],
)
def test_untrained_are_random_weights_only(method: Method, untrained: bool) -> None:
    assert is_untrained(method, epochs=0) == untrained
    assert not is_untrained(method, epochs=1)
