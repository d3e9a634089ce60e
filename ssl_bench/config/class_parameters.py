"""Parameters of classes of this package, read from their source: importing the classes takes seconds."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def parameters(path: str) -> dict[str, str] | None:
    """Parameters of a class, and of its bases if it passes ``**kwargs`` on to them, each with its annotation as text.

    They may include parameters of bases that the class sets itself.

    Args:
        path: import path.

    Returns:
        None if the class is not one of this package, or if its source does not show all parameters.
    """
    if (found := definition(path)) is None:
        return None
    module, node = found
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    own: dict[str, str] = {}
    inherits = True
    if init is not None:
        given = init.args
        if init.decorator_list or given.vararg or (given.kwarg and not passes_on(init, given.kwarg.arg)):
            return None
        inherits = given.kwarg is not None
        for one in [*given.posonlyargs, *given.args, *given.kwonlyargs]:
            own[one.arg] = ast.unparse(one.annotation) if one.annotation else ""
        del own[next(iter(own))]  # self
    elif any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        inherits = bool(node.bases)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                own[item.target.id] = ast.unparse(item.annotation)
    if not inherits:
        return own
    bases = [parameters(f"{module}.{ast.unparse(base)}") for base in node.bases]
    if not bases or None in bases:
        return None
    return {name: hint for base in bases for name, hint in (base or {}).items()} | own


def definition(path: str) -> tuple[str, ast.ClassDef] | None:
    """Module and definition of a class of this package, also if another module exports it; None if there is none."""
    module, _, name = path.rpartition(".")
    tree = source(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return definition(f"{statement.module}.{alias.name}")
    return None


@cache
def source(module: str) -> ast.Module | None:
    """The parsed source of a module of this package; None if there is none."""
    if not module.startswith("ssl_bench."):
        return None
    place = ROOT.joinpath(*module.split("."))
    file = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
    return ast.parse(file.read_text(encoding="utf-8")) if file else None


def passes_on(init: ast.FunctionDef, kwargs: str) -> bool:
    """Whether a constructor uses its ``**kwargs`` only as those of ``super().__init__``."""
    calls = [node for node in ast.walk(init) if isinstance(node, ast.Call)]
    passed = [
        word.value
        for call in calls
        for word in call.keywords
        if word.arg is None and ast.unparse(call.func) == "super().__init__"
    ]
    uses = [node for node in ast.walk(init) if isinstance(node, ast.Name) and node.id == kwargs]
    return bool(uses) and all(use in passed for use in uses)
