"""Processes of torchrun and SLURM: their number is that of the run, or the command is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only

from ssl_bench.errors import UserError
from ssl_bench.runs.heartbeats import Limits
from ssl_bench.runs.launch import is_first
from ssl_bench.runs.launcher import check_launched, launched, with_launched
from ssl_bench.runs.watch import LAUNCHER, Watch
from tests.runs.test_train import QUICK

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "6", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "3", "SLURM_PROCID": "4"}
LIGHTNING = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
"""Environment of the processes that Lightning itself starts."""
LAUNCHERS = {
    **dict.fromkeys(TORCHRUN | SLURM | LIGHTNING),
    "SLURM_JOB_NAME": None,
    LAUNCHER: None,
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (TORCHRUN, ("torchrun", 2, 2)),
        (SLURM, ("SLURM", 3, 2)),
        (SLURM | TORCHRUN, ("torchrun", 2, 2)),
        ({"SLURM_NTASKS": "1"}, ("SLURM", 1, 1)),
        (SLURM | {"SLURM_JOB_NAME": "interactive", "SLURM_PROCID": "0"}, None),
        (LIGHTNING, None),
        ({}, None),
    ],
)
def test_the_processes_of_a_launcher_are_found(
    variables: dict[str, str], expected: tuple[str, int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, variables)
    found = launched()
    assert (found and found[:3]) == expected


def test_nodes_with_different_numbers_of_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, TORCHRUN | {"WORLD_SIZE": "5"})
    with pytest.raises(UserError, match="torchrun started 5 processes, not the same number on each node"):
        launched()


def test_slurm_without_the_number_of_processes_on_each_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by ``srun -n 4`` on one node."""
    set_environment(monkeypatch, {"SLURM_NTASKS": "4", "SLURM_NNODES": "1"})
    with pytest.raises(UserError) as error:
        launched()
    assert str(error.value) == (
        "SLURM started 4 processes without the option --ntasks-per-node, which Lightning requires: start them by srun "
        "--ntasks-per-node=4"
    )


def test_one_process_and_one_node_are_in_the_singular(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"})
    with pytest.raises(UserError, match="torchrun started 1 process on each node, but"):
        check_launched("2")
    with pytest.raises(UserError, match="torchrun started processes on 1 node, but"):
        check_launched("auto", "2")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TORCHELASTIC_RUN_ID": "x"}, "^WORLD_SIZE must be an integer of at least 1 under torchrun or SLURM, got ''$"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "0"}, "^LOCAL_WORLD_SIZE must be"),
        (SLURM | {"SLURM_NTASKS": "abc"}, "^SLURM_NTASKS must be an integer of at least 1 .* 'abc'$"),
        (SLURM | {"SLURM_NNODES": "0"}, "^SLURM_NNODES must be"),
        (SLURM | {"SLURM_JOB_NAME": "interactive", "SLURM_PROCID": "1"}, "give srun --job-name NAME$"),
    ],
)
def test_an_unusable_environment_is_a_usage_error(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, variables)
    with pytest.raises(UserError, match=message):
        launched()


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({"RANK": "1"}, True),
        ({"LOCAL_RANK": "1"}, True),
        ({"SLURM_PROCID": "3"}, True),
        (LIGHTNING | {LAUNCHER: "1"}, True),
        (LIGHTNING | {LAUNCHER: str(os.getppid())}, False),
        (TORCHRUN, False),
        (SLURM, False),
    ],
)
def test_a_rank_counts_only_in_a_process_of_a_launcher(
    variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, variables)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert is_first() == first
    assert (rank_zero_only.rank == 0) == first  # type: ignore[attr-defined]


def test_a_process_that_lightning_started_is_not_the_first_when_it_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, LIGHTNING | {LAUNCHER: str(os.getppid())})
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    watch = Watch(Limits())
    watch.stop.set()
    watch.expect_group()
    assert not is_first()


def test_numbers_that_are_not_given_are_those_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_launched(["--seed=1"]) == ["--seed=1"]
    set_environment(monkeypatch, TORCHRUN)
    added = ["--trainer.devices=2", "--trainer.num_nodes=2"]
    for flags in (["--seed=1"], ["--trainer.devices=auto"], ["--trainer.devices", "-1"]):
        assert with_launched(flags) == [*flags, *added]
    assert with_launched(["--trainer.devices=[4,5]"]) == ["--trainer.devices=[4,5]", added[1]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.devices=3"], "torchrun started 2 processes on each node, but --devices is 3: give --devices 2 or"),
        (["--trainer.devices", "1"], "start with `torchrun --nproc-per-node=1`"),
        (["--trainer.devices=2", "--trainer.devices=[0]"], r"--devices is \[0\]"),
        (["--trainer.num_nodes=1"], "torchrun started processes on 2 nodes, but --trainer.num_nodes is 1"),
        (["--config", "{file}"], "--devices is 1: give --devices 2"),
        (["--config={file}", "--trainer.devices=5"], "--devices is 5"),
    ],
)
def test_other_numbers_than_the_launchers_are_refused(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("trainer: {devices: 1}", encoding="utf-8")
    set_environment(monkeypatch, TORCHRUN)
    with pytest.raises(UserError, match=message):
        with_launched([flag.format(file=file) for flag in flags])


def test_a_later_number_replaces_that_of_a_recorded_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("trainer: {devices: 1, num_nodes: 1}", encoding="utf-8")
    set_environment(monkeypatch, TORCHRUN | {"WORLD_SIZE": "2"})
    flags = ["--config", str(file), "--trainer.devices=2"]
    assert with_launched(flags) == [*flags, "--trainer.num_nodes=1"]


def test_an_evaluation_has_the_launchers_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, SLURM)
    check_launched("auto")
    check_launched("3")
    with pytest.raises(UserError, match="SLURM started 3 processes on each node, but --devices is 2"):
        check_launched("2")


@pytest.mark.parametrize(
    "command",
    [
        ["bench", "--method=simvae", "--data=digits", "--devices=1"],
        ["fit", "--method=simvae", "--data=digits", "--trainer.devices=1"],
        ["evaluate", "pixels", "--data=digits", "--devices=1"],
        ["views", "sample", ".", "--images=2", "--devices=1"],
    ],
)
def test_a_contradiction_is_a_usage_error_on_every_rank_before_torch_is_imported(
    command: list[str], tmp_path: Path
) -> None:
    code = f"""
import sys
from ssl_bench.cli import main
code = main({command!r})
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    for rank in ("0", "1"):
        variables = environment | TORCHRUN | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, cwd=tmp_path, timeout=300,
            check=False,
        )  # fmt: skip
        message, imported = done.stderr.strip().splitlines()
        assert message.startswith("ssl-bench: torchrun started 2 processes on each node, but --devices is 1")
        assert (done.returncode, imported) == (2, "False")
    assert not list(tmp_path.iterdir())


def test_torchrun_without_devices_trains_one_run_in_all_its_processes(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    flags = ["--method=simvae", "--data=digits", "--epochs=1", "--data.batch_size=32", f"--out={tmp_path}", *QUICK]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    done = subprocess.run(
        [*launcher, "-m", "ssl_bench.cli", "bench", *flags, "--evaluation.protocols=[knn]"],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert (record["world_size"], record["global_batch"], record["epochs"]) == (2, 64, 1)
    assert done.stdout.count("epoch 1/1") == 1
