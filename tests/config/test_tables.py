"""Tables of papers: their numbers, shapes, metrics, experiments, and wrong files."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.cli import main
from ssl_bench.config.stack import rows_of, stack
from ssl_bench.config.tables import parse_table, read_row, read_table, row_experiments, row_names
from ssl_bench.errors import UserError
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.results.paper_table import FAMILIES, Entry, PaperTable, Value
from ssl_bench.trust import import_class

TRANSCRIPTIONS = Path(__file__).parent / "paper_tables"
"""The papers' numbers as text, written from the papers and not from the files of ``configs/table``.

A section is a table on a data set, ``[TABLE DATA]``, and a line is a row: the label and a number for each column. ``-``
is a number that the paper does not print, and ``*`` a number with a note.
"""
TABLES = sorted(config_names("table"))
OF_PAPERS = [name for name in TABLES if "-" not in name]
"""Tables that are not a small profile of another one, ``TABLE-SCALE``."""
SINGLE_METRICS = {"fid", "inception_score"}


def number(text: str) -> Value | None:
    if text == "-":
        return None
    mean, _, spread = text.removesuffix("*").partition("±")
    return Value(float(mean), float(spread) if spread else None, text.endswith("*"))


def transcription() -> dict[str, dict[str, list[Value | None]]]:
    """Numbers by section and label."""
    sections: dict[str, dict[str, list[Value | None]]] = {}
    for file in sorted(TRANSCRIPTIONS.glob("*.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                rows = sections[line.strip("[]")] = {}
            elif "|" in line:
                label, _, numbers = line.partition(" | ")
                rows[label] = [number(text) for text in numbers.split()]
    return sections


def entries(table: PaperTable) -> Iterator[tuple[str, str, Entry]]:
    for row in table.rows.values():
        for data, entry in row.entries.items():
            yield row.key, data, entry


def test_every_number_is_the_papers() -> None:
    found = {}
    for table in map(read_table, OF_PAPERS):
        for data in table.data:
            rows = [row for row in table.rows.values() if data in row.entries]
            found[f"{table.name} {data}"] = {
                row.label: [row.entries[data].values.get(column) for column in table.columns] for row in rows
            }
        if table.properties:
            found[f"{table.name} properties"] = {
                row.label: [Value(one) for one in row.properties] for row in table.rows.values()
            }
    assert found == transcription()


@pytest.mark.parametrize(
    ("table", "rows", "data", "columns", "numbers"),
    [
        ("simvae_1", 8, 4, 4, 31 * 4),  # MoCo has no row for CelebA
        ("simvae_hair", 7, 1, 2, 14),
        ("simvae_attributes", 6, 1, 1, 0),
        ("structural_gan_1", 10, 3, 2, 29 * 2),  # DDPM has no row for ImageNet-10
        ("structural_gan_2", 7, 2, 5, 70),
        ("structural_gan_3", 2, 1, 2, 4),
        ("structural_gan_4", 7, 1, 4, 28),
        ("structural_gan_5", 2, 1, 1, 2),
        ("assimilation_1", 9, 3, 1, 27),
        ("assimilation_4", 5, 2, 1, 10),
        ("assimilation_5", 4, 2, 2, 16),
        ("assimilation_6", 6, 1, 2, 12),
        ("assimilation_7", 5, 1, 1, 5),
        ("assimilation_8", 4, 1, 2, 8),
        ("assimilation_9", 6, 1, 1, 6),
        ("assimilation_10", 5, 1, 1, 5),
        ("assimilation_11", 4, 1, 1, 4),
        ("assimilation_12", 3, 1, 1, 3),
        ("ssgan_1", 2, 2, 1, 4),
    ],
)
def test_every_table_has_the_shape_of_the_papers(table: str, rows: int, data: int, columns: int, numbers: int) -> None:
    read = read_table(table)
    assert (len(read.rows), len(read.data), len(read.columns)) == (rows, data, columns)
    assert sum(len(entry.values) for _, _, entry in entries(read)) == numbers


@pytest.mark.parametrize("table", TABLES)
def test_every_metric_is_one_of_a_protocol(table: str) -> None:
    metrics = [column.metric for column in read_table(table).columns.values() if column.metric]
    assert [m for m in metrics if m not in SINGLE_METRICS and not m.startswith(PROTOCOLS)] == []


@pytest.mark.parametrize("table", TABLES)
def test_every_experiment_exists_and_is_on_the_data_of_its_column(table: str) -> None:
    for _, data, entry in entries(read_table(table)):
        if entry.experiment is not None:
            assert stack(None, None, entry.name)
            assert (rows_of(entry.name)[1] or "").split("-")[1] == data


@pytest.mark.parametrize("table", TABLES)
def test_no_two_rows_are_the_same_run(table: str) -> None:
    names = Counter(entry.name for _, _, entry in entries(read_table(table)) if entry.experiment)
    settings = Counter(
        str([entry.experiment, {k: v for k, v in entry.overrides.items() if not k.startswith("names.")}])
        for _, _, entry in entries(read_table(table))
        if entry.experiment
    )
    assert [one for counted in (names, settings) for one, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("table", TABLES)
def test_a_row_is_of_a_family_and_can_be_trained_or_says_why_not(table: str) -> None:
    for row in read_table(table).rows.values():
        assert row.family in FAMILIES or table == "assimilation_4"
        assert bool(row.note) == all(entry.experiment is None for entry in row.entries.values())


@pytest.mark.parametrize("table", TABLES)
def test_the_family_of_a_row_is_that_of_its_method(table: str) -> None:
    for row in read_table(table).rows.values():
        for entry in row.entries.values():
            if entry.experiment is not None:
                method = (rows_of(entry.name)[1] or "").split("-")[0]
                content = yaml.safe_load(config_file("method", method).read_text(encoding="utf-8"))
                family = import_class(content["method"]["class_path"]).family
                assert row.family in (family, "baseline")  # the latter without training


@pytest.mark.parametrize("table", TABLES)
def test_every_table_cites_its_paper_and_describes_itself(table: str) -> None:
    read = read_table(table)
    assert "arXiv" in read.source
    assert read.caption.endswith(".")
    spread = any(value.spread is not None for _, _, entry in entries(read) for value in entry.values.values())
    assert bool(read.spread) == spread
    marked = any(value.marked for _, _, entry in entries(read) for value in entry.values.values())
    assert any(note.startswith("* ") for note in read.notes) == marked


def test_the_results_of_an_experiment_are_those_of_a_table() -> None:
    """The key ``reference`` of an experiment and the table of the paper have the same numbers for the same metrics."""
    known: dict[str, set[tuple[str, float]]] = {}
    for table in map(read_table, TABLES):
        for row in row_experiments(table).values():
            metrics = row.reference["metrics"].items()
            known.setdefault(row.experiment, set()).update((key, round(mean, 2)) for key, mean in metrics)
    for experiment in config_names("experiment"):
        content = yaml.safe_load(config_file("experiment", experiment).read_text(encoding="utf-8")) or {}
        if experiment in known and "reference" in content:
            metrics = {(key, round(mean, 2)) for key, mean in content["reference"]["metrics"].items()}
            shared = {key for key, _ in known[experiment]}
            assert {(key, mean) for key, mean in metrics if key in shared} <= known[experiment], experiment


class TestRowsAsExperiments:
    def test_are_named_after_the_data_if_there_are_several(self) -> None:
        assert "assimilation_7/sigma_0.1" in row_names()
        assert "assimilation_5/cifar100_a2_full" in row_names()
        assert read_row("assimilation_5/cifar100_a2_full").overrides["method.loss"] == "nt_xent"
        assert "method.loss" not in read_row("assimilation_5/cifar10_a2_full").overrides

    def test_without_settings_of_their_own_are_the_experiment_that_they_name(self) -> None:
        assert stack(None, None, "simvae_1/mnist_simvae") == stack(None, None, "simvae-mnist")
        assert stack(None, None, "assimilation_10/eps_0.1_0.15") == stack(None, None, "assimilation_9/eps_0.1_0.15")
        assert not {"simvae_1/mnist_simvae", "assimilation_10/eps_0.1_0.15"} & row_names().keys()

    def test_have_the_papers_results_of_their_data_set(self) -> None:
        reference = read_row("simvae_1/celeba_random").reference
        assert reference["metrics"]["knn_5_euclidean/accuracy_gender"] == 62.0
        assert "Table 1, 0 epochs; paper: Adam, best epoch on test; paper: best k on test" in reference["source"]

    def test_have_the_command_that_makes_their_generated_views(self) -> None:
        """The folder and settings of the command are those of the row."""
        for table in map(read_table, TABLES):
            for _, _, entry in entries(table):
                settings = entry.overrides.get("views.generated.settings", {})
                assert bool(settings) == bool(entry.before)
                if settings:
                    flags = [f"--{key} {value}" for key, value in settings.items() if key != "kind"]
                    folder = entry.overrides["views.generated.folder"]
                    job = re.sub(r" --(images|precision|shard_rows) \w+", "", entry.before.split(" --out ")[1])
                    assert job == " ".join([folder, *flags])
                    assert f" views {settings['kind']} " in entry.before

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("assimilation_7/sigma_0.3", "no row named 'sigma_0.3' in table assimilation_7: did you mean sigma_0.4 or"),
            ("simvae_1/mnist_simva", "no row named 'mnist_simva' in table simvae_1: did you mean mnist_simvae or"),
            ("simvae_2/mnist_vae", "no table named 'simvae_2': did you mean simvae_1"),
        ],
    )
    def test_that_do_not_exist_are_refused_in_one_line(
        self, name: str, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["bench", "--experiment", name]) == 2
        assert capsys.readouterr().err.startswith(f"ssl-bench: {message}")


class TestWrongFiles:
    GOOD: ClassVar[dict[str, Any]] = {
        "source": "s",
        "caption": "c",
        "data": {"mnist": {"label": "MNIST"}},
        "columns": {"svm": {"label": "SVM", "metric": "svm/accuracy"}, "nmi": {"label": "NMI"}},
        "rows": {"vae": {"label": "VAE", "family": "generative", "data": {"mnist": ["97.6 ± 0.1", None]}}},
    }

    def test_a_good_one_is_read(self) -> None:
        values = parse_table(self.GOOD, "t", Path("t.yaml")).rows["vae"].entries["mnist"].values
        assert values == {"svm": Value(97.6, 0.1)}

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            ("note", "n", "t.yaml: unknown key 'note': did you mean notes"),
            ("rows.vae.familly", "n", "t.yaml, row vae: unknown key 'familly': did you mean family"),
            ("rows.vae.family", "adverserial", "row vae: no family named 'adverserial': did you mean adversarial"),
            ("rows.vae.data", {"cifar10": [1, 2]}, "row vae: no data named 'cifar10' in the table: known: mnist"),
            ("rows.vae.data", {"mnist": [1]}, "row vae, mnist: 1 value, expected 2, one for each column"),
            ("rows.vae.data", {"mnist": ["97,6", 1]}, "row vae, mnist: '97,6' is not a number; expected 97.6"),
            ("rows.vae.overrides", {"seed": 1}, "row vae, mnist: overrides without an experiment"),
            ("rows.vae.properties", [1], "row vae: 1 properties, expected 0"),
            ("rows.vae", [1], r"row vae: got [1], expected keys with values"),
            ("data", {"mnits": {"label": "x"}}, "t.yaml: no data named 'mnits': did you mean mnist"),
            ("columns.svm", {"metric": "svm/accuracy"}, "column svm: the key 'label' is missing"),
            ("columns.svm.unit", "", "column svm: its unit is none, that of svm/accuracy is %; convert"),
        ],
    )  # fmt: skip
    def test_are_refused_with_the_place_and_what_is_expected(self, place: str, value: object, message: str) -> None:
        content = yaml.safe_load(yaml.safe_dump(self.GOOD))
        *above, last = place.split(".")
        inner = content
        for key in above:
            inner = inner[key]
        inner[last] = value
        with pytest.raises(UserError) as caught:
            parse_table(content, "t", Path("t.yaml"))
        assert message in str(caught.value)
