"""Read the settings in a YAML file, and say where the file is wrong; needs neither torch nor Lightning."""

from pathlib import Path
from typing import Any

import yaml

from ssl_bench.errors import UserError

TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "timestamp", "value", "seq", "map")
}  # fmt: skip
"""Types of values. A file with another tag, such as ``!!python/object``, is refused."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys with values.

    PyYAML itself takes the last of repeated keys, and makes endless structures of anchors that contain themselves.

    Args:
        path: path of the file.

    Raises:
        UserError: the file does not exist, is not a regular file, cannot be read, is not text in UTF-8, is not valid
            YAML, is empty or not a mapping, repeats a key, or has a tag, a key that is not text, an anchor that
            contains itself, or a null character. The message names the file and the line.
    """
    path = path.expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}: give a YAML file of settings, such as the config.yaml of a run")
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not text in UTF-8; give a YAML file of settings") from error
    except RecursionError as error:
        raise UserError(f"{path}: its values are nested too deeply; give a YAML file of settings") from error
    except yaml.YAMLError as error:
        raise UserError(_syntax_error(path, error)) from error
    if root is None or root.tag == "tag:yaml.org,2002:null":
        raise UserError(f"{path} is empty, expected keys with values, such as 'seed: 0'")
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise UserError(f"{path} is {kind}, expected keys with values, such as 'seed: 0'")
    _check(root, path, (), set())
    try:
        settings: dict[str, Any] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a tag with a value of another type, such as `!!int word`
        raise UserError(_syntax_error(path, error)) from error
    return settings


def _syntax_error(path: Path, error: Exception) -> str:
    """Message about YAML that cannot be parsed."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or " ".join(str(error).split())
    where = f"{path}, line {mark.line + 1}" if mark else str(path)
    advice = "; indent with spaces" if "'\\t'" in problem else ""
    return f"{where}: not valid YAML: {problem}{advice}"


def _check(node: yaml.Node, path: Path, parents: tuple[int, ...], checked: set[int]) -> None:
    """Check the keys, tags and anchors of a node and of the nodes in it.

    Args:
        node: a node of the file.
        path: path of the file, for the message.
        parents: identities of the nodes that contain this one.
        checked: identities of the nodes that are right; several places can refer to one by its anchor.
    """
    where = f"{path}, line {node.start_mark.line + 1}"
    if id(node) in parents:
        raise UserError(f"{where}: the anchor of this value is used inside of it; write the value out")
    if id(node) in checked:
        return
    if node.tag not in TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise UserError(f"{where}: the tag {tag} is not supported; give text, numbers, lists and keys with values")
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
        raise UserError(f"{where}: the text {node.value!r} contains a null character, which no setting takes")
    inner = (*parents, id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, path, inner, checked)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "of several values"
                raise UserError(f"{path}, line {line}: the key {shown} is not text; give the name of a setting")
            _check(key, path, inner, checked)
            if key.value in lines:
                first = lines[key.value]
                raise UserError(f"{path}, line {line}: the key {key.value!r} is also on line {first}; give it once")
            lines[key.value] = line
            _check(value, path, inner, checked)
    checked.add(id(node))
