"""Images decoded and resized once, kept as one memory-mapped uint8 file."""

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ssl_bench.data.decode import Decoder, ImageError
from ssl_bench.data.file_tree import FileTree
from ssl_bench.errors import UserError

Item = tuple[str, Callable[[], bytes]]  # an image's name for messages, and what reads it
CHUNK = 2048  # images in memory at once
BLOCK = 64  # images of one thread's task: for one alone, the thread pool costs more than the decoding
ADVICE = "remove it or set --data.on_error skip"
FORMAT = "1"  # raise it when the same source would be decoded to other pixels


def cache_root() -> Path:
    """The folder of all caches: ``$SSL_BENCH_CACHE``, else ``ssl_bench`` in the user's cache folder."""
    if chosen := os.environ.get("SSL_BENCH_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ssl_bench"


def decode_files_cached(
    name: str, tree: FileTree, names: Sequence[str], decoder: Decoder, on_error: Literal["raise", "skip"]
) -> tuple[Tensor, Tensor]:
    """``cached`` for files of a folder or an archive."""
    items = ((str(tree.path / n), partial(tree.read, n)) for n in names)
    return decode_cached(name, tree.fingerprint(names), len(names), items, decoder, on_error)


def decode_cached(
    name: str,
    key: Iterable[str],
    count: int,
    items: Iterable[Item],
    decoder: Decoder,
    on_error: Literal["raise", "skip"],
) -> tuple[Tensor, Tensor]:
    """Decodes images once; every later call maps the result.

    The cache is complete or not there: it is built beside its place and renamed, so an interrupted run or two
    runs at once do no harm.

    Args:
        name: Of the data set; begins the folder's name.
        key: What identifies the source; any change of it, or of ``decoder``, makes another cache.
        count: How many images ``items`` has.
        items: The images in order.
        decoder: Makes the pixels.
        on_error: At an image that cannot be decoded: stop, or mark it.

    Returns:
        uint8 ``(count, C, H, W)``, memory-mapped, and bool ``(count,)``, false where ``on_error="skip"`` left an
        image out (its pixels are 0).

    Raises:
        UserError: An image cannot be decoded, or the cache cannot be written.
    """
    if not count:
        raise UserError(f"{name}: there are no images; set --data.root")
    digest = hashlib.sha256("\n".join((FORMAT, repr(decoder), *key)).encode()).hexdigest()[:16]
    folder = cache_root() / f"{name}-{decoder.size}-{digest}"
    if not folder.is_dir():
        try:
            _build(folder, name, count, items, decoder, on_error)
        except OSError as error:
            if not folder.is_dir():  # else another process was faster
                raise UserError(
                    f"cannot write the image cache {folder} ({error.strerror}); "
                    "set $SSL_BENCH_CACHE to a folder with room"
                ) from error
    kept = torch.ones(count, dtype=torch.bool)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    for line in skipped:
        row, reason = line.split(" ", 1)
        if on_error == "raise":
            raise ImageError(f"{reason}; {ADVICE}")
        kept[int(row)] = False
    if skipped:
        logging.getLogger(__name__).warning("%s: skipped %d damaged of %d images", name, len(skipped), count)
    shape = (count, decoder.channels, decoder.size, decoder.size)
    size = torch.Size(shape).numel()
    return torch.from_file(str(folder / "images.u8"), size=size, dtype=torch.uint8).view(shape), kept


def _build(
    folder: Path, name: str, count: int, items: Iterable[Item], decoder: Decoder, on_error: Literal["raise", "skip"]
) -> None:
    blank = torch.zeros(decoder.channels, decoder.size, decoder.size, dtype=torch.uint8)

    def decode(item: Item) -> tuple[Tensor, str]:
        label, load = item
        try:
            return decoder(load()), ""
        except Exception as error:  # damaged data may raise anything
            reason = " ".join(f"{label} is no readable image ({error})".split())
            if on_error == "raise":
                raise ImageError(f"{reason}; {ADVICE}") from error
            return blank, reason

    def decode_block(block: list[Item]) -> tuple[Tensor, list[str]]:
        images, reasons = zip(*map(decode, block), strict=True)
        return torch.stack(images), list(reasons)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as temporary,
        ThreadPoolExecutor(torch.get_num_threads()) as threads,
    ):
        building = Path(temporary) / "cache"
        building.mkdir()
        row = 0
        with (building / "images.u8").open("wb") as pixels, (building / "skipped.txt").open("w") as skipped:
            for chunk in _chunks(iter(items), name, count):
                blocks = [chunk[start : start + BLOCK] for start in range(0, len(chunk), BLOCK)]
                for images, reasons in threads.map(decode_block, blocks):
                    images.numpy().tofile(pixels)
                    skipped.writelines(f"{row + i} {reason}\n" for i, reason in enumerate(reasons) if reason)
                    row += len(reasons)
        building.rename(folder)


def _chunks(items: Iterator[Item], name: str, count: int) -> Iterator[list[Item]]:
    console = Console(stderr=True)
    rounds = track(range(ceil(count / CHUNK)), f"decoding {name}", console=console, disable=not sys.stderr.isatty())
    for _ in rounds:
        yield list(islice(items, CHUNK))
