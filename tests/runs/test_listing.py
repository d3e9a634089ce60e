"""`ssl-bench list`: sections, words, widths."""

import re
import sys
from pathlib import Path

import pytest

from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.config.tables import row_names
from ssl_bench.errors import UserError
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.runs.columns import two_columns
from ssl_bench.runs.listing import listing, sections

LONGEST = max(config_names("experiment"), key=len)


def names_of(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines if re.match(r"  \S", line)}


def test_list_names_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    names = names_of(capsys.readouterr().out.splitlines())
    for kind in ("method", "encoder", "data", "views", "experiment"):
        for name, line in config_names(kind).items():
            assert name in names
            assert len(line) > 20, f"{name} has no description"
    assert names >= set(PROTOCOLS)


@pytest.mark.usefixtures("their_package")
def test_an_installed_method_has_the_first_line_of_its_docstring() -> None:
    assert sections()["methods"]["pairs"] == "Contrast pairs of views. (installed by their_package)"
    assert "their_package" not in sys.modules


@pytest.mark.parametrize("text", ["class Pairs(", "Pairs = object", ""])
def test_an_installed_method_without_a_docstring_has_its_import_path(their_package: Path, text: str) -> None:
    (their_package / "model.py").write_text(text)
    assert sections()["methods"]["pairs"] == "their_package.model:Pairs (installed by their_package)"


def test_where_there_is_no_terminal_each_name_has_one_line_with_its_description() -> None:
    lines = listing(None, None)
    for section, names in sections().items():
        assert section in lines or not names
        for name, text in names.items():
            assert [line for line in lines if line.split() == [name, *text.split()]], name


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_shows_a_screen_for_each_section(width: int) -> None:
    blocks = "\n".join(listing(None, width)).split("\n\n")
    assert len(blocks) == sum(map(bool, sections().values()))
    for block in blocks:
        lines = block.splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= 25
    (experiments,) = (block for block in blocks if block.startswith("experiments"))
    assert "`ssl-bench list experiments` lists all" in experiments
    (tables,) = (block for block in blocks if block.startswith("tables"))
    assert re.search(r"assimilation_5 +SimCLR with A2 and W-search", tables)
    found = re.findall(r"^  (\w+)(?: \(--scale ([\w, ]+)\))?", "\n".join(tables.splitlines()[1:-1]), re.MULTILINE)
    scaled = {f"{name}-{scale}" for name, scales in found if scales for scale in scales.split(", ")}
    assert {name for name, _ in found} | scaled == set(config_names("table"))
    assert len(found) + len(scaled) == len(config_names("table"))
    assert re.search(r"simvae +celeba \(2\), .*digits,", experiments)


@pytest.mark.parametrize("width", [80, 200, None])
def test_no_name_is_cut(width: int | None) -> None:
    assert names_of(listing("experiments", width)) == set(config_names("experiment"))
    assert LONGEST in names_of(listing(LONGEST, width))


@pytest.mark.parametrize("word", ["experiments", "experiment", "Experiments"])
def test_a_section_is_listed_whole(word: str) -> None:
    assert listing(word, 80)[0] == "experiments"
    assert names_of(listing(word, 80)) == set(config_names("experiment"))


def test_a_word_is_looked_for_in_names_and_descriptions_in_any_case() -> None:
    found = listing("KARRAS", None)
    assert found[0] == "methods"
    assert names_of(found) >= {"stylegan2"}
    assert "simvae" not in names_of(found)
    rows = {name for name in row_names() if name.startswith("assimilation_5/")}
    assert names_of(listing("assimilation_5", None)) == {"assimilation_5", *rows}
    assert names_of(listing("ssgan-mnist", None)) == {n for n in config_names("experiment") if "ssgan-mnist" in n}


def test_the_random_encoder_is_named_for_what_it_is() -> None:
    assert "method's architecture" not in config_names("encoder")["random"]
    assert config_names("encoder")["random"].startswith("A ResNet-18 with random weights")


def test_an_unknown_word_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UserError, match="nothing matches 'simvea': did you mean simvae"):
        listing("simvea", None)
    with pytest.raises(UserError, match="nothing matches 'nothing of that': see `ssl-bench list`"):
        listing("nothing of that", None)


def test_the_description_of_a_long_name_starts_on_the_next_line() -> None:
    assert two_columns([("a", "one two three"), ("long_name", "four")], 27, left=3) == [
        "  a  one two three",
        "  long_name",
        "     four",
    ]
    assert two_columns([("a", "one two three"), ("long_name", "four")], None, left=3) == [
        "  a          one two three",
        "  long_name  four",
    ]
