"""Cache of decoded and resized images: one memory-mapped uint8 file for each data set and size."""

import hashlib
import logging
import shutil
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
from ssl_bench.data.locate import cache_root
from ssl_bench.errors import UserError
from ssl_bench.files import flush
from ssl_bench.lock import locked

Item = tuple[str, Callable[[], bytes]]
"""Name of an image for messages, and a function that reads its bytes."""

CHUNK = 2048  # images in memory at once
BLOCK = 64  # images per thread task; with one image per task, the thread pool would cost more than the decoding
ADVICE = "remove it or set --data.on_error skip"
FORMAT = "4"  # increase when the same files would be decoded to different pixels


def decode_files_cached(
    name: str, tree: FileTree, names: Sequence[str], decoder: Decoder, on_error: Literal["raise", "skip"]
) -> tuple[Tensor, Tensor]:
    """Call `decode_cached` for files of a folder or an archive."""
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
    """Decode images in the first call and memory-map the result in every later call.

    The cache is written to a temporary folder that is then renamed. It is therefore never incomplete, even if a run is
    interrupted. A second run that needs the same images waits for the first.

    Args:
        name: name of the data set, the beginning of the name of the cache folder.
        key: strings that identify the source; if they or `decoder` change, a new cache is written.
        count: number of images in ``items``.
        items: the images in order.
        decoder: decoder of one image.
        on_error: what to do with an image that cannot be decoded: ``raise`` an error or ``skip`` it.

    Returns:
        Images, uint8 ``(count, C, H, W)``, memory-mapped; and bool ``(count,)``, false for images that were skipped
        (their pixels are 0).

    Raises:
        UserError: an image cannot be decoded, or the cache cannot be written.
    """
    if not count:
        raise UserError(f"{name}: found no images; set --data.root")
    digest = hashlib.sha256("\n".join((FORMAT, repr(decoder), *key)).encode()).hexdigest()[:16]
    folder = cache_root() / f"{name}-{decoder.size}-{digest}"
    try:
        with locked(folder.with_name(f".{folder.name}.lock"), until=folder.is_dir):
            if not folder.is_dir():
                for left in folder.parent.glob(f".building-{folder.name}-*"):  # by a process that was killed
                    shutil.rmtree(left)
                _build(folder, name, count, items, decoder, on_error)
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {folder} ({error.strerror}); "
            "set $SSL_BENCH_CACHE to a folder with enough space"
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
            found = str(error)
            found = f"{found[:200]}..." if len(found) > 200 else found  # a path in the message may be a whole file
            reason = " ".join(f"{label} is not a readable image ({found})".split())
            if on_error == "raise":
                raise ImageError(f"{reason}; {ADVICE}") from error
            return blank, reason

    def decode_block(block: list[Item]) -> tuple[Tensor, list[str]]:
        images, reasons = zip(*map(decode, block), strict=True)
        return torch.stack(images), list(reasons)

    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".building-{folder.name}-") as temporary,
        ThreadPoolExecutor(torch.get_num_threads()) as threads,
    ):
        building = Path(temporary) / "cache"
        building.mkdir()
        row = 0
        with (building / "images.u8").open("wb") as pixels, (building / "skipped.txt").open("w") as skipped:
            for chunk in _chunks(iter(items), name, count):
                blocks = [chunk[start : start + BLOCK] for start in range(0, len(chunk), BLOCK)]
                for images, reasons in threads.map(decode_block, blocks):
                    pixels.write(images.numpy().data)
                    skipped.writelines(f"{row + i} {reason}\n" for i, reason in enumerate(reasons) if reason)
                    row += len(reasons)
        for file in building.iterdir():
            flush(file)
        building.rename(folder)


def _chunks(items: Iterator[Item], name: str, count: int) -> Iterator[list[Item]]:
    console = Console(stderr=True)
    chunks = track(range(ceil(count / CHUNK)), f"decoding {name}", console=console, disable=not sys.stderr.isatty())
    for _ in chunks:
        yield list(islice(items, CHUNK))
