"""The public API: its names, and what importing it costs."""

import subprocess
import sys

import pytest

import ssl_bench

PUBLIC = [
    "DataModule", "Encoder", "EncoderTransformer", "Method", "UserError", "Views", "compare", "evaluate",
    "export", "load_encoder", "load_run", "train",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert ssl_bench.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_imported_when_it_is_used_and_documented(name: str) -> None:
    found = getattr(ssl_bench, name)
    assert found.__name__ == name
    assert found.__doc__
    assert name in dir(ssl_bench)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ssl_bench' has no attribute 'lode_run'"):
        ssl_bench.lode_run  # noqa: B018


def test_import_of_the_package_imports_nothing_large() -> None:
    code = "import sys, ssl_bench; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "numpy", "sklearn", "yaml", "rich"} & set(found)


def test_a_usage_error_is_a_value_error() -> None:
    assert issubclass(ssl_bench.UserError, ValueError)
