"""The configuration files of the data sets."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from ssl_bench.data import DataModule
from tests.data.samples import SAMPLES

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/data/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_the_data_set_of_its_name(path: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(DataModule, "data")
    config = parser.parse_args([f"--config={path}", "--data.batch_size=7", "--data.root=here"])
    module = parser.instantiate(config).data
    assert (module.name, module.batch_size, module.root) == (path.stem, 7, Path("here"))
    assert len(module.mean) == len(module.std) == module.image_shape[0]
    assert module.licence


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_states_content_and_source(path: Path) -> None:
    comment = path.read_text().splitlines()[0]
    assert comment.startswith("# ")
    assert comment.count(". ") >= 1


def test_every_data_set_has_a_config_and_a_sample() -> None:
    assert {path.stem for path in CONFIGS} == set(SAMPLES)


@pytest.mark.parametrize(("name", "count"), [("imagenet10", 10), ("imagenet100", 100)])
def test_class_lists_are_complete(name: str, count: int) -> None:
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(DataModule, "data")
    path = next(path for path in CONFIGS if path.stem == name)
    classes = parser.parse_args([f"--config={path}"]).data.init_args.classes
    assert len(set(classes)) == count
    assert all(len(wnid) == 9 and wnid[0] == "n" for wnid in classes)
