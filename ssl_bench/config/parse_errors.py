"""jsonargparse's parse errors, shortened to one line with the nearest valid names."""

import inspect
import re
import sys

from jsonargparse import ArgumentParser

from ssl_bench.errors import did_you_mean
from ssl_bench.trust import allowed, import_class, refused


def one_line(message: str, parser: ArgumentParser) -> str:
    """Shorten the message of a parse error to one line with the key, the given value and the expected type.

    Args:
        message: jsonargparse's own message, which lists every class and type that was tried.
        parser: the parser that raised the error.
    """
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message)).replace("init_args.", "")
    if denied := refused(message):
        return f"{keys or 'the configuration'} {denied}"
    if unknown := re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: --([^\s=]+)", message):
        name = (unknown[1] or unknown[2]).replace("init_args.", "")
        inner = re.match(r"\. Got value: Namespace\(class_path='([^']+)'", message[unknown.end() :])
        found = inner or re.search(r"class_path '([^']+)'", message)
        keys_of_all = [a.dest for a in parser._actions if a.dest != "help" and ("." in name or "." not in a.dest)]
        known = _parameters(found[1]) if found and allowed(found[1]) else keys_of_all
        where = f"{keys}.{name}" if keys else name
        return f"no key {where!r}: {did_you_mean(name, dict.fromkeys(known))}"
    if missing := re.search(r"class_path '([^']+)':\s+the following arguments are required: ([\w, ]+)", message):
        return f"{missing[1]} needs a value of {' '.join(missing[2].split())}: give a flag, or a key under init_args"
    if "not correspond to a subclass" in message and (given := re.search(r"Given value: (\S+)\s*$", message)):
        kind = re.findall(r"subclass of (\w+)", message)[0]
        return f"{keys} got {given[1]}, which is no subclass of {kind}"
    if absent := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        nearest = did_you_mean(absent[2], _classes(absent[1]))
        return f"{keys} got {absent[1]}.{absent[2]}, which does not exist: {nearest}"
    if loaded := re.match(r"Parser key \"([^\"]+)\":\s+Unable to load config '([^']*)'", message):
        return f"{loaded[1]} got {loaded[2]!r}, expected keys with values, or a YAML file of them"
    expected = re.findall(r"Expected a (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    names = [re.sub(r"<class '([^']+)'>|typing\.", r"\1", kind) for kind in expected]
    names = [name for name in names if name != "NoneType" and "path" not in name]
    if "dot import path" in message and not names:
        names = re.findall(r"Subtypes: \[<class '([^']+)'>", message)[:1]
    value = re.findall(r"(?:Got|Given) value: ([^\n]*?)(?:\. Got value.*)?$", message, re.MULTILINE)
    if nested := re.match(r"NestedArg\(key='([^']+)', val='?([^']*)'?\)", value[0] if value else ""):
        where = f"{keys.removesuffix('.' + nested[1])}.{nested[1]}"
        return f"{where} got {nested[2]!r}: no class or value of that kind; give a class by its import path"
    if keys and value and names:
        return f"{keys} got {value[0]!r}, expected {' or '.join(dict.fromkeys(names))}"
    return " ".join(message.split())


def _classes(module: str) -> list[str]:
    """Names of the classes in a module that was imported."""
    return [name for name, value in vars(sys.modules[module]).items() if inspect.isclass(value)]


def _parameters(class_path: str) -> list[str]:
    """Names of the parameters of a class and of its bases, to which ``**kwargs`` are passed."""
    bases = import_class(class_path).__mro__
    names = [name for base in bases for name in inspect.signature(base.__init__).parameters]
    return [name for name in names if name not in ("self", "args", "kwargs")]
