"""Notes of protocols: what a reader of the metrics must know although the protocol did not fail."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ProtocolNote(UserWarning):
    """Category of the warnings of protocols, which the record and the table show.

    A protocol calls ``warnings.warn("knn: ...", ProtocolNote, stacklevel=2)`` in every process.
    """


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect the notes of protocols in a list, each once, instead of showing them; other warnings are shown."""
    notes: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(message: Warning | str, category: type[Warning], *arguments: Any, **options: Any) -> None:
            if not issubclass(category, ProtocolNote):
                show(message, category, *arguments, **options)
            elif str(message) not in notes:
                notes.append(str(message))

        warnings.showwarning = collect
        warnings.simplefilter("always", ProtocolNote)
        yield notes
