"""Packages import downwards only: the order of the layers, read from every import statement."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ssl_bench"
LAYERS = (
    ("errors",),
    ("files", "lock_file", "precision", "ranges", "termination", "trust"),
    ("catalogue", "distributed", "lock"),
    ("results", "optim", "networks"),
    ("losses", "data"),
    ("methods",),
    ("config",),
    ("plots",),
    ("evaluation",),
    ("generation", "callbacks"),
    ("runs",),
    ("api",),
    ("cli",),
)  # fmt: skip
"""Lowest first. A module imports its own package and those of lower layers."""
NAMED_BY_PATH = {("config", "evaluation")}
"""The schema of a run names the evaluator by its import path, as configurations name methods and data sets."""
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def imported(source: str) -> Iterator[str]:
    """Top-level members of ssl_bench that a file imports or names by import path, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Constant) and re.fullmatch(r"ssl_bench[\w.]+:\w+", str(node.value)):
            names = [str(node.value)]  # an object by its import path, for `pkgutil.resolve_name`
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [str(one.value) for one in node.args if isinstance(one, ast.Constant)]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "ssl_bench" and rest:
                yield rest.partition(".")[0]


def upward(member: str, source: str) -> list[str]:
    """What a file of that member of the package imports and must not."""
    found = [name for name in imported(source) if name != member]
    return [name for name in found if LEVEL[name] >= LEVEL[member] and (member, name) not in NAMED_BY_PATH]


FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE}
FILES |= {path.name: path for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"}


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_its_own_package_and_lower_layers(file: str) -> None:
    assert upward(Path(file).with_suffix("").parts[0], FILES[file].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("member", "statement"),
    [
        ("data", "from ssl_bench.methods.base import Method"),
        ("losses", "import ssl_bench.config.stack"),
        ("plots", "def f():\n    from ssl_bench.evaluation import features"),
        (
            "evaluation",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ssl_bench.runs.train import bench",
        ),
        ("callbacks", "from ssl_bench.generation.sources import CachedViews"),
        ("losses", "from ssl_bench.data.module import DataModule"),
        ("data", "importlib.import_module('ssl_bench.runs.train')"),
    ],
)
def test_an_upward_import_is_found_wherever_it_stands(member: str, statement: str) -> None:
    assert len(upward(member, statement)) == 1


@pytest.mark.parametrize("package", ["losses", "networks"])
def test_losses_and_networks_know_no_files_data_or_configurations(package: str) -> None:
    known = {"errors", "ranges", "distributed", package}
    for path in (PACKAGE / package).rglob("*.py"):
        assert set(imported(path.read_text(encoding="utf-8"))) <= known, path


def test_losses_and_networks_import_neither_lightning_nor_configurations() -> None:
    for package in ("losses", "networks"):
        for path in (PACKAGE / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
            assert not [name for name in modules if name.split(".")[0] in ("lightning", "jsonargparse", "yaml")], path


EVALUATION = PACKAGE / "evaluation"


def imported_protocols(source: str) -> list[str]:
    """Names that a file imports from `ssl_bench.evaluation.protocols`, with their module."""
    prefix = "ssl_bench.evaluation.protocols"
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in nodes
        for alias in node.names
    ]
    return [name for name in names if name.startswith(prefix)]


@pytest.mark.parametrize("path", sorted(EVALUATION.rglob("*.py")), ids=lambda path: str(path.relative_to(EVALUATION)))
def test_evaluation_modules_do_not_import_the_helpers_of_a_protocol(path: Path) -> None:
    """What protocols share is in modules beside them; one protocol may use another one as a whole, by its class."""
    names = imported_protocols(path.read_text(encoding="utf-8"))
    if path.parent.name == "protocols":
        assert [name for name in names if not name.rpartition(".")[2][0].isupper()] == []
    elif path.name != "suite.py":
        assert names == []


@pytest.mark.parametrize(
    "statement",
    ["from ssl_bench.evaluation.protocols import kmeans", "from ssl_bench.evaluation.protocols.kmeans import lloyd"],
)
def test_an_import_of_a_protocol_is_found(statement: str) -> None:
    assert len(imported_protocols(statement)) == 1


def test_training_imports_nothing_that_only_other_commands_need() -> None:
    """They take 0.2 to 3 s each. Lightning imports torchmetrics, and with it matplotlib and torchvision."""
    code = "import sys, ssl_bench.runs.train; print(*sys.modules)"
    found = {*subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()}
    others = ["diffusers", "openTSNE", "pandas", "sklearn", "timm", "transformers", "wandb"]
    assert sorted(found.intersection(others)) == []
