"""Names in paths."""

import pytest

from ssl_bench.config.names import as_name, check_name
from ssl_bench.errors import UserError

INVALID = ["../../x", "/tmp/x", "a/b", "", "..", ".", ".hidden", "a\nb", "a\n", "a b", "a\\b", "C:x", "é", "a\0b"]
"""Texts that are not one visible component of a path on every system."""


@pytest.mark.parametrize("name", ["simvae", "fashion_mnist", "timm-resnet18.a1_in1k", "a-b.c_D", "3", "_x"])
def test_letters_digits_underscores_dashes_and_dots_are_a_name(name: str) -> None:
    assert check_name("names.method", name) == name == as_name(name)


@pytest.mark.parametrize("name", INVALID)
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError) as error:
        check_name("names.method", name)
    assert str(error.value).startswith(f"names.method {name!r} is not a valid name: use letters, digits, ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", INVALID)
def test_a_name_made_from_any_text_is_valid(name: str) -> None:
    check_name("", as_name(name))


def test_a_name_made_from_a_text_keeps_its_valid_characters() -> None:
    assert as_name("my features (2)") == "my_features__2_"
