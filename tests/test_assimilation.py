"""The script that makes the table of generated views runs on digits and resumes."""

import io
import json
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from benchmarks import assimilation
from ssl_bench.cli import main
from ssl_bench.config.resolve import resolve
from ssl_bench.config.stack import stack
from tests.test_readme import COMMANDS

SMALL = [
    "--perturbed=60", "--searched=40", "--epochs=1", "--invert_steps=2", "--search_steps=2", "--precision=float32",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu", "--data.batch_size=16",
]  # fmt: skip


def run_here(arguments: list[str]) -> str:
    """Run a command in this process, which saves eight seconds of imports."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(arguments) == 0, arguments
    return out.getvalue().strip().splitlines()[-1]


def test_script_resumes_after_an_interruption_and_prints_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    def once_interrupted(arguments: list[str]) -> str:
        started.append(arguments[1])
        if started.count("search") == 1 and arguments[1] == "search":
            raise KeyboardInterrupt
        return run_here(arguments)

    command = ["digits", f"--folder={tmp_path}", *SMALL]
    with pytest.raises(KeyboardInterrupt):
        assimilation.main(command, once_interrupted)
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoints/last.ckpt")}
    assert len(trained) == 3
    assimilation.main(command, once_interrupted)
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    table = capsys.readouterr().out
    for row in ("simclr", "simclr-a1-w_perturb", "simclr-a1-w_search", "simclr-a2-w_perturb", "simclr-a2-w_search"):
        assert f"| {row} | " in table
    assert "abs(d - eps1) is" in table
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert len(steps) == 3 + 3 + 5 + 2  # fits, folders of codes and views, rows, images of the views
    assert all(step["done"] and step["seconds"] > 0 for step in steps.values())
    assert {path.name for path in (tmp_path / "views").glob("*.png")} == {"w_perturb.png", "w_search.png"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if "assimilation.py" in c])
def test_documented_commands_are_accepted_by_the_script(command: str, tmp_path: Path) -> None:
    arguments = [*shlex.split(command)[2:], f"--folder={tmp_path}"]
    ran: list[list[str]] = []

    def stop(arguments: list[str]) -> str:
        ran.append(arguments)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assimilation.main(arguments, stop)
    assert ran[0][:2] == ["fit", f"--experiment=stylegan2-{arguments[0]}"]
    settings = [argument for argument in ran[0][2:] if not argument.startswith("--out=")]
    resolve([*stack(None, None, ran[0][1].partition("=")[2]), *settings])
