"""Errors whose messages are for the user: one line, printed without a traceback."""

import difflib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

LISTED = 30
"""Most names that a message lists."""


class UserError(ValueError):
    """A usage error; exit code 2.

    The message is one line: what was given, what was expected, and what to do.

    Example:
        >>> import ssl_bench
        >>> ssl_bench.load_run("nowhere")
        Traceback (most recent call last):
            ...
        ssl_bench.errors.UserError: no metrics.json in nowhere: give the folder of a recorded run...
    """


class RunError(Exception):
    """A valid run that failed, such as one of which no protocol has scores; exit code 1.

    Example:
        >>> import ssl_bench
        >>> issubclass(ssl_bench.RunError, ssl_bench.UserError)
        False
    """


def shorten(text: str, length: int) -> str:
    """The text, with an end of dots if it is longer than a length."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def describe(error: BaseException) -> str:
    """One line about an exception in the code of a user: type, message and place."""
    place = "; ".join([*user_line(error), "--debug prints the traceback"])
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"


def user_line(error: BaseException) -> list[str]:
    """The last line of a traceback that is neither in this package nor in a library; empty if there is none."""
    own = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((own, "<", sys.prefix, sys.base_prefix))
        and "site-packages" not in frame.filename
    ]
    return [f"{Path(frame.filename).name}, line {frame.lineno}" for frame in frames[-1:]]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of an error message: the known names that are most similar to a name, or else all known names."""
    names = sorted(known)
    by_case: dict[str, str] = {}
    for known_name in names:
        by_case.setdefault(known_name.lower(), known_name)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    close = close or [by_case[one] for one in difflib.get_close_matches(name.lower(), by_case, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"known: {', '.join(names[:LISTED])}{more}"
