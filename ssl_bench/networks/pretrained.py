"""Whether networks load pretrained weights when they are built."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOADED = ContextVar("loaded", default=True)


@contextmanager
def without_pretrained_weights() -> Iterator[None]:
    """Build networks without their pretrained weights inside the block, because other weights are loaded after it."""
    token = _LOADED.set(False)
    try:
        yield
    finally:
        _LOADED.reset(token)


def loads_pretrained_weights() -> bool:
    """Whether a network that is built now loads its pretrained weights."""
    return _LOADED.get()
