"""Runs on different data are never in one table."""

from dataclasses import asdict
from typing import Any

from ssl_bench.results.data_groups import by_data, same_data
from ssl_bench.results.fingerprint import Fingerprint
from ssl_bench.results.table import make_tables
from tests.results.records import record

SPLITS = {"train": 8, "validation": 1, "test": 3, "fit": 9}


def photos(brightness: str = "10.0 20.0", labels: str = "1a2b3c4d") -> dict[str, Any]:
    return asdict(Fingerprint(SPLITS, (3, 8, 8), "00000000", labels, brightness))


def digest(fingerprint: dict[str, Any]) -> str:
    return Fingerprint.of(fingerprint).digest


def test_seeds_on_the_same_data_are_averaged() -> None:
    records = [record(seed=0, fingerprint=photos()), record(seed=1, fingerprint=photos("10.5 19.5"))]
    (table,) = make_tables(records)
    assert (table.data, [row.seeds for row in table.rows]) == ("digits", [2])


def test_seeds_on_other_images_or_labels_of_the_same_name_are_in_tables_with_titles_of_their_own() -> None:
    for other in (photos("10.0 25.0"), photos(labels="ffffffff")):
        tables = make_tables([record(seed=0, fingerprint=photos()), record(seed=1, fingerprint=other)])
        assert [table.data for table in tables] == [f"digits (data {digest(data)})" for data in (photos(), other)]
        assert [row.seeds for table in tables for row in table.rows] == [1, 1]


def test_records_without_a_fingerprint_belong_to_the_only_data_of_their_name() -> None:
    old, new, other = record(seed=0), record(seed=1, fingerprint=photos()), record(seed=2, fingerprint=photos("0 0"))
    assert by_data([old, new]) == {"digits": [old, new]}
    assert list(by_data([old, new, other])) == [
        "digits (data not recorded)", f"digits (data {digest(photos())})", f"digits (data {digest(photos('0 0'))})",
    ]  # fmt: skip
    assert same_data(old, new)
    assert not same_data(new, other)
    assert not same_data(old, record(data="mnist"))
