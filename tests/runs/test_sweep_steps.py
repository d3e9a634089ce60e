"""Steps of a sweep: commands that make what the runs of a table read, in the right order and once."""

from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.config.tables import read_table
from ssl_bench.data.shards import Shards
from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.sweep import run_all, scaled
from ssl_bench.runs.sweep_choices import choices_of_table
from ssl_bench.runs.sweep_jobs import Finished, command_of
from ssl_bench.runs.sweep_plan import PlannedRun, plan
from ssl_bench.runs.sweep_steps import Steps

NARROW = ("simclr", "a1_w_search", "a1_w_perturb", "a2_w_search", "a2_w_perturb")


def planned(table: str, rows: Sequence[str], out: Path, flags: Sequence[str] = ()) -> list[PlannedRun]:
    runs = plan(choices_of_table(table, rows, ["cifar10"]), [tuple(flags)], None, out)
    return Steps(runs, {}, flags, out).plan()


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestPlan:
    def test_has_every_command_from_raw_images_once_and_in_order(self, tmp_path: Path) -> None:
        runs = planned("assimilation_1", ["a1_w_search", "a1_w_perturb", "a2_w_search"], tmp_path)
        assert [run.label for run in runs] == [
            "fit stylegan2-cifar10",
            "fit inversion-cifar10",
            "views invert, views/cifar10-codes",
            "fit simclr-cifar10",
            "views search, views/cifar10-w_search",
            "views perturb, views/cifar10-w_perturb",
            "expert, W-search (A1) on CIFAR-10, seed 0",
            "expert, W-perturb (A1) on CIFAR-10, seed 0",
            "expert, expert, W-search (A2) on CIFAR-10, seed 0",
        ]
        by_label = {run.label.partition(",")[0]: run for run in runs}
        generator, inversion, invert = (
            by_label[name] for name in ("fit stylegan2-cifar10", "fit inversion-cifar10", "views invert")
        )
        assert inversion.needs == (generator.folder,)
        assert f"--method.generator={generator.folder}" in command_of(inversion, ())
        assert invert.needs == (inversion.folder,)
        assert str(inversion.folder) in command_of(invert, ())
        assert not any(word.startswith(f"--out={tmp_path}") for word in command_of(invert, ()))

    def test_trains_no_encoder_twice_that_is_a_row_of_the_table(self, tmp_path: Path) -> None:
        runs = planned("assimilation_1", ["simclr", "a1_w_search"], tmp_path)
        encoder = next(run for run in runs if run.label == "expert, expert (SimCLR) on CIFAR-10, seed 0")
        assert "fit simclr-cifar10" not in [run.label for run in runs]
        search = next(run for run in runs if run.label.startswith("views search"))
        assert encoder.folder in search.needs

    def test_gives_settings_of_data_and_trainer_to_the_steps(self, tmp_path: Path) -> None:
        flags = ["--data.fit_images=50", "--trainer.max_epochs=2", "--method.temperature=0.3"]
        generator = planned("assimilation_1", ["a1_w_perturb"], tmp_path, flags)[0]
        assert generator.arguments[-2:] == ("--data.fit_images=50", "--trainer.max_epochs=2")
        assert generator.epochs == 2

    def test_has_no_steps_for_views_that_exist(self, tmp_path: Path) -> None:
        (tmp_path / "views" / "cifar10-w_perturb").mkdir(parents=True)
        assert [run.command for run in planned("assimilation_1", ["a1_w_perturb"], tmp_path)] == ["bench"]

    def test_refuses_views_of_other_runs(self, tmp_path: Path) -> None:
        folder, codes = tmp_path / "views" / "cifar10-w_perturb", tmp_path / "views" / "cifar10-codes"
        Shards.create(codes, {"kind": "invert"}, 0, lambda: {"generator": str(tmp_path / "inversion-other")})
        Shards.create(folder, {"kind": "perturb"}, 0, lambda: {"codes": str(codes)})
        with pytest.raises(UserError, match=r"views/cifar10-codes was made from .*inversion-other, and the plan has"):
            planned("assimilation_1", ["a1_w_perturb"], tmp_path)

    def test_refuses_views_of_another_encoder(self, tmp_path: Path) -> None:
        folder = tmp_path / "views" / "cifar10-w_search"
        Shards.create(folder, {"kind": "search"}, 0, lambda: {"encoder": str(tmp_path / "simclr-other")})
        with pytest.raises(UserError, match=r"views/cifar10-w_search was made from .*simclr-other, and the plan has"):
            planned("assimilation_1", ["a1_w_search"], tmp_path)

    def test_refuses_a_file_of_settings_if_there_are_steps(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("data: {init_args: {batch_size: 8}}")
        with pytest.raises(UserError, match="--config: its settings would not be those of the steps"):
            planned("assimilation_1", ["a1_w_perturb"], tmp_path, ["--config=mine.yaml"])
        (tmp_path / "views" / "cifar10-w_perturb").mkdir(parents=True)  # no steps
        assert len(planned("assimilation_1", ["a1_w_perturb"], tmp_path, ["--config=mine.yaml"])) == 1

    def test_names_the_command_that_no_experiment_carries_out(self, tmp_path: Path) -> None:
        runs = plan(choices_of_table("assimilation_12", ["simclr"], []), [()], None, tmp_path)
        (run,) = Steps(runs, {}, (), tmp_path).plan()
        assert run.before.startswith("ssl-bench views sample STYLEGAN2_RUN")
        assert not run.ready


class TestRunAll:
    """Runs with steps: a needs b, and b needs c."""

    def runs(self) -> list[PlannedRun]:
        folders = {name: (Path(name), needs) for name, needs in {"a": "b", "b": "c", "c": "", "d": ""}.items()}
        return [PlannedRun(n, (), f, 1, needs=(Path(need),) if need else ()) for n, (f, need) in folders.items()]

    def carry_out(self, failing: str = "") -> list[list[str]]:
        launched: list[list[str]] = []

        def launch(runs: Sequence[PlannedRun]) -> Generator[Finished, None, None]:
            launched.append([run.label for run in runs])
            yield from (Finished(run, 1.0, "broken" if run.label == failing else "") for run in runs)

        try:
            run_all(self.runs(), launch)
        except RunError as error:
            launched.append([str(error)])
        return launched

    def test_starts_a_run_after_its_steps(self) -> None:
        assert self.carry_out() == [["c", "d"], ["b"], ["a"]]

    def test_does_not_start_a_run_whose_step_has_failed(self) -> None:
        *launched, (message,) = self.carry_out(failing="c")
        assert launched == [["c", "d"]]
        assert message == "3 of 4 runs are missing: c: broken; b: needs c, which failed; a: needs b, which failed"


def test_a_scale_is_a_table_of_the_same_rows() -> None:
    assert scaled("assimilation_1", "digits") == "assimilation_1-digits"
    rows = list(read_table("assimilation_1").rows)
    assert list(read_table("assimilation_1-digits").rows) == rows
    assert list(read_table("assimilation_1-narrow").rows) == [row for row in rows if row in NARROW]
    with pytest.raises(UserError, match="--scale got 'small': assimilation_1 has digits, narrow"):
        scaled("assimilation_1", "small")
    with pytest.raises(UserError, match="simvae_1 has no smaller scale: leave it out"):
        scaled("simvae_1", "digits")


def test_a_table_is_trained_from_raw_images_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--table=assimilation_1", "--scale=digits", "--rows=a1_w_perturb", "--epochs=1"]
    command += ["--data.fit_images=300", "--evaluation.protocols=[linear_probe,knn]", f"--out={tmp_path / 'runs'}"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "5 runs, 0 not to be run, 5 to run" in printed
    assert "expert, W-perturb (A1)" in printed.partition("5/5")[2]
    assert main(command) == 0
    assert "1 runs, 1 not to be run, 0 to run" in capsys.readouterr().out
