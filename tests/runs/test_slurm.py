"""Sweeps on a real Slurm: one node of this machine, started by the test; left out where Slurm is not installed."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.runs.sweep_plan import PlannedRun
from ssl_bench.runs.sweep_slurm import run_slurm
from tests.runs.test_sweep import attempts, planned, wait_for_training, weights_equal

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
NodeName={host} CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, (*DAEMONS, "sbatch"))), reason="Slurm is not installed"
)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of one node."""
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    file = folder / "slurm.conf"
    file.write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2), cpus=os.cpu_count()))
    monkeypatch.setenv("SLURM_CONF", str(file))
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    commands = [munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]]
    started = []
    with (folder / "daemons.log").open("wb") as log:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(1)
    try:
        wait_for_node(folder)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def wait_for_node(folder: Path) -> None:
    """Wait until the node takes jobs."""
    for _ in range(60):
        shown = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False)
        if shown.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise AssertionError((folder / "daemons.log").read_text())


def pre_empt(run: PlannedRun) -> None:
    """Send the signal of a pre-emption to all processes of all jobs, as Slurm does before their time ends."""
    wait_for_training([run])
    for job in subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True).stdout.split():
        subprocess.run(["scancel", "--signal=USR2", job], check=True)


@pytest.mark.usefixtures("slurm")
def test_runs_of_slurm_equal_single_runs_and_a_pre_empted_one_resumes(tmp_path: Path) -> None:
    runs = planned(tmp_path / "sweep", "--trainer.max_epochs=300")
    pre_empting = threading.Thread(target=pre_empt, args=(runs[0],))
    pre_empting.start()
    (found,) = run_slurm(runs, (), hours=1, partition="", cpus=1, gpus=0)
    pre_empting.join()
    assert found.reason == ""
    assert attempts(runs[0]) == 2
    assert main(["bench", *runs[0].arguments, f"--out={tmp_path / 'single'}"]) == 0
    assert weights_equal(runs[0].folder, tmp_path / "single" / runs[0].folder.name)


@pytest.mark.usefixtures("slurm")
def test_jobs_that_slurm_refuses_are_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--method=vae", "--data=digits", "--launcher=slurm", "--slurm.partition=none"]
    assert main([*command, f"--out={tmp_path}"]) == 2
    *of_slurm, last = capsys.readouterr().err.splitlines()
    assert last.startswith("ssl-bench: --launcher slurm: Slurm refuses the jobs: ")
    assert all(line.startswith("sbatch: ") for line in of_slurm)
