"""A run folder whose configuration and checkpoint are of two runs is refused by every reader."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssl_bench.cli import main
from ssl_bench.config.agreement import load_run_method, read_config, require_agreement
from ssl_bench.config.locations import without_locations
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.generation.pretrained_perceptual import PretrainedPerceptual
from ssl_bench.generation.trained_run import load_run
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.runs.checkpoint_io import RunCheckpointIO
from ssl_bench.runs.train import make_folder
from tests.generators import FLAGS

SIMCLR = ["--method.backbone.width=4", "--method.projector.outputs=16", "--method.projector.hidden=[16]"]
VAE = ["--method.encoder.hidden=[8]", "--method.decoder.hidden=[8]"]


def untrained(folder: Path, method: str, *flags: str) -> Path:
    """A run folder as `ssl-bench fit` makes it, of an untrained method."""
    config = resolve([*stack(method, "digits", None), "--trainer.accelerator=cpu", *flags])
    run = build(config)
    make_folder(folder, to_dict(config))
    checkpoint: dict[str, Any] = {"state_dict": run.method.state_dict()}
    run.method.on_save_checkpoint(checkpoint)
    RunCheckpointIO(to_dict(config)).save_checkpoint(checkpoint, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a vae run with the checkpoint of a simclr run."""
    root = tmp_path_factory.mktemp("runs")
    vae, simclr = untrained(root / "vae", "vae", *VAE), untrained(root / "simclr", "simclr", *SIMCLR)
    shutil.copy(simclr / "checkpoints" / "last.ckpt", vae / "checkpoints" / "last.ckpt")
    return vae


def test_evaluate_refuses_the_checkpoint_of_another_method(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(mixed), "--evaluation.protocols=[knn]"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{mixed}/checkpoints/last.ckpt is of another run than its folder: " in line
    assert "method.class_path is ssl_bench.methods.simclr.SimCLR, not ssl_bench.methods.vae.VAE" in line
    assert "restore the run's own checkpoint, or delete it" in line
    assert not (mixed / "metrics.json").exists()


def test_every_reader_of_a_run_folder_refuses_it(mixed: Path) -> None:
    inversion = resolve([*stack("inversion", "digits", None), f"--method.generator={mixed}"])
    perceptual = PretrainedPerceptual(str(mixed))
    for read in (
        lambda: load_run(mixed, torch.device("cpu")),
        lambda: perceptual.features(torch.rand(1, 1, 8, 8)),
        lambda: build(inversion),
    ):
        with pytest.raises(UserError, match=r"another run than its folder: .*SimCLR"):
            read()


def test_the_keys_that_differ_are_named_with_both_values(tmp_path: Path) -> None:
    folder = untrained(tmp_path / "run", "vae", *VAE)
    config = read_config(folder)
    config["seed"], config["method"]["init_args"]["beta"] = 7, 3.5
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"method\.init_args\.beta is 1\.0, not 3\.5; seed is 0, not 7: restore"):
        load_run_method(folder)


def test_settings_that_do_not_determine_the_result_may_differ(tmp_path: Path) -> None:
    folder = untrained(tmp_path / "run", "vae", *VAE)
    config = read_config(folder)
    config["names"]["method"] = "another name"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_run_method(folder).feature_dim


def test_paths_are_neither_stored_nor_compared() -> None:
    config: dict[str, Any] = to_dict(resolve([*stack("vae", "digits", None), *VAE]))
    config["data"]["init_args"]["root"] = "/home/someone/data"
    moved = {**config, "data": {**config["data"], "init_args": {**config["data"]["init_args"], "root": "/elsewhere"}}}
    stored = without_locations(config)
    assert "/home/someone" not in str(stored)
    require_agreement({"config": stored}, moved, Path("last.ckpt"))


def test_a_checkpoint_contains_no_paths_and_can_be_shared(tmp_path: Path) -> None:
    weights = tmp_path / "vgg19.pth"
    weights.touch()
    generator = untrained(tmp_path / "stylegan2", "stylegan2", *FLAGS, f"--method.rosinality={weights}")
    perceptual = [f"--method.perceptual={PretrainedPerceptual.__module__}.PretrainedPerceptual"]
    perceptual.append(f"--method.perceptual.weights={weights}")
    inversion = untrained(
        tmp_path / "run", "inversion", f"--method.generator={generator}", "--method.encoder.width=16", *perceptual
    )
    loaded: Any = load_run_method(inversion)
    assert loaded.perceptual.weights == str(weights)  # `views invert` reads the file
    for folder in (generator, inversion):
        file = folder / "checkpoints" / "last.ckpt"
        content: Any = torch.load(file, weights_only=True)
        assert str(tmp_path) not in str(content)
        assert "vgg19.pth" in str(content["method"])
        shared = load_method(shutil.move(file, tmp_path / "shared.ckpt"))
        assert shared.state_dict().keys() == content["state_dict"].keys()


@pytest.mark.parametrize("content", ["", "{", "seed: 0\n", "a: [", "text"])
def test_a_damaged_configuration_is_an_error_of_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml is (damaged|not the configuration of a run)") as raised:
        read_config(tmp_path)
    assert "\n" not in str(raised.value)
