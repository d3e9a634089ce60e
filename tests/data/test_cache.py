"""The cache of decoded images."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.data.cache import BLOCK, CHUNK, Item, decode_cached
from ssl_bench.data.decode import Decoder
from ssl_bench.errors import UserError
from tests.data.samples import encoded, grey

DECODER = Decoder(1, 8)


def items(labels: list[int]) -> Iterator[Item]:
    files = {label: encoded(label, (10, 12), "PNG") for label in set(labels)}
    for label in labels:
        yield f"image {label}", partial(bytes, files[label])


def broken() -> bytes:
    return b"no image"


def test_images_keep_their_order_over_blocks_and_chunks() -> None:
    labels = [i % 7 for i in range(CHUNK + BLOCK + 1)]
    images, kept = decode_cached("x", ["key"], len(labels), items(labels), DECODER, "raise")
    assert kept.all()
    assert images.shape == (len(labels), 1, 8, 8)
    assert torch.equal(images[:, 0, 0, 0], torch.tensor([grey(label) for label in labels], dtype=torch.uint8))


def test_the_second_call_decodes_nothing() -> None:
    first, _ = decode_cached("x", ["key"], 3, items([0, 1, 2]), DECODER, "raise")
    second, _ = decode_cached("x", ["key"], 3, iter(()), DECODER, "raise")
    assert torch.equal(first, second)


@pytest.mark.parametrize(("key", "decoder"), [("other", DECODER), ("key", Decoder(3, 8)), ("key", Decoder(1, 8, 9))])
def test_another_source_or_decoder_gets_another_cache(key: str, decoder: Decoder, cache: Path) -> None:
    decode_cached("x", ["key"], 1, items([0]), DECODER, "raise")
    decode_cached("x", [key], 1, items([0]), decoder, "raise")
    assert len(list(cache.iterdir())) == 2


def test_a_failed_build_leaves_nothing(cache: Path) -> None:
    with pytest.raises(UserError, match="bad one is not a readable image"):
        decode_cached("x", ["key"], 3, [*items([0, 1]), ("bad one", broken)], DECODER, "raise")
    assert not cache.exists()


def test_skipped_images_are_marked_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    some = [*items([0]), ("bad one", broken), *items([2])]
    images, kept = decode_cached("x", ["key"], 3, some, DECODER, "skip")
    assert kept.tolist() == [True, False, True]
    assert images[2, 0, 0, 0] == grey(2)
    assert [record.message for record in caplog.records] == ["x: skipped 1 damaged of 3 images"]
    with pytest.raises(UserError, match="bad one is not a readable image"):
        decode_cached("x", ["key"], 3, some, DECODER, "raise")


def test_a_folder_that_cannot_be_written_is_an_error(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the image cache"):
        decode_cached("x", ["key"], 1, items([0]), DECODER, "raise")


def test_two_runs_that_need_the_same_images_decode_them_once(cache: Path) -> None:
    decoded = []

    def slow(label: int) -> bytes:
        decoded.append(label)
        time.sleep(0.2)
        return encoded(label, (10, 12), "PNG")

    def decode(_: int) -> Tensor:
        return decode_cached("x", ["key"], 3, ((f"{i}", partial(slow, i)) for i in range(3)), DECODER, "raise")[0]

    with ThreadPoolExecutor(2) as runs:
        first, second = runs.map(decode, range(2))
    assert torch.equal(first, second)
    assert sorted(decoded) == [0, 1, 2]
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_run_has_decoded_is_removed(cache: Path) -> None:
    decode_cached("x", ["key"], 1, items([0]), DECODER, "raise")
    (folder,) = cache.iterdir()
    folder.rename(cache / f".building-{folder.name}-abcd")
    decode_cached("x", ["key"], 1, items([0]), DECODER, "raise")
    assert list(cache.iterdir()) == [folder]
