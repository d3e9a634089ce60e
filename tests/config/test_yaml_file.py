"""Reading a YAML file of settings: what is wrong is one line with the file and the line of the mistake."""

from pathlib import Path

import pytest

from ssl_bench.config.yaml_file import read_settings
from ssl_bench.errors import UserError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty, expected keys with values"),
        (b"# nothing\n---\n", " is empty, expected keys with values"),
        (b"- seed: 1\n", " is a list, expected keys with values"),
        (b"seed\n", " is a single value, expected keys with values"),
        (b"seed: [1\n", ", line 2: not valid YAML: expected ',' or ']'"),
        (b"seed: 1\nnames:\n\tmethod: a\n", ", line 3: not valid YAML: found character '\\t' that cannot start"),
        (b"seed: 1\n---\nseed: 2\n", ", line 2: not valid YAML: but found another document"),
        (b"seed: 1\nother: !!python/object/apply:os.system ['true']\n", ", line 2: the tag !!python/object/apply:os.s"),
        (b"seed: !mine 1\n", ", line 1: the tag !mine is not supported"),
        (b"seed: !!int word\n", ": not valid YAML: invalid literal"),
        (b"seed: 1\nnames: {}\nseed: 2\n", ", line 3: the key 'seed' is also on line 1; give it once"),
        (b"trainer:\n  max_epochs: 1\n  max_epochs: 2\n", ", line 3: the key 'max_epochs' is also on line 2"),
        (b"names: &a\n  method: *a\n", ", line 1: the anchor of this value is used inside of it"),
        (b"1: 2\n", ", line 1: the key '1' is not text"),
        (b"? [a, b]\n: 2\n", ", line 1: the key of several values is not text"),
        (b"seed: 1\nnames: \xff\xfe\n", ", line 2: not text in UTF-8"),
        (b"seed: \x00\n", ": not valid YAML: special characters are not allowed"),
        (b'method:\n  data: "x\\0"\n', ", line 2: the text 'x\\x00' contains a null character"),
        (b'"a\\0": 1\n', ", line 1: the text 'a\\x00' contains a null character"),
        (b"a: " + b"[" * 3000, ": its values are nested too deeply"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_of_the_mistake(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_settings(tmp_path / "mine.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'mine.yaml'}{message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere.yaml", "does not exist"), (".", "is a folder"), ("/dev/null", "is not a regular")]
)
def test_a_path_without_a_file_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} {message}" if name != "." else message):
        read_settings(tmp_path / name)


def test_an_anchor_may_be_used_in_several_places(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("names: &a {method: x}\nreference: *a\n", encoding="utf-8")
    assert read_settings(tmp_path / "mine.yaml") == {"names": {"method": "x"}, "reference": {"method": "x"}}
