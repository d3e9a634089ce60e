"""Group run records into settings: runs that differ only in the seed, and are averaged."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_bench.results.record import Record


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in the seed.

    Attributes:
        name: name of the method, with ``(untrained)`` for random weights, ``(trained with labels)`` for a supervised
            method, and hash and commit if several settings of the method have the same number of epochs.
        epochs: epochs of training.
        records: one record for each seed. Their metrics may differ, because a protocol may have failed for one seed.
    """

    name: str
    epochs: int
    records: list[Record]


def by_setting(records: Iterable[Record]) -> tuple[list[Setting], list[str]]:
    """Group the records of one data set into settings, in the order of the records.

    Records of one setting have the same configuration, except for the seed, and the same commit. Metrics that several
    of them have were computed with the same settings of the protocol, at the same commit (`Record.scored`).

    Returns:
        The settings, and notes on repeated runs.
    """
    configurations: dict[tuple[str, int, str, str], list[Record]] = defaultdict(list)
    for record in records:
        configurations[record.method, record.epochs, record.setting_hash, record.commit or ""].append(record)
    settings, notes = [], []
    same_name = Counter[tuple[str, int]]()
    scorings = {}
    for key, alike in configurations.items():
        scorings[key], repeated = _by_scoring(alike)
        same_name[key[:2]] += len(scorings[key])
        notes += repeated
    for key, groups in scorings.items():
        for group in groups:
            name = _name(group, ambiguous=same_name[key[:2]] > 1, several_scorings=len(groups) > 1)
            settings.append(Setting(name, key[1], group))
    return settings, notes


def _by_scoring(records: list[Record]) -> tuple[list[list[Record]], list[str]]:
    """Split the records of one configuration so that common metrics of a group have equal entries in `Record.scored`.

    The records with the most metrics come first, so that the groups do not depend on the order of the records where
    a protocol has failed.
    """
    groups: list[list[Record]] = []
    notes = []
    for record in sorted(records, key=lambda record: -len(record.metrics)):
        group = next((group for group in groups if all(_scored_alike(record, other) for other in group)), None)
        if group is None:
            groups.append([record])
        elif any(record.seed == other.seed for other in group):  # a repeated run is not another sample
            notes.append(f"{record.run}: recorded more than once and counted once")
        else:
            group.append(record)
    return groups, notes


def _scored_alike(first: Record, second: Record) -> bool:
    """Whether the metrics that both records have were computed in the same way."""
    common = first.metrics.keys() & second.metrics.keys()
    return all(first.scored.get(metric) == second.scored.get(metric) for metric in common)


def _name(group: list[Record], ambiguous: bool, several_scorings: bool) -> str:
    record = group[0]
    name = f"{record.method} (untrained)" if record.untrained else record.method
    if record.uses_labels:
        name += " (trained with labels)"
    if ambiguous:
        head, dash, dirty = (record.commit or "").partition("-")
        name = f"{name} {record.setting_hash} {head[:7]}{dash}{dirty}".strip()
    if several_scorings:
        scored = sorted({item for member in group for item in member.scored.items()})
        name += f" scored {hashlib.sha256(repr(scored).encode()).hexdigest()[:4]}"
    return name
