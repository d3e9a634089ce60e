"""Names in the paths of run folders, caches and folders of views."""

import re

from ssl_bench.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def check_name(key: str, name: str) -> str:
    """Return a name that was given in a flag or a file.

    Args:
        key: the flag or key, for the message.
        name: the name. Letters, digits, ``_``, ``-`` and ``.`` are valid, but no ``.`` at the start, so that a name is
            always one component of a path.

    Raises:
        UserError: the name is empty or has other characters.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{key} {name!r} is not a valid name: use letters, digits, _, - and ., and no . at the start")
    return name


def as_name(text: str) -> str:
    """A name made from a text that was not chosen as a name, such as the name of a file.

    Invalid characters are replaced by ``_``.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    return cleaned if NAME.fullmatch(cleaned) else f"_{cleaned}"
