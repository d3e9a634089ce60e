"""`ssl-bench table NAME`: runs of experiments, which of them are shown, commands for missing scores, wrong names."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_bench.cli import main
from ssl_bench.config.identity import config_hash, names, run_folder
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.config.tables import read_table
from ssl_bench.results.paper_layout import notes_of
from ssl_bench.results.paper_table import PaperTable
from ssl_bench.results.record import Record
from ssl_bench.runs.paper_tables import fill, protocol_of, select
from ssl_bench.runs.recorded_runs import read_runs
from ssl_bench.runs.resolved_experiments import resolved_experiment

SCORES = {"linear_probe/accuracy": 97.0, "mlp_probe/accuracy": 97.5, "knn_5_euclidean/accuracy": 98.0,
          "gmm/accuracy": 96.0}  # fmt: skip


def recorded(out: Path, experiment: str, *flags: str, **changes: Any) -> Path:
    """The folder of a run of an experiment, with its configuration and a record."""
    config = to_dict(resolve([*stack(None, None, experiment), *flags]))
    folder = run_folder(config, out)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    method, data = names(config)
    known = {"method": method, "data": data, "seed": config["seed"], "epochs": config["trainer"]["max_epochs"],
             "config_hash": config_hash(config), "setting_hash": config_hash(config, seed=False), "commit": "c",
             "command": "ssl-bench bench", "device": "cpu", "metrics": SCORES}  # fmt: skip
    Record(**(known | changes)).write(folder)
    return folder


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "experiments"))


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def filled(out: Path, name: str = "simvae_1") -> PaperTable:
    return fill(read_table(name), read_runs([out]))


class TestRunsOfAnExperiment:
    def test_are_averaged_over_seeds(self, tmp_path: Path) -> None:
        for seed, accuracy in enumerate([96.0, 97.0, 98.0]):
            metrics = SCORES | {"linear_probe/accuracy": accuracy}
            recorded(tmp_path, "simvae-mnist", f"--seed={seed}", metrics=metrics)
        ours = filled(tmp_path).ours
        assert ours.keys() == {("simvae", "mnist")}
        scores = ours["simvae", "mnist"]
        assert (scores.epochs, scores.seeds) == (400, 3)
        assert (scores.cells["lp"].mean, scores.cells["lp"].n) == (97.0, 3)
        assert scores.cells["lp"].se == pytest.approx(1 / 3**0.5)

    @pytest.mark.parametrize(
        "flag",
        [
            "--seed=7",
            "--trainer.max_epochs=10",
            "--trainer.accelerator=cpu",
            "--evaluation.protocols=[knn,linear_probe]",
            "--names.method=mine",
            "--data.root=elsewhere",
            "--validation.every=0",
            "--trainer.precision=bf16-mixed",
            "--trainer.precision=32-true",
            "--trainer.precision=32",
        ],
    )
    def test_are_found_whatever_does_not_change_the_setting(self, tmp_path: Path, flag: str) -> None:
        recorded(tmp_path, "simvae-mnist", flag)
        assert filled(tmp_path).ours.keys() == {("simvae", "mnist")}

    @pytest.mark.parametrize(
        ("flag", "key"),
        [
            ("--method.sigma2=0.3", "method.sigma2"),
            ("--trainer.precision=16-mixed", "trainer.precision"),
            ("--trainer.limit_train_batches=0.5", "trainer.limit_train_batches"),
            ("--data.batch_size=64", "data.batch_size"),
            ("--evaluation.kmeans.restarts=2", "evaluation.kmeans.restarts"),
            ("--trainer.max_epochs=0", "trainer.max_epochs"),
        ],
    )
    def test_with_another_setting_are_named_and_not_counted(self, tmp_path: Path, flag: str, key: str) -> None:
        folder = recorded(tmp_path, "simvae-mnist", flag)
        table = filled(tmp_path)
        assert ("simvae", "mnist") not in table.ours
        if flag != "--trainer.max_epochs=0":  # which is the row of random features
            assert f"not counted: {folder} differs from simvae-mnist in {key}" in table.notes

    def test_without_epochs_are_the_row_of_random_features(self, tmp_path: Path) -> None:
        recorded(tmp_path, "simvae-mnist", "--trainer.max_epochs=0")
        assert filled(tmp_path).ours.keys() == {("random", "mnist")}

    def test_with_a_batch_that_is_divided_among_processes_are_runs_of_the_global_batch(self, tmp_path: Path) -> None:
        recorded(tmp_path / "half", "vae-mnist", "--data.batch_size=64", "--trainer.devices=2")  # of 128
        recorded(tmp_path / "whole", "vae-mnist", "--trainer.devices=2")
        assert filled(tmp_path / "half").ours
        assert not filled(tmp_path / "whole").ours

    def test_with_generated_views_are_not_those_without(self, tmp_path: Path) -> None:
        recorded(tmp_path, "simclr-cifar10", metrics={"linear_probe/accuracy": 92.0})
        assert filled(tmp_path, "assimilation_1").ours.keys() == {("simclr", "cifar10")}

    def test_of_a_row_with_overrides_are_found_in_every_table_that_has_it(self, tmp_path: Path) -> None:
        recorded(tmp_path, "assimilation_9/eps_0.1_0.15", metrics={"linear_probe/accuracy": 92.0})
        for table in ("assimilation_9", "assimilation_10"):
            assert filled(tmp_path, table).ours.keys() == {("eps_0.1_0.15", "cifar10")}

    def test_of_a_version_without_some_setting_are_found(self, tmp_path: Path) -> None:
        folder = recorded(tmp_path, "simvae-mnist")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        del config["evaluation"]["gmm"]["ridge"]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert filled(tmp_path).ours

    def test_with_several_targets_have_the_metrics_of_the_tables_target(self, tmp_path: Path) -> None:
        metrics = {"mlp_probe/accuracy": 90.0, "mlp_probe/accuracy_gender": 91.0, "mlp_probe/accuracy_hair": 80.0}
        recorded(tmp_path, "simvae-celeba", metrics=metrics, targets=["gender", "hair"])
        for table, accuracy in (("simvae_1", 91.0), ("simvae_hair", 80.0), ("simvae_attributes", 90.0)):
            assert filled(tmp_path, table).ours["simvae", "celeba"].cells["mp"].mean == accuracy

    @pytest.mark.parametrize("content", ["", "[1]", "method: {}\ndata: {}\ntrainer: {}\n", "a: [", "features: f"])
    def test_damaged_or_foreign_configurations_are_skipped(self, tmp_path: Path, content: str) -> None:
        (recorded(tmp_path, "simvae-mnist") / "config.yaml").write_text(content)
        assert filled(tmp_path).ours == {}


class TestSeveralGroupsOfRuns:
    def test_those_with_the_papers_epochs_are_shown_and_the_others_noted(self, tmp_path: Path) -> None:
        for seed in range(3):
            recorded(tmp_path, "simvae-mnist", f"--seed={seed}", "--trainer.max_epochs=10")
        recorded(tmp_path, "simvae-mnist", metrics=SCORES | {"gmm/accuracy": 50.0})
        table = filled(tmp_path)
        scores = table.ours["simvae", "mnist"]
        assert (scores.epochs, scores.seeds, scores.cells["gmm"].mean) == (400, 1, 50.0)
        (note,) = (note for note in table.notes if note.startswith("SimVAE on MNIST: other runs"))
        assert note.endswith("10 epochs, 3 seeds")

    def test_other_commits_are_never_averaged(self, tmp_path: Path) -> None:
        for seed, commit in enumerate("aab"):
            recorded(tmp_path, "simvae-mnist", f"--seed={seed}", commit=commit)
        assert filled(tmp_path).ours["simvae", "mnist"].seeds == 2


class TestCommands:
    def test_train_what_is_missing_with_the_papers_seeds(self, tmp_path: Path) -> None:
        (lines,) = filled(tmp_path).missing.values()
        assert (lines[0], lines[-1]) == ("for seed in 0 1 2; do", "done")
        assert len(lines) == 2 + 31
        for line in lines[1:-1]:
            found = re.fullmatch(r"  ssl-bench bench --experiment (\S+) --seed \$seed", line)
            assert found
            assert stack(None, None, found[1])

    def test_make_first_what_the_runs_read(self, tmp_path: Path) -> None:
        missing = filled(tmp_path, "assimilation_7").missing
        assert [heading.split()[0] for heading in missing] == ["what", "missing"]
        before = next(iter(missing.values()))
        assert "ssl-bench views perturb CODES --out views/cifar10-w_perturb-sigma_0.4 --sigma 0.4" in before
        assert "ssl-bench views perturb CODES --out views/cifar10-w_perturb --sigma 0.2" in before

    def test_do_not_train_what_has_been_run(self, tmp_path: Path) -> None:
        recorded(tmp_path, "simvae-mnist")
        assert "simvae-mnist " not in " ".join(filled(tmp_path).missing["missing runs"])

    def test_score_recorded_runs_with_the_missing_protocols(self, tmp_path: Path) -> None:
        folder = recorded(tmp_path, "simvae-mnist", metrics={"linear_probe/accuracy": 97.0})
        protocols = "[mlp_probe,knn,gmm]"
        commands = filled(tmp_path).missing["missing scores of recorded runs"]
        assert commands == [f"ssl-bench evaluate {folder} --evaluation.protocols '{protocols}'"]

    def test_do_not_repeat_a_protocol_that_failed_and_the_reason_is_noted(self, tmp_path: Path) -> None:
        metrics = {name: value for name, value in SCORES.items() if name != "gmm/accuracy"}
        recorded(tmp_path, "simvae-mnist", metrics=metrics, failed={"gmm": "singular"})
        table = filled(tmp_path)
        assert "missing scores of recorded runs" not in table.missing
        assert any(note.endswith("gmm failed: singular") for note in table.notes)

    @pytest.mark.parametrize(
        ("metric", "protocol"),
        [
            ("knn_5_euclidean/accuracy", "knn"),
            ("linear_probe/accuracy_hair", "linear_probe"),
            ("linear_probe_sgd/accuracy", "linear_probe_sgd"),
            ("fid", "generation"),
            ("inception_score", "generation"),
        ],
    )
    def test_name_the_protocol_of_a_metric(self, metric: str, protocol: str) -> None:
        assert protocol_of(metric) == protocol


class TestNotes:
    def test_on_marked_numbers_are_shown_beside_these(self) -> None:
        table = read_table("simvae_1")
        for data, shown in (("cifar10", True), ("mnist", False)):
            (part,) = select([table], [], [data], [])
            assert any(note.startswith("*") for note in notes_of(part)) == shown


class TestSelection:
    def test_keeps_rows_data_and_columns(self) -> None:
        (table,) = select([read_table("simvae_1")], ["vae", "moco"], ["celeba"], ["linear_probe/*", "GMM-CA"])
        assert (list(table.rows), list(table.data), list(table.columns)) == (["vae"], ["celeba"], ["lp", "gmm"])

    def test_omits_tables_of_which_nothing_is_left(self) -> None:
        tables = map(read_table, ("simvae_1", "simvae_hair", "ssgan_1"))
        assert [table.name for table in select(tables, ["vae"], ["celeba"], [])] == ["simvae_1", "simvae_hair"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simvae_2"], "no table and no folder named 'simvae_2': did you mean simvae_1"),
        (["simvae_1", "--rows", "vea"], "no row named 'vea' in the table: did you mean vae"),
        (["simvae_1", "--data", "mnits"], "no data named 'mnits' in the table: did you mean mnist"),
        (["simvae_1", "--metrics", "smv/*"], "no column matches 'smv/*': "),
        (["simvae_1", "other/place"], "no folder other/place: give a run folder, or a folder of run folders"),
        (["simvae_1", "--sort", "fid"], "--sort is for tables of runs"),
        (["runs", "--rows", "vae"], "--rows is for tables of papers: name one of "),
    ],
)
def test_wrong_names_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert main(["table", *arguments]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"ssl-bench: {message}")
    assert printed.out == ""


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("rows", [["vae", "simvae"], ["vae,simvae"]])
def test_rows_are_separated_by_spaces_or_commas(rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "simvae_hair", "--rows", *rows, "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 2


@pytest.mark.usefixtures("in_tmp_path")
def test_all_tables_are_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "all"]) == 0
    text = capsys.readouterr().out
    for name in ("simvae_1", "structural_gan_4", "assimilation_11", "ssgan_1"):
        assert f"{name}: " in text


MODULES = "import sys; from ssl_bench.cli import main; main(['table', 'simvae_1']); print(*sys.modules)"


@pytest.mark.parametrize("experiment", ["simclr-digits", "vae-mnist"], ids=["run of no row", "run of a row"])
def test_a_table_is_printed_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: str) -> None:
    """The resolved configurations of the rows of which there may be runs are in the cache."""
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    recorded(tmp_path / "runs", experiment)
    resolved_experiment.cache_clear()
    ours = filled(tmp_path / "runs").ours
    done = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.count("  difference") == len(ours) == (experiment == "vae-mnist")
    assert not {"torch", "lightning", "jsonargparse"} & set(done.stdout.splitlines()[-1].split())


def test_a_cached_configuration_is_that_of_the_present_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path))
    expected = to_dict(resolve([*stack(None, None, "vae-mnist"), "--trainer.devices=1"], on_this_machine=False))
    for content in ("", "{}", '{"state": "another", "config": {"seed": 1}}', "[1]"):
        for file in tmp_path.glob("experiments/*/vae-mnist.json"):
            file.write_text(content)
        resolved_experiment.cache_clear()
        assert resolved_experiment("vae-mnist") == expected
    assert len(list(tmp_path.glob("experiments/*/vae-mnist.json"))) == 1
    resolved_experiment.cache_clear()


def test_a_cache_that_cannot_be_written_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "file"))
    resolved_experiment.cache_clear()
    assert resolved_experiment("vae-mnist")["method"]["class_path"].endswith("VAE")
    resolved_experiment.cache_clear()
