"""Errors whose messages are for the user: one line, printed without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A usage error; exit code 2.

    The message is one line: what was given, what was expected, and what to do.
    """


class RunError(Exception):
    """A valid run that failed; exit code 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of an error message: the known names that are most similar to a name, or else all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
