"""A disk that is full after any number of bytes, without privileges."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make every write of this process fail that would extend a file beyond `size` bytes.

    The bytes up to `size` are written, as on a full disk; the error is EFBIG instead of ENOSPC. Python ignores the
    signal of this limit. No bytecode is written meanwhile, by this process or its children: Python would keep the
    first `size` bytes of it beside the module and fail at every later import.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
