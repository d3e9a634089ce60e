"""Where runs are written: ``--out``, or beside the run whose config.yaml is given."""

from pathlib import Path

import pytest

from ssl_bench.errors import UserError
from ssl_bench.runs.arguments import command_line, files_and_flags, output_folder

RUN = "simvae-digits-s0-0123abcd"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "runs"),
        (["--config", "mine.yaml"], "runs"),
        (["--config=experiments/config.yaml"], "runs"),
        (["--config", f"kept/{RUN}/config.yaml"], "{here}/kept"),
        ([f"--config=../{RUN}/config.yaml", "--seed=1"], "{above}"),
        (["--config=mine.yaml", "--config", f"/far/{RUN}/config.yaml"], "/far"),
        ([f"--config=/far/{RUN}/config.yaml", "--config=mine.yaml"], "runs"),
    ],
)
def test_a_run_is_written_beside_the_recorded_run_that_is_given(
    flags: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, _ = files_and_flags(flags)
    assert output_folder(None, files) == Path(expected.format(here=tmp_path, above=tmp_path.parent))
    assert output_folder(Path("there"), files) == Path("there")


def test_the_configuration_of_a_run_is_found_inside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / RUN
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert output_folder(None, [Path("config.yaml")]) == tmp_path


@pytest.mark.parametrize("file", [["--config", "a.yaml"], ["--config=a.yaml"]])
@pytest.mark.parametrize("flag", [["--trainer.precision", "16-mixed"], ["--seed=1"]])
def test_files_are_separated_from_flags_in_any_order(file: list[str], flag: list[str]) -> None:
    for arguments in ([*file, *flag], [*flag, *file]):
        assert files_and_flags(arguments) == ([Path("a.yaml")], flag)


@pytest.mark.parametrize("arguments", [["--config"], ["--config="], ["--config", "--seed=1"]])
def test_config_without_a_file_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="--config needs a file"):
        files_and_flags(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benhc"], "COMMAND got 'benhc': did you mean bench?"),
        (["table", "--format", "html"], "--format got 'html': give terminal, markdown, csv, latex ("),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_or_choice_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        command_line().parse_args(arguments)
    assert str(error.value).startswith(message)
