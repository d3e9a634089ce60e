"""The README is a promise: its commands are run here at little cost, or resolved where their data are not at hand."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.config.files import stack
from ssl_bench.config.resolve import resolve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
COMMANDS = [line.split("#")[0].strip() for line in LINES]
CHEAP = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--evaluation.mlp_probe.max_epochs=1"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def as_ssl_bench(command: str) -> list[str]:
    """The arguments of ssl-bench in a command: make's are what the Makefile makes of them."""
    words = shlex.split(command)
    if words[0] == "make":
        recipe = subprocess.run(
            ["make", "--dry-run", "--always-make", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.replace("\\\n", "")
        (command,) = (line for line in recipe.splitlines() if "ssl-bench bench" in line)
        words = shlex.split(command)
    start = next(i for i, word in enumerate(words) if word.endswith(("ssl-bench", "ssl_bench.cli")))
    return words[start + 1 :]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the README's commands speak of: their_method.py, photos, and a run."""
    (method,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "their_method.py").write_text(method, encoding="utf-8")
    torch.manual_seed(0)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("their_method", None)


RUN_HERE = [
    c
    for c in COMMANDS
    if re.search(r"ssl-bench|make bench", c) and re.search("digits|photos|spiral", c) and "torchrun" not in c
]
SCORED = [c for c in COMMANDS if re.search(r"evaluate (?!runs)", c) and c not in RUN_HERE]
RESOLVED = [
    c
    for c in COMMANDS
    if re.search(r"make bench .*DATA|srun|(ssl-bench|make bench) .*parquet|--experiment|EXPERIMENT=", c)
    and c not in RUN_HERE
]


@pytest.mark.parametrize("command", [c for c in RUN_HERE if "--devices 2" not in c])
def test_command_runs(command: str, workplace: Path) -> None:
    assert main([*as_ssl_bench(command), *CHEAP]) == 0


@pytest.mark.parametrize("command", SCORED)
def test_command_scores_what_is_there(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On digits, which need no download; weights that do are refused in one line."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    digits = load_digits()
    np.savez(workplace / "theirs.npz", features=digits.data.astype(np.float32), labels=digits.target)
    arguments = [*as_ssl_bench(re.sub(r"--data \w+", "--data digits", command)), "--evaluation.protocols=[knn]"]
    pretrained = re.search(r"timm/\w+\.", command)
    assert main(arguments) == (2 if pretrained else 0)
    if pretrained:
        assert "give the name without its tag for random weights" in capsys.readouterr().err


@pytest.mark.parametrize("command", RESOLVED)
def test_command_resolves(command: str) -> None:
    arguments = as_ssl_bench(command)
    named = {"method": None, "data": None, "experiment": None}
    rest = []
    pairs = iter(arguments[1:])
    for word in pairs:
        if word.removeprefix("--") in named:
            named[word.removeprefix("--")] = next(pairs)  # type: ignore[assignment]
        else:
            rest.append({"--epochs": "--trainer.max_epochs", "--devices": "--trainer.devices"}.get(word, word))
    resolve([*stack(**named), *rest])


def test_commands_about_a_run_work_on_one(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--method", "vae", "--data", "digits", *CHEAP]) == 0
    (run,) = Path("runs").iterdir()
    about_a_run = [c for c in COMMANDS if "runs" in c]
    assert len(about_a_run) == 4
    for command in about_a_run:
        assert main(as_ssl_bench(command.replace("runs/RUN", str(run)))) == 0
    assert "vae" in capsys.readouterr().out


def test_a_method_outside_the_package_is_shown_under_its_own_name(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = (c for c in COMMANDS if "their_method" in c)
    assert main([*as_ssl_bench(command), *CHEAP]) == 0
    assert re.search(r"^ *Denoiser +1 +1 ", capsys.readouterr().out, re.MULTILINE)
    (record,) = workplace.glob("runs/Denoiser-digits-*/metrics.json")
    assert json.loads(record.read_text())["metrics"]["knn_5/accuracy"] > 50
    again = [sys.executable, "-m", "ssl_bench.cli", "evaluate", str(record.parent), "--evaluation.protocols=[knn]"]
    done = subprocess.run(again, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr  # in a process of its own, which has not imported their_method


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--devices 2" in c])
def test_command_runs_on_two_processes(command: str, tmp_path: Path) -> None:
    """The README's lines for several devices: what is started is sharded, and recorded once."""
    launcher = [] if command.startswith("ssl-bench") else ["torch.distributed.run", "--nproc-per-node", "2", "-m"]
    arguments = [*as_ssl_bench(command), *CHEAP, f"--out={tmp_path}", "--evaluation.protocols=[knn]"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "ssl_bench.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("*/metrics.json")
    assert json.loads(record.read_text())["metrics"]["knn_5/accuracy"] > 50


def test_every_command_is_run_or_resolved_by_some_test_or_by_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    elsewhere = [
        c
        for c in COMMANDS
        if re.search("runs|results|--devices 2|assimilation.py", c) or f"\n{c}\n" in ci or f" {c} " in ci
    ]
    assert set(COMMANDS) == {*RUN_HERE, *SCORED, *RESOLVED, *elsewhere}


def test_the_recorded_results_are_read_by_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = (c for c in COMMANDS if "results" in c)
    monkeypatch.chdir(ROOT)
    assert main(as_ssl_bench(command)) == 0
    assert "fashion_mnist" in capsys.readouterr().out


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "@@" not in README


def test_what_the_readme_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("room", ["method", "encoder", "data"])
def test_the_readme_names_every_method_and_data_set(room: str) -> None:
    assert [name for name in config_names(room) if f"`{name}`" not in README] == []
