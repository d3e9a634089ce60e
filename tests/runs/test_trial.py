"""Methods written by users: each mistake is one line before the first epoch."""

import zlib
from pathlib import Path
from textwrap import indent

import pytest
import torch
import yaml

from benchmarks.mutations.methods import GOOD, MISTAKES, MODULE
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.results.record import Record
from ssl_bench.runs.trial import try_method

MESSAGES = {
    "no encode": "Own must define encode(x)",
    "encode returns numpy": "Own.encode must return a tensor of shape (4, 8), (N, feature_dim), got ndarray",
    "encode returns a tuple": "(N, feature_dim), got tuple",
    "encode returns three axes": "(N, feature_dim), got shape (4, 1, 8)",
    "encode returns half of the images": "(N, feature_dim), got shape (2, 8)",
    "encode fails": "Own.encode fails on images of shape (4, 1, 8, 8): AttributeError",
    "no feature_dim": "Own must set feature_dim, the number of features, to an integer of at least 1; it does not",
    "feature_dim of another size": "must return a tensor of shape (4, 9), (N, feature_dim), got shape (4, 8)",
    "feature_dim is a string": "it sets '8'",
    "no super().__init__()": "call super().__init__(**kwargs) first",
    "an object in the checkpoint": "on_save_checkpoint must add tensors, numbers, strings, lists and dicts only",
    "on_save_checkpoint without super": "Own.on_save_checkpoint must call super().on_save_checkpoint(checkpoint)",
    "no training_step": "Own must define training_step(batch, batch_idx)",
    "no subclass of Method": "which is no subclass of Method",
    "an error in the syntax": "SyntaxError",
    "an import that fails": "No module named 'no_such_package'",
    "another name": "has no attribute 'Own'",
    "a required argument": "needs a value of width",
}


def fit(folder: Path, name: str, module: str) -> int:
    """Exit code of a step of training with the module."""
    own = f"own_{zlib.crc32(name.encode())}"  # a module is imported once per name
    (folder / f"{own}.py").write_text(module)
    settings = ["--epochs=1", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
    chosen = [f"--trust={folder}", f"--method={own}.Own", "--data=digits"]
    return main(["fit", *chosen, *settings, f"--out={folder / 'runs'}"])


@pytest.mark.parametrize("name", MESSAGES)
def test_a_mistake_is_one_line_before_training(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, name, MODULE.replace(*MISTAKES[name], 1)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert MESSAGES[name] in line
    assert not (tmp_path / "runs").exists()


def test_every_mistake_of_the_benchmark_has_its_message_here() -> None:
    assert MESSAGES.keys() == MISTAKES.keys() - {"training_step fails"}


@pytest.mark.parametrize("name", GOOD)
def test_a_correct_method_is_trained(name: str, tmp_path: Path) -> None:
    assert fit(tmp_path, name, MODULE.replace(*GOOD[name], 1)) == 0


TWO_VIEWS = '''
from ssl_bench.methods.base import Method
from ssl_bench.networks.mlp import MLPEncoder


class Pairs(Method):
    """Contrast pairs of views."""

    def __init__(self, image_shape: tuple[int, ...], **kwargs):
        super().__init__(**kwargs)
        self.feature_dim = 8
        self.encoder = MLPEncoder(image_shape, 8, hidden=(16,))

    def encode(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx: int):
        first, second = (self.encoder(view) for view in batch.images)
        loss = (first - second).square().mean() - first.var(0).mean()
        self.log_metrics({"loss": loss})
        return loss
'''


def test_an_installed_method_is_trained_with_its_own_views_and_epochs(their_package: Path, tmp_path: Path) -> None:
    """With the default of one view it would fail in the first step."""
    (their_package / "model.py").write_text(TWO_VIEWS)
    flags = ["--evaluation.protocols=[knn]", "--trainer.accelerator=cpu", f"--out={tmp_path / 'runs'}"]
    assert main(["bench", "--method=pairs", "--data=digits", "--trainer.limit_train_batches=2", *flags]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["views"]["num_views"] == 2
    record = Record.read(run)
    assert (record.method, record.epochs, record.failed) == ("pairs", 3, {})
    assert record.metrics["knn_1/accuracy"] > 50


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("self.encoder = MLPEncoder", "self.encoders = [MLPEncoder(image_shape, 4)]\n        self.encoder = MLPEncoder",
         "Own.encoders is a list of networks, which are neither trained nor saved: use nn.ModuleList"),
        ("return self.encoder(x)", "return self.encoder(x) + torch.rand(())",
         "Own.encode returns other features for the same images"),
        ("return self.encoder(x)", "return self.encoder(x) / 0", "Own.encode returns NaN or infinite features"),
    ],
)  # fmt: skip
def test_networks_in_lists_and_random_features_are_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, message, MODULE.replace(old, new, 1)) == 2
    assert message in capsys.readouterr().err


OWN = MODULE[MODULE.index("class Own") :]


@pytest.mark.parametrize(
    "code",
    [
        f"def make():\n{indent(OWN, '    ')}\n    return Own\n\n\nOwn = make()\n",
        OWN.replace("Own", "Other") + '\n\nOwn = Other\n\n\nclass Other(Own):\n    """Another class."""\n',
    ],
    ids=["in a function", "replaced"],
)
def test_a_class_that_its_import_path_does_not_give_is_refused(
    code: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, request.node.name, MODULE.replace(OWN, code)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not the class at its import path: define it at the top level of its module" in line
    assert not (tmp_path / "runs").exists()


def test_the_trial_changes_neither_the_method_nor_the_random_numbers(tmp_path: Path) -> None:
    from ssl_bench import trust

    (tmp_path / "own_unchanged.py").write_text(MODULE)
    trust.start([str(tmp_path)])
    run = build(resolve(stack("own_unchanged.Own", "digits", None)))
    before = {name: value.clone() for name, value in run.method.state_dict().items()}
    state = torch.get_rng_state()
    try_method(run)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.method.training
    assert all(torch.equal(value, before[name]) for name, value in run.method.state_dict().items())
