"""Pixels of other types than uint8: scale by type, refusal of types without a known scale."""

import io

import numpy as np
import pytest

from ssl_bench.data.pixels import read_pixels, to_uint8


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_every_16_bit_value_is_divided_by_257_and_rounded(byte_order: str) -> None:
    values = np.arange(65536, dtype=f"{byte_order}u2").reshape(256, 256)
    assert np.array_equal(to_uint8(values), np.rint(values / 257))


@pytest.mark.parametrize("kind", ["f2", "<f4", ">f4", "f8"])
def test_floats_are_multiplied_by_255_and_rounded(kind: str) -> None:
    values = np.linspace(0, 1, 256).astype(kind)
    assert np.array_equal(to_uint8(values[None]), np.arange(256)[None])


def test_floats_may_exceed_their_range_by_rounding() -> None:
    assert to_uint8(np.array([[-1e-9, 1 + 1e-7]], np.float64)).tolist() == [[0, 255]]


def test_booleans_are_black_and_white() -> None:
    assert to_uint8(np.array([[False, True]])).tolist() == [[0, 255]]


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u4", "u8", "c8"])
def test_types_without_a_known_scale_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="expected uint8, uint16, bool or floats"):
        to_uint8(np.ones((2, 2), kind))


def test_incomplete_arrays_and_arrays_of_objects_are_refused() -> None:
    whole, objects = io.BytesIO(), io.BytesIO()
    np.save(whole, np.zeros((8, 8)))
    np.save(objects, np.array([[None]]))
    for data in (whole.getvalue()[:200], whole.getvalue()[:20], objects.getvalue()):
        with pytest.raises(ValueError, match="incomplete or of Python objects"):
            read_pixels(data, 3)
