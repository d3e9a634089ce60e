"""Group run records into settings: runs that differ only in the seed, and are averaged."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_bench.results.record import Record
from ssl_bench.results.setting_names import difference_names

WITH_LABELS = "(trained with labels)"
"""Mark beside the name of a supervised method in every table."""


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in the seed.

    Attributes:
        name: name of the method, with ``(untrained)`` for random weights, ``(trained with labels)`` for a supervised
            method, and what differs if several settings of the method have the same number of epochs.
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
    scorings = {}
    alike: dict[tuple[str, int], list[tuple[str, int, str, str]]] = defaultdict(list)
    for key, same in configurations.items():
        scorings[key], repeated = _by_scoring(same)
        alike[key[:2]].append(key)
        notes += repeated
    differences = {key: name for keys in alike.values() for key, name in _differences(keys, scorings).items()}
    for key, groups in scorings.items():
        for group in groups:
            settings.append(Setting(_name(group, differences[key], len(groups) > 1), key[1], group))
    return settings, notes


def _differences(
    keys: list[tuple[str, int, str, str]], scorings: dict[tuple[str, int, str, str], list[list[Record]]]
) -> dict[tuple[str, int, str, str], str]:
    """What tells configurations and commits of one method and number of epochs apart; empty if there is one group."""
    if sum(len(scorings[key]) for key in keys) == 1:
        return dict.fromkeys(keys, "")
    names = difference_names([scorings[key][0][0] for key in keys])
    several_commits = len({commit for *_, commit in keys}) > 1
    return {
        key: f"{name} {_short_commit(key[3]) if several_commits else ''}".strip()
        for key, name in zip(keys, names, strict=True)
    }


def _short_commit(commit: str) -> str:
    head, dash, dirty = commit.partition("-")
    return f"{head[:7]}{dash}{dirty}"


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


def _name(group: list[Record], difference: str, several_scorings: bool) -> str:
    record = group[0]
    name = f"{record.method} (untrained)" if record.untrained else record.method
    if record.uses_labels:
        name += f" {WITH_LABELS}"
    if difference:
        name = f"{name} {difference}"
    if several_scorings:
        scored = sorted({item for member in group for item in member.scored.items()})
        name += f" scored {hashlib.sha256(repr(scored).encode()).hexdigest()[:4]}"
    return name
