"""Group run records by their data, so that a table never mixes runs on different data."""

from collections.abc import Iterable

from ssl_bench.results.fingerprint import Fingerprint
from ssl_bench.results.record import Record


def same_data(first: Record, second: Record) -> bool:
    """Whether two runs have the same data: the same name, and fingerprints that agree or are not recorded."""
    if first.data != second.data:
        return False
    if not (first.fingerprint and second.fingerprint):
        return True
    return not Fingerprint.of(first.fingerprint).difference(Fingerprint.of(second.fingerprint))


def by_data(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by the title of their data, in the order of the records.

    The title is the name of the data. If several data sets have this name, the digest of the fingerprint is added, such
    as ``photos (data 1a2b3c4d)``. Records without a fingerprint, such as those of features in a file, belong to the
    only data set of their name, or to a group of their own if there are several.
    """
    records = list(records)
    known: dict[str, list[Record]] = {}  # the first record of each data set, by name
    for record in records:
        firsts = known.setdefault(record.data, [])
        if record.fingerprint and not any(same_data(record, first) for first in firsts):
            firsts.append(record)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_title(record, known[record.data]), []).append(record)
    return groups


def _title(record: Record, firsts: list[Record]) -> str:
    if len(firsts) < 2:
        return record.data
    if not record.fingerprint:
        return f"{record.data} (data not recorded)"
    first = next(first for first in firsts if same_data(record, first))
    return f"{record.data} (data {Fingerprint.of(first.fingerprint).digest})"
