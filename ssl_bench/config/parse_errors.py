"""jsonargparse's parse errors, shortened to one line with the nearest valid names."""

import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType

from jsonargparse import ArgumentParser

from ssl_bench.errors import did_you_mean, shorten
from ssl_bench.trust import allowed, import_class, refused

NO_CLASS = "dot import path|Not a valid subclass|import path or a subclass spec|not iterable|unhashable type|'keys'"
"""Parts of the messages about a value where a class is expected."""


def one_line(message: str, parser: ArgumentParser) -> str:
    """Shorten the message of a parse error to one line with the key, the given value and the expected type.

    Args:
        message: jsonargparse's own message, which lists every class and type that was tried.
        parser: the parser that raised the error.
    """
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message)).replace("init_args.", "")
    if denied := refused(message):
        return f"{keys or 'the configuration'} {denied}"
    accepted = r"(?:Option|Group '([^']+)' does not accept option) '([^']+)'|unrecognized arguments: --([^\s=]+)"
    if unknown := re.search(accepted, message):
        name = ".".join(part for part in unknown.groups() if part).replace("init_args.", "")
        inner = re.match(
            r"(?: is not accepted)?\. Got value: Namespace\(class_path='([^']+)'", message[unknown.end() :]
        )
        found = inner or re.search(r"class_path '([^']+)'", message)
        keys_of_all = [a.dest for a in parser._actions if a.dest != "help" and ("." in name or "." not in a.dest)]
        known = _parameters(found[1]) if found and allowed(found[1]) else keys_of_all
        where = f"{keys}.{name}" if keys else name
        return f"no key {where!r}: {did_you_mean(name, dict.fromkeys(known))}"
    if missing := re.search(r"class_path '([^']+)':\s+the following arguments are required: ([\w, ]+)", message):
        return f"{missing[1]} needs a value of {' '.join(missing[2].split())}: give a flag, or a key under init_args"
    if other := re.search(r"Import path (\S+) does not correspond to a subclass of (\w+)", message):
        return f"{keys} got {other[1]}, which is no subclass of {other[2]}"
    if "not correspond to a subclass" in message and (given := re.search(r"Given value: (\S+)\s*$", message)):
        kind = re.findall(r"subclass of (\w+)", message)[0]
        return f"{keys} got {given[1]}, which is no subclass of {kind}"
    if absent := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        nearest = did_you_mean(absent[2], _classes(absent[1]))
        return f"{keys} got {absent[1]}.{absent[2]}, which does not exist: {nearest}"
    if loaded := re.match(r"Parser key \"([^\"]+)\":\s+Unable to load config '([^']*)'", message):
        return f"{loaded[1]} got {loaded[2]!r}, expected keys with values, or a YAML file of them"
    quoted = re.findall(r"(?:Got|Given) value: ([^\n]*?)(?:\. Got value.*)?$", message, re.MULTILINE)
    value = [shorten(one, 100) for one in quoted]
    expected = re.findall(r"Expected (?:a )?(.+?)(?: but got \".*)?(?:\. Got value.*)?$", message, re.MULTILINE)
    names = [re.sub(r"<class '([^']+)'>|typing\.", r"\1", kind) for kind in expected]
    names = [" or ".join(re.findall(r"'([^']+)'", kind)) if kind.startswith("Literal[") else kind for kind in names]
    names = [name for name in names if name != "NoneType" and "path" not in name]
    if keys and value and names:
        return f"{keys} got {value[0]!r}, expected {' or '.join(dict.fromkeys(names))}"
    if keys and value and re.search(NO_CLASS, message):
        return _no_class(keys, value[0], message)
    if keys and value:
        return f"{keys} got {value[0]!r}, which is not valid; see --{keys.partition('.')[0]}.help"
    return shorten(" ".join(message.split()), 400)


def _no_class(keys: str, given: str, message: str) -> str:
    """Message about a value where a class is expected; it names the nearest class if the kind of class is known."""
    if nested := re.match(r"NestedArg\(key='([^']+)', val='?([^']*)'?\)", given):
        keys, given = f"{keys.removesuffix('.' + nested[1])}.{nested[1]}", nested[2]
    if named := re.match(r"\{'class_path': '([^']*)'", given):
        given = named[1]
    line = f"{keys} got {given!r}: no class or value of that kind; give a class by its import path"
    # The message has one list of types for each class around the value, except if only one type is possible.
    kinds = re.findall(r"Subtypes: \[(?:<class '|.*\], )([\w.]+)", message)
    if len(kinds) == len(re.findall("Parser key", message)) and "." in kinds[-1]:
        names = {kind.__name__ for kind in _subclasses(sys.modules[kinds[-1].rpartition(".")[0]], kinds[-1])}
        nearest = did_you_mean(given, names)
        return f"{line}; {nearest}" if nearest.startswith("did") else line
    return line


def _subclasses(module: ModuleType, path: str) -> Iterator[type]:
    """Public subclasses of a class, by the class's module and import path, that have been imported."""
    open_classes = [getattr(module, path.rpartition(".")[2])]
    while open_classes:
        for kind in open_classes.pop().__subclasses__():
            open_classes.append(kind)
            if not kind.__name__.startswith("_"):
                yield kind


def _classes(module: str) -> list[str]:
    """Names of the classes in a module that was imported, with those that it imports when they are used."""
    found = sys.modules[module]
    loaded = vars(found)
    return [name for name in dir(found) if inspect.isclass(loaded.get(name)) or name not in loaded]


def _parameters(class_path: str) -> list[str]:
    """Names of the parameters of a class and of its bases, to which ``**kwargs`` are passed."""
    bases = import_class(class_path).__mro__
    names = [name for base in bases for name in inspect.signature(base.__init__).parameters]
    return [name for name in names if name not in ("self", "args", "kwargs")]
