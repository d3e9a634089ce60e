"""Where runs are written: ``--out``, or beside the run whose config.yaml is given."""

from pathlib import Path

import pytest

from ssl_bench.runs.arguments import output_folder

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
    assert output_folder(None, flags) == Path(expected.format(here=tmp_path, above=tmp_path.parent))
    assert output_folder(Path("there"), flags) == Path("there")


def test_the_configuration_of_a_run_is_found_inside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / RUN
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert output_folder(None, ["--config=config.yaml"]) == tmp_path
