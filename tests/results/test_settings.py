"""Which runs are one setting, and how settings are named."""

from functools import reduce
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from ssl_bench.results.record import Record
from ssl_bench.results.settings import by_setting
from ssl_bench.results.table import make_tables
from tests.results.records import record

ALL = {"knn_5/accuracy": "knn 1a2b3c4d c0ffee", "svm/accuracy": "svm 5e6f7a8b c0ffee"}
"""Entries of `Record.scored`."""


def scored(seed: int, sources: dict[str, str]) -> Record:
    """Record of a seed that has the metrics of some sources."""
    return record(seed=seed, metrics=dict.fromkeys(sources, 90.0 + seed), scored=sources)


def seeds_of(*records: Record) -> list[set[int]]:
    """Seeds of each setting."""
    return [{member.seed for member in setting.records} for setting in by_setting(records)[0]]


@pytest.mark.parametrize(
    "other",
    [
        {"setting": "b"},
        {"commit": "c0ffee"},
        {"epochs": 3},
        {"data": "mnist"},
        {"scored": {"knn_5/accuracy": "knn 1a2b3c4d c0ffee"}},  # by other settings of its protocol, or later
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_never_averaged(other: dict[str, object]) -> None:
    tables = make_tables([record(), record(seed=1, **other)])  # type: ignore[arg-type]
    assert [row.seeds for table in tables for row in table.rows] == [1, 1]


@pytest.mark.parametrize("failed", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_a_protocol_that_failed_for_one_seed_does_not_split_its_setting(failed: str, seed: int) -> None:
    rest = {metric: source for metric, source in ALL.items() if metric != failed}
    (table,) = make_tables(scored(number, rest if number == seed else ALL) for number in range(3))
    (row,) = table.rows
    assert (row.method, row.seeds) == ("simvae", 3)
    assert {column: cell.n for column, cell in row.cells.items()} == {failed: 2, **dict.fromkeys(rest, 3)}


def test_a_metric_that_was_added_to_one_seed_does_not_split_its_setting() -> None:
    assert seeds_of(scored(0, ALL), scored(1, {**ALL, "knn_3/accuracy": "knn 99999999 c0ffee"})) == [{0, 1}]


def test_metrics_of_other_settings_are_apart_whatever_the_order_of_the_records() -> None:
    other = {**ALL, "svm/accuracy": "svm 99999999 c0ffee"}
    without = {"svm/accuracy": other["svm/accuracy"]}  # kNN failed
    for records in permutations([scored(0, ALL), scored(1, ALL), scored(2, other), scored(3, without)]):
        assert sorted(map(sorted, seeds_of(*records))) == [[0, 1], [2, 3]]
    (table,) = make_tables([scored(0, ALL), scored(1, other)])
    names = [row.method for row in table.rows]
    assert len(set(names)) == 2
    assert all(name.startswith("simvae a scored ") for name in names)


def test_rows_of_one_method_show_their_difference() -> None:
    commits = "0123456789", "0123456789-dirty", "fedcba9876"
    (table,) = make_tables(record(commit=commit) for commit in commits)
    assert [row.method for row in table.rows] == ["simvae a 0123456", "simvae a 0123456-dirty", "simvae a fedcba9"]


class TestNamesByKeys:
    CONFIG: ClassVar[dict[str, Any]] = {
        "seed": 0,
        "names": {"method": "simvae"},
        "data": {"init_args": {"root": "a", "batch_size": 64}},
        "method": {"class_path": "ssl_bench.methods.simvae.SimVAE", "init_args": {"sigma2": 0.15, "beta": 1.0}},
    }

    def names(self, folder: Path, *changes: dict[str, Any], commits: str = "aaaa") -> list[str]:
        """Names of settings with changed configurations; None as a change is a run without a configuration."""
        records = []
        for place, change in enumerate(changes):
            run = folder / str(place)
            run.mkdir()
            if change:
                config = yaml.safe_load(yaml.safe_dump(self.CONFIG))
                for key, value in change.items():
                    *above, last = key.split(".")
                    reduce(dict.__getitem__, above, config)[last] = value
                (run / "config.yaml").write_text(yaml.safe_dump(config))
            record(setting=f"h{place}", commit=commits[place]).write(run)
            records.append(Record.read(run))
        return [setting.name for setting in by_setting(records)[0]]

    def test_have_the_keys_and_values_that_differ(self, tmp_path: Path) -> None:
        sigma2, batch = "method.init_args.sigma2", "data.init_args.batch_size"
        assert self.names(tmp_path, {"seed": 0}, {sigma2: 0.1, "data.init_args.root": "b", batch: 32}) == [
            "simvae data.batch_size 64, method.sigma2 0.15",
            "simvae data.batch_size 32, method.sigma2 0.1",
        ]

    def test_have_the_commit_only_if_there_are_several(self, tmp_path: Path) -> None:
        assert self.names(tmp_path, {"seed": 0}, {"seed": 1}, commits="ab") == ["simvae h0 a", "simvae h1 b"]

    def test_have_the_hash_if_a_configuration_is_missing(self, tmp_path: Path) -> None:
        assert self.names(tmp_path, {"seed": 0}, {}) == ["simvae h0", "simvae h1"]

    def test_have_the_hash_if_three_keys_do_not_tell_them_apart(self, tmp_path: Path) -> None:
        changes = [{f"method.init_args.k{key}": int(key == own) for key in range(4)} for own in (2, 3)]
        names = self.names(tmp_path, {"seed": 0}, *changes)
        assert names[0].startswith("simvae method.k0 None, method.k1 None, method.k2 None")
        assert len({*names}) == 3

    def test_shorten_long_values(self, tmp_path: Path) -> None:
        (_, name) = self.names(tmp_path, {"seed": 0}, {"method.init_args.sigma2": [0.1] * 20})
        assert name == "simvae method.sigma2 [0.1, 0.1, 0.1, 0.1, ..."


def test_random_weights_are_called_untrained() -> None:
    settings, _ = by_setting([record(epochs=0, untrained=True), record(setting="b"), record("pca", epochs=0)])
    assert [setting.name for setting in settings] == ["simvae (untrained)", "simvae", "pca"]


def test_methods_that_were_trained_with_labels_are_marked() -> None:
    (setting,), _ = by_setting([record("supervised", uses_labels=True)])
    assert setting.name == "supervised (trained with labels)"


def test_one_seed_recorded_twice_is_one_sample() -> None:
    (table,) = make_tables([record(), record()])
    assert [row.seeds for row in table.rows] == [1]
    assert table.notes == ["simvae on digits, seed 0, a0: recorded more than once and counted once"]
