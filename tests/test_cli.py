"""The command line: usage errors, help, and what is imported for them."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ssl_bench.cli import main, requested_help
from ssl_bench.evaluation.feature_file import SUFFIXES
from ssl_bench.results.record import Record
from ssl_bench.runs.checks import FEATURE_SUFFIXES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--method", "simvea", "--data", "digits"], "no method named 'simvea': did you mean simvae or"),
        (["bench"], "nothing to run: give --method and --data"),
        (["evaluate", "nowhere"], "no config.yaml in nowhere: give a run folder, an encoder"),
        (["evaluate"], "nothing to score: give a run folder, an encoder"),
        (["list", "simvea"], "nothing matches 'simvea': did you mean simvae or"),
        (["bench", "--metod.help"], "--metod.help: no settings under 'metod': did you mean method?"),
        (["evaluate", "pixels"], "--data is missing: give one of celeba"),
        (["evaluate", "timm", "--data", "digits"], "no encoder named 'timm': give timm/NAME"),
        (["evaluate", "timm/resnet1", "--data", "digits"], "timm/resnet1: "),
        (["evaluate", "nowhere.npz"], "no file nowhere.npz: give features in .safetensors"),
        (["evaluate", "nowhere", "--labels", "y.npy"], "--labels does not go with nowhere"),
        (["fit", "--method", "vae", "--data", "digits", "--epochs=-1"], "--epochs must be an integer of at least 0"),
        (["table", "nowhere"], "no metrics.json in nowhere"),
        (["bench", "--method", "simvae", "--data", "cifar10", "--data.root=nowhere"], "cifar-10"),
        (["bench", "--method", "simvae", "--data", "digits", "--out=/dev/null"], "cannot write to /dev/null"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="simvea"):
        main(["bench", "--method", "simvea", "--data", "digits", "--debug"])


def run_without_torch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; its error stream ends with the slow packages that it has imported."""
    code = f"""
        import sys
        from ssl_bench.cli import main
        try:
            sys.exit(main({arguments!r}))
        finally:
            slow = {{"torch", "lightning", "sklearn", "jsonargparse"}} & set(sys.modules)
            print("imported:", *sorted(slow), file=sys.stderr)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "simvae"], ["table", "."], ["bench", "--help"]])
def test_commands_that_train_nothing_do_not_import_what_trains(arguments: list[str], tmp_path: Path) -> None:
    """Lightning alone takes 8 to 11 s to import, and these answer in two."""
    Record(
        method="simvae", data="digits", seed=0, epochs=1, config_hash="a", setting_hash="b", commit=None,
        command="ssl-bench bench", device="cpu", metrics={"knn_5/accuracy": 90.0},
    ).write(tmp_path)  # fmt: skip
    done = run_without_torch(arguments, tmp_path)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr.strip() == "imported:"


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench"],
        ["bench", "--method", "simvea", "--data", "digits"],
        ["fit", "--method", "simvae"],
        ["bench", "--experiment", "simvae-digts"],
        ["evaluate"],
        ["evaluate", "nowhere"],
        ["evaluate", "nowhere.npz"],
        ["evaluate", "pixels"],
        ["evaluate", "pixels", "--data", "digts"],
        ["evaluate", "pixels", "--data", "digits", "--devices", "two"],
        ["evaluate", "timm", "--data", "digits"],
        ["bench", "--method", "simvae", "--data", "digits", "--epochs", "-1"],
        ["table", "nowhere"],
        ["list", "simvea"],
    ],
)
def test_usage_errors_are_found_before_torch_is_imported(arguments: list[str], tmp_path: Path) -> None:
    done = run_without_torch(arguments, tmp_path)
    assert done.returncode == 2
    message, imported = done.stderr.strip().splitlines()
    assert message.startswith("ssl-bench: ")
    assert imported == "imported:"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--seed=1"], ("", ["--seed=1"])),
        (["--method.help"], ("method", [])),
        (["--evaluation.knn.help", "--seed=1"], ("evaluation.knn", ["--seed=1"])),
        (
            ["--a=1", "--method.encoder.help", "x.Y", "--b=2"],
            ("method.encoder", ["--a=1", "--b=2", "--method.encoder=x.Y"]),
        ),
        (["--method.encoder.help=x.Y"], ("method.encoder", ["--method.encoder=x.Y"])),
    ],
)
def test_help_on_settings_is_separated_from_other_flags(flags: list[str], expected: tuple[str, list[str]]) -> None:
    assert requested_help(flags) == expected


@pytest.mark.parametrize("command", [["bench"], ["evaluate"]])
def test_help_of_a_command_names_the_help_on_its_settings(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    output = capsys.readouterr().out
    assert "--evaluation.help" in output
    assert max(map(len, output.splitlines())) <= 80


def test_endings_of_feature_files_are_those_that_are_read() -> None:
    assert FEATURE_SUFFIXES == SUFFIXES


def test_a_full_disk_is_one_line_wherever_it_is_met(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        with Path("/dev/full").open("w") as file:
            file.write("text")

    monkeypatch.setattr("ssl_bench.cli.run", fail)
    assert main(["list"]) == 1
    expected = "ssl-bench: cannot write: No space left on device: free some space, and the same command resumes\n"
    assert capsys.readouterr().err == expected
