"""wandb: sweep files whose agents run `ssl-bench bench`; group, tags and project of a run."""

from pathlib import Path

import pytest
import yaml

from ssl_bench.cli import main
from ssl_bench.config.identity import run_folder
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.runs.sweep_choices import choices_of_lists, combinations
from ssl_bench.runs.sweep_jobs import command_of
from ssl_bench.runs.sweep_plan import PlannedRun, plan
from ssl_bench.runs.tracking import init_arguments

LISTS = ["sweep", "--method=vae,simvae", "--data=digits", "--seeds=0,1", "--epochs=1"]


def agents_commands(file: Path) -> list[str]:
    """The commands of an agent: ``${args}`` are the flags of one point of the grid."""
    content = yaml.safe_load(file.read_text())
    points: list[list[str]] = [[]]
    for name, parameter in content["parameters"].items():
        values = parameter.get("values", [parameter.get("value")])
        points = [[*point, f"--{name}={value}"] for point in points for value in values]
    return [" ".join(word for word in content["command"]).replace("${args}", " ".join(point)) for point in points]


def test_agents_carry_out_the_runs_of_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "sweep.yaml", tmp_path / "runs"
    assert main([*LISTS, f"--out={out}", f"--wandb_sweep={file}"]) == 0
    assert f"{file}: 4 runs; `wandb sweep {file}` starts the sweep" in capsys.readouterr().out
    assert not out.exists()
    folders = set()
    for command in agents_commands(file):
        program, _, flags = command.partition(" bench ")
        assert program == "${env} ssl-bench"
        given = dict(flag.removeprefix("--").split("=", 1) for flag in flags.split())
        assert given.pop("out") == str(out)
        arguments = stack(given.pop("method"), given.pop("data"), None)
        config = to_dict(resolve([*arguments, *(f"--{name}={value}" for name, value in given.items())]))
        folders.add(run_folder(config, out))
    settings = combinations(["--trainer.max_epochs=1"])
    planned = plan(choices_of_lists(["vae", "simvae"], ["digits"], []), settings, ["0", "1"], out)
    assert folders == {run.folder for run in planned}


def test_runs_of_a_table_have_its_name_as_a_tag(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    rows = ["--table=simvae_1", "--data=mnist", "--rows=vae,simvae", "--seeds=0"]
    assert main(["sweep", *rows, f"--out={tmp_path}", f"--wandb_sweep={file}"]) == 0
    assert all(command.startswith("${env} SSL_BENCH_TABLE=simvae_1 ssl-bench") for command in agents_commands(file))


def test_files_and_trusted_folders_are_those_of_the_agents(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.yaml" for name in "ab"]
    for file, beta in zip(files, (2.0, 3.0), strict=True):
        file.write_text(f"method: {{init_args: {{beta: {beta}}}}}\n")
    (tmp_path / "theirs.py").write_text("")
    sweep = tmp_path / "sweep.yaml"
    configs = [f"--config={file}" for file in files]
    assert main([*LISTS, *configs, f"--trust={tmp_path}", f"--out={tmp_path}", f"--wandb_sweep={sweep}"]) == 0
    (command, *_) = agents_commands(sweep)
    assert command.split()[3:6] == [*configs, f"--trust={tmp_path}"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (LISTS, "--wandb_sweep: {file} exists: give another file"),
        (
            ["sweep", "--table=assimilation_1", "--data=cifar10", "--rows=a1_w_search"],
            "expert, W-search (A1) on CIFAR-10, seed 0 reads generated views that do",
        ),
        ([*LISTS, "--experiment=vae-mnist"], "are not all combinations of their flags: give --experiment, or --method"),
        ([*LISTS, "--dry_run"], "--wandb_sweep does not go with --dry_run"),
    ],
)
def test_what_cannot_be_a_wandb_sweep_is_one_line(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sweep.yaml"
    file.write_text("mine")
    assert main([*flags, f"--wandb_sweep={file}"]) == 2
    error = capsys.readouterr().err
    assert message.format(file=file) in error
    assert error.count("\n") == 1
    assert file.read_text() == "mine"


class TestRun:
    def arguments(self, monkeypatch: pytest.MonkeyPatch, seed: int = 0, **variables: str) -> dict[str, object]:
        for name in ("WANDB_PROJECT", "WANDB_TAGS", "WANDB_SWEEP_ID", "SSL_BENCH_TABLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (variables | {"WANDB_MODE": "offline"}).items():
            monkeypatch.setenv(name, value)
        config = to_dict(resolve([*stack("vae", "digits", None), f"--seed={seed}"]))
        return init_arguments(run_folder(config, Path("runs")), config) or {}

    def test_is_in_the_group_of_its_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = (self.arguments(monkeypatch, seed) for seed in (0, 1))
        assert first["group"] == second["group"]
        assert first["id"] != second["id"]

    def test_has_the_tags_of_method_data_and_family_and_those_of_the_user(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.arguments(monkeypatch)["tags"] == ["vae", "digits", "generative"]
        tagged = self.arguments(monkeypatch, WANDB_TAGS="mine,yours", SSL_BENCH_TABLE="simvae_1")
        assert tagged["tags"] == ["vae", "digits", "generative", "simvae_1", "mine", "yours"]

    def test_is_in_the_project_of_the_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.arguments(monkeypatch)["project"] == "ssl_bench"
        assert self.arguments(monkeypatch, WANDB_PROJECT="theirs")["project"] == "theirs"

    def test_of_an_agent_has_the_id_that_the_sweep_chose(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "id" not in self.arguments(monkeypatch, WANDB_SWEEP_ID="abc")


def test_the_launchers_of_a_sweep_pass_the_table_on() -> None:
    run = PlannedRun("a", ("--method=vae",), Path("runs/a"), 1, table="simvae_1")
    assert command_of(run, ())[:2] == ["env", "SSL_BENCH_TABLE=simvae_1"]
