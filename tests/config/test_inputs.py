"""Views, runs and weights that a run reads are identified by their content, not only by their names."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ssl_bench.config.identity import config_hash
from ssl_bench.config.inputs import check_inputs
from ssl_bench.config.locations import without_locations
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.runs.train import make_folder

SOURCES = "--views.generated=ssl_bench.generation.sources"


def configuration(*flags: str) -> dict[str, Any]:
    return to_dict(resolve([*stack("simclr", "digits", None), *flags]))


def written(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def of_views(folder: Path) -> dict[str, Any]:
    return configuration(f"{SOURCES}.CachedViews", f"--views.generated.folder={folder}")


def of_run(folder: Path) -> dict[str, Any]:
    return configuration(f"{SOURCES}.ViewMakerViews", f"--views.generated.run={folder}")


def of_weights(folder: Path) -> dict[str, Any]:
    return configuration(f"--evaluation.generation.weights={folder / 'file'}")


@pytest.mark.parametrize(
    ("of", "file"),
    [
        (of_views, "index.json"),
        (of_run, "checkpoints/last.ckpt"),
        (of_weights, "file"),
        (of_views, "other.bin"),
    ],
)
def test_an_input_can_be_moved_but_not_replaced_by_another_of_the_same_name(tmp_path: Path, of: Any, file: str) -> None:
    run, first, other = tmp_path / "run", tmp_path / "a" / "v", tmp_path / "b" / "v"
    written(first / file, "content")
    recorded = of(first)
    check_inputs(run, recorded)
    make_folder(run, recorded)
    check_inputs(run, recorded)
    assert str(tmp_path) not in (run / "inputs.json").read_text()

    written(other / file, "another content")
    assert config_hash(of(other)) == config_hash(recorded)
    for delete in (False, True):  # whether or not the first input exists
        if delete:
            shutil.move(tmp_path / "a", tmp_path / "c")
        for check in (check_inputs, make_folder):
            with pytest.raises(UserError, match=rf"{run} is a run with another content of .* than {other}.* has now: "):
                check(run, of(other))

    check_inputs(run, of(tmp_path / "c" / "v"))
    make_folder(run, recorded)  # the input is missing; its digest is kept
    with pytest.raises(UserError, match="another content"):
        check_inputs(run, of(other))


def test_an_input_that_was_replaced_in_place_is_refused(tmp_path: Path) -> None:
    index = written(tmp_path / "v" / "index.json", "content")
    make_folder(tmp_path / "run", of_views(index.parent))
    index.write_text("another content")
    with pytest.raises(UserError, match="another content"):
        check_inputs(tmp_path / "run", of_views(index.parent))


def test_a_damaged_file_of_digests_is_an_error_of_one_line(tmp_path: Path) -> None:
    index = written(tmp_path / "v" / "index.json", "content")
    written(tmp_path / "run" / "inputs.json", "[1")
    with pytest.raises(UserError, match=r"inputs\.json is damaged: delete it") as raised:
        check_inputs(tmp_path / "run", of_views(index.parent))
    assert "\n" not in str(raised.value)


def test_names_of_models_are_not_shortened_to_their_last_part() -> None:
    first, second = ({"weights": f"{name}/resnet"} for name in ("org1", "org2"))
    assert without_locations(first) == first
    assert without_locations(second) == second
    assert without_locations({"weights": "/models/org1/resnet"}) == {"weights": "resnet"}
