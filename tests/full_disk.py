"""A disk that is full after any number of bytes, without privileges."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make every write of this process fail that would extend a file beyond `size` bytes.

    The bytes up to `size` are written, as on a full disk; the error is EFBIG instead of ENOSPC. Python ignores the
    signal of this limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
