"""Names and descriptions in two columns."""

import textwrap
from collections.abc import Iterable

INDENT = 2


def two_columns(
    rows: Iterable[tuple[str, str]], width: int | None, *, left: int = 28, shorten: bool = False
) -> list[str]:
    """Lines of text with names on the left and descriptions on the right.

    Names are never cut. The description of a long name starts on the next line.

    Args:
        rows: names with their descriptions.
        width: number of columns of the terminal; None for one line of any length per name.
        shorten: whether descriptions are cut after one line; if False, they are wrapped.
        left: maximum number of columns of a name that has its description on the same line.
    """
    rows = list(rows)
    fitting = [len(name) for name, _ in rows if width is None or len(name) <= left]
    start = max(fitting, default=0) + 2 * INDENT
    lines = []
    for name, text in rows:
        if width is None:
            lines.append(f"{' ' * INDENT}{name.ljust(start - INDENT)}{text}".rstrip())
            continue
        head = " " * INDENT + name
        across = max(20, width - 1 - start)
        if shorten:
            text = textwrap.shorten(text, across, placeholder=" ...")
        wrapped = textwrap.wrap(text, across, break_on_hyphens=False) or [""]
        if len(name) > left:
            lines.append(head)
        else:
            lines.append((head.ljust(start) + wrapped.pop(0)).rstrip())
        lines += [" " * start + line for line in wrapped if line]
    return lines
