"""Files of other people run no code, unless the user trusts their modules."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssl_bench import trust
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.generation.trained_run import load_run
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.runs.settings_help import chosen_class
from tests.runs.test_train import QUICK

MODULE = """
from pathlib import Path
Path({marker!r}).touch()
from ssl_bench.data.digits import Digits
from ssl_bench.methods.vae import VAE
from ssl_bench.networks.mlp import MLPEncoder
class Theirs(VAE): ...
class Data(Digits): ...
class Encoder(MLPEncoder): ...
"""
THEIRS = {"class_path": "theirs.Theirs"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module `theirs`, which leaves a file `imported` when it is imported."""
    (tmp_path / "theirs.py").write_text(MODULE.format(marker=str(tmp_path / "imported")))
    monkeypatch.chdir(tmp_path)
    trust.start([])
    yield tmp_path
    trust.start([])
    for name in ("theirs", "package", "package.module"):
        sys.modules.pop(name, None)


def configuration() -> dict[str, Any]:
    return to_dict(resolve([*stack("vae", "digits", None), *QUICK]))


def save_run(folder: Path, config: dict[str, Any], method: dict[str, Any], **rest: Any) -> Path:
    """A run folder with a configuration, and a checkpoint that names a method."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    content = {"method": method, "config": config, "state_dict": {"x": torch.zeros(1)}, "callbacks": {}}
    torch.save(content | rest, folder / "checkpoints" / "last.ckpt")
    return folder


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    for name in above:
        config = config[name]
    config[last] = value


@pytest.mark.parametrize(
    "value",
    [
        {"class_path": "ssl_bench.cli.main", "init_args": {"argv": ["bench", "--trust", "."]}},
        {"class_path": "ssl_bench.trust.start", "init_args": {"folders": ["."]}},
        {"class_path": "ssl_bench.data.download.download", "init_args": {"url": "x", "path": "y", "md5": "z"}},
        {"class_path": "ssl_bench.evaluation.row_file.RowFile", "init_args": {"path": "y", "tensors": {}}},
    ],
)
@pytest.mark.parametrize("key", ["encoder", "optimizer"])
def test_no_function_and_no_other_class_of_the_package_is_called_by_a_file(
    key: str, value: dict[str, Any], folder: Path
) -> None:
    """jsonargparse would call any of them in the place of a factory of networks or optimizers."""
    config = configuration()
    set_key(config, f"method.init_args.{key}", value)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="names ssl_bench"):
        build(resolve(["--config", "config.yaml"]))
    run = save_run(folder / "run", configuration(), config["method"])
    with pytest.raises(UserError, match=value["class_path"]):
        load_method(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", THEIRS),
        ("method", "theirs.Theirs"),
        ("method.class_path", "theirs.Theirs"),
        ("method.init_args.encoder", {"class_path": "theirs.Encoder"}),
        ("method.init_args.optimizer", THEIRS),
        ("method.init_args.optimizer", "theirs.make"),
        ("method.init_args.schedule", THEIRS),
        ("data", {"class_path": "theirs.Data"}),
        ("views.generated", THEIRS),
        ("trainer.strategy", THEIRS),
        ("trainer.accelerator", THEIRS),
        ("evaluation", THEIRS),
        ("evaluation.knn", THEIRS),
    ],
)
def test_a_class_that_a_configuration_names_is_refused_in_one_line_and_not_imported(
    key: str, value: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration()
    set_key(config, key, value)
    run = save_run(folder / "run", config, THEIRS)
    file = str(run / "config.yaml")
    for command in (["bench", "--config", file], ["evaluate", str(run)], ["fit", "--config", file, "--method.help"]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        if key == "trainer.accelerator" and command[0] != "evaluate":  # refused as no name before classes are checked
            assert "trainer.accelerator must be one of 'auto', 'cpu'," in line
        elif key != "method.init_args.schedule":  # its class is fixed
            assert "names theirs." in line
            assert "give --trust FOLDER" in line
    assert not (folder / "imported").exists()


def test_a_class_that_a_checkpoint_names_is_refused_and_not_imported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = {**configuration()["method"]}
    nested["init_args"] = {**nested["init_args"], "image_shape": [1, 8, 8], "encoder": {"class_path": "theirs.Encoder"}}
    for place, method in enumerate((THEIRS, nested)):
        run = save_run(folder / f"run-{place}", configuration(), method)
        with pytest.raises(
            UserError, match=r"the checkpoint names theirs\.\w+, which is no class of ssl_bench for configurations"
        ):
            load_method(run)
    generator = f"--method.generator={run}"
    assert main(["bench", "--method", "inversion", "--data", "digits", generator]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the checkpoint names theirs.Encoder" in line
    assert not (folder / "imported").exists()


def test_the_data_of_a_run_that_views_are_made_of_are_refused_and_not_imported(folder: Path) -> None:
    plain = build(resolve([*stack("vae", "digits", None), *QUICK])).method
    config = configuration() | {"data": {"class_path": "theirs.Data"}}
    run = save_run(folder / "run", config, plain.config or {}, state_dict=plain.state_dict())
    with pytest.raises(
        UserError, match=r"config\.yaml names theirs\.Data, which is no class of ssl_bench for configurations"
    ):
        load_run(run, torch.device("cpu"))
    assert not (folder / "imported").exists()


def test_a_class_path_in_the_text_of_an_error_or_in_a_value_without_a_type_is_not_imported(folder: Path) -> None:
    (folder / "text.yaml").write_text("seed: \"class_path 'theirs.Theirs' Option 'x' is not accepted\"")
    with pytest.raises(UserError, match="no key"):
        resolve([*stack("vae", "digits", None), "--config=text.yaml"])
    with pytest.raises(UserError, match=r"names theirs\.Theirs"):
        chosen_class(THEIRS)
    assert not (folder / "imported").exists()


@pytest.mark.parametrize(
    "path", ["os.system", "torch.hub.load", "torch.load", "ssl_bench.cli.os.system", "torch.optim.adam.torch.load"]
)
def test_a_function_of_a_library_is_not_accepted_in_place_of_a_factory(path: str, folder: Path) -> None:
    config = configuration()
    config["method"]["init_args"]["optimizer"] = path
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"method\.optimizer"):
        resolve(["--config", "config.yaml"])


TABLES = {"__init__.py", "data/__init__.py", "runs/views.py"}
"""Files that import modules named in a table of their own."""


def test_only_trust_imports_what_a_value_names() -> None:
    package = Path(trust.__file__).parent
    found = []
    for file in package.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            name = ast.unparse(call.func).rpartition(".")[2]
            if name in ("import_module", "resolve_name", "__import__", "import_object", "eval", "exec"):
                constant = call.args and (isinstance(call.args[0], ast.Constant) or ast.unparse(call.args[0]).isupper())
                found += [] if constant or not call.args else [str(file.relative_to(package))]
    assert set(found) == TABLES | {"trust.py"}


def names_a_flag(folder: Path) -> list[str]:
    return ["--method", "theirs.Theirs", "--data", "digits"]


def trusts_the_folder(folder: Path) -> list[str]:
    return ["--trust", str(folder)]


def names_a_flag_in_yaml(folder: Path) -> list[str]:
    return ["--method.encoder={class_path: theirs.Encoder}"]


@pytest.mark.parametrize("allow", [names_a_flag, trusts_the_folder, names_a_flag_in_yaml])
def test_the_user_can_allow_a_module_for_one_command(
    allow: Callable[[Path], list[str]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration()
    config["method"]["class_path"] = "theirs.Theirs"
    config["method"]["init_args"]["encoder"] = {"class_path": "theirs.Encoder", "init_args": {"hidden": [8]}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    command = ["bench", "--config", "mine.yaml", "--print_config"]
    assert main([*command, *allow(folder)]) == 0
    assert "theirs.Encoder" in capsys.readouterr().out
    assert main(command) == 2  # the next command does not trust it
    assert str(folder) not in sys.path


def test_a_trusted_folder_shadows_no_installed_module(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("torch", "wandb", "os"):
        (folder / f"{name}.py").write_text("raise SystemExit(7)")
    trust.start(["."])
    assert trust.allowed("theirs.Theirs")
    assert not any(trust.allowed(path) for path in ("torch.load", "wandb.init", "os.system"))
    assert sys.path.index(str(folder)) == len(sys.path) - 1


def test_the_folder_of_a_package_trusts_only_this_package(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "module.py").touch()
    trust.start(["package"])
    assert trust.allowed("package.module.Class")
    assert not trust.allowed("theirs.Theirs")


def test_a_trusted_folder_without_modules_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "run", "--trust", "nowhere"]) == 2
    assert "--trust nowhere: no Python module in it" in capsys.readouterr().err


def test_a_flag_that_names_a_class_of_a_library_allows_only_this_class(folder: Path) -> None:
    trust.name_classes(["--method.encoder", "torchvision.models.ResNet"])
    assert trust.allowed("torchvision.models.ResNet")
    assert trust.allowed("torchvision.models.resnet.ResNet")  # where it is defined
    assert not trust.allowed("torchvision.models.get_model")


@pytest.mark.parametrize("value", ["theirs.Run", "theirs.ckpt", "runs/theirs.Run", "theirs"])
def test_the_name_of_a_file_or_folder_names_no_class(value: str, folder: Path) -> None:
    (folder / value).parent.mkdir(exist_ok=True)
    (folder / value).touch()
    trust.name_classes(["--method.generator", value])
    assert not trust.allowed("theirs.Theirs")
    assert str(folder) not in sys.path


def test_no_process_runs_modules_of_the_working_directory(folder: Path) -> None:
    """Two processes, started by `python -m`, which puts the working directory first on the search path."""
    for name in ("yaml", "wandb", "umap", "openTSNE", "lightning", "argparse", "sklearn"):
        (folder / f"{name}.py").write_text((folder / "theirs.py").read_text())
    (folder / "matplotlibrc").write_text("text.usetex: True")  # runs LaTeX
    flags = ["--evaluation.protocols=[knn,maps]", "--out=runs", "--trainer.accelerator=cpu", "--devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "ssl_bench.cli", "evaluate", "pixels", "--data=digits", *flags],
        capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(trust.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(Path("runs").glob("*/figures/map.png"))) == 1
    assert not (folder / "imported").exists()
