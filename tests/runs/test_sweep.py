"""Sweeps: the plan, what is refused before anything runs, and runs that are done, missing, failed or interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.runs.arguments import command_line
from ssl_bench.runs.sweep import planned as planned_runs
from ssl_bench.runs.sweep_choices import choices_of_lists, choices_of_table, combinations
from ssl_bench.runs.sweep_jobs import Finished, carry_out, log_of
from ssl_bench.runs.sweep_local import environment
from ssl_bench.runs.sweep_plan import PlannedRun, plan
from ssl_bench.runs.sweep_ray import run_ray
from ssl_bench.runs.sweep_slurm import run_slurm

SMALL = [
    "--data.fit_images=64", "--method.encoder.hidden=[16]", "--method.decoder.hidden=[16]",
    "--evaluation.protocols=[knn]", "--validation.every=0",
]  # fmt: skip
"""Flags of runs that take no time beside their start."""


def test_flags_with_commas_are_lists_whose_values_are_combined() -> None:
    found = combinations(["--method.beta=1,2", "--method.latent_dim", "4,8", "--evaluation.knn.k=[1,5]"])
    assert found == [
        (f"--method.beta={beta}", f"--method.latent_dim={dim}", "--evaluation.knn.k=[1,5]")
        for beta in (1, 2)
        for dim in (4, 8)
    ]


def test_methods_data_and_seeds_are_combined(tmp_path: Path) -> None:
    choices = choices_of_lists(["vae", "simvae"], ["digits"], [])
    runs = plan(choices, combinations(["--method.latent_dim=4,8"]), ["0", "3"], tmp_path)
    assert [run.label for run in runs] == [
        f"{method} on digits, method.latent_dim={dim}, seed {seed}"
        for method in ("vae", "simvae")
        for dim in (4, 8)
        for seed in (0, 3)
    ]
    assert len({run.folder for run in runs}) == 8


def test_rows_of_a_table_are_its_experiments_with_the_number_of_seeds_of_the_paper(tmp_path: Path) -> None:
    runs = plan(choices_of_table("simvae_1", ["vae", "simvae"], ["mnist"]), [()], None, tmp_path)
    assert [run.arguments for run in runs] == [
        ("--experiment", f"{row}-mnist", f"--seed={seed}") for row in ("vae", "simvae") for seed in range(3)
    ]


def test_a_row_whose_views_do_not_exist_has_the_command_that_makes_them(tmp_path: Path) -> None:
    (run,) = plan(choices_of_table("assimilation_7", ["sigma_0"], []), [()], ["0"], tmp_path)
    assert run.before.startswith("ssl-bench views perturb CODES --out views/")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "vae"], "give both --method and --data"),
        ([], "nothing to run"),
        (["--method", "vae", "--data", "digits", "--seeds", "0,,2"], "in which a value is empty"),
        (["--method", "vae", "--data", "digits", "--seeds", "0,0"], "0 twice"),
        (["--method", "vae", "--data", "digits", "--seeds", "0,x"], "--seeds must be an integer"),
        (["--method", "vae,veu", "--data", "digits"], "no method named 'veu'"),
        (["--method", "vae", "--data", "digits", "--method.bet", "1,2"], "bet"),
        (["--method", "vae", "--data", "digits", "--methd.beta", "1"], "no key 'methd'"),
        (["--method", "vae", "--data", "digits", "--method.beta", "1,1.0"], "is the same run as"),
        (["--method", "vae", "--data", "digits", "--method.latent_dim", "8,0"], "latent_dim must be"),
        (["--method", "vae", "--data", "digits", "--jobs", "0"], "--jobs must be"),
        (["--method", "vae", "--data", "digits", "--cpus", "2"], "--cpus is for --launcher slurm or ray"),
        (["--method", "vae", "--data", "digits", "--launcher", "ray", "--jobs", "2"], "--jobs is for --launcher local"),
        (["--method", "vae", "--data", "digits", "--launcher", "ray", "--gpus", "x"], "--gpus must be"),
        (["--method", "vae", "--data", "digits", "--launcher", "slurm"], "no command sbatch"),
        (["--method", "vae", "--data", "digits", "--seed", "5"], "--seed is for one run: give --seeds"),
        (["--method", "vae", "--data", "digits", "--scale", "digits"], "--scale is for --table"),
        (["--table", "simvae_1", "--scale", "digits"], "simvae_1 has no smaller scale"),
        (
            ["--method", "vae", "--data", "digits", "--launcher", "ray", "--ray.address", "10.0.0.5"],
            "--ray.address must be HOST:PORT",
        ),
        (["--method", "vae", "--data", "digits", "--launcher", "slurm", "--slurm.hours", "0"], "--slurm.hours must be"),
        (
            ["--method", "vae", "--data", "digits", "--launcher", "ray", "--ray.address", "localhost:1"],
            "no Ray cluster",
        ),
        (["--table", "simvae_2"], "simvae_1"),
        (["--table", "simvae_1", "--rows", "veu"], "no row named 'veu'"),
        (["--table", "simvae_1", "--data", "cifar100"], "no data named 'cifar100'"),
        (["--table", "simvae_1", "--method", "vae"], "--method does not go with --table"),
        (["--method", "vae", "--data", "digits", "--rows", "vae"], "--rows is for --table"),
    ],
)
def test_a_usage_error_is_one_line_before_anything_runs(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)  # no sbatch
    assert main(["sweep", *flags, f"--out={tmp_path}"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_list_without_choices_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing to run"):
        choices_of_lists([], [], [])


def test_flags_replace_the_settings_of_a_file_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: {init_args: {beta: 3.0}}\ntrainer: {max_epochs: 7}\n")
    for flags in (["--method.beta=1,2", f"--config={file}"], ["--config", str(file), "--method.beta=1,2"]):
        runs = plan(choices_of_lists(["vae"], ["digits"], []), combinations(flags), ["0"], tmp_path)
        assert [run.arguments[-3:-1] for run in runs] == [(f"--config={file}", f"--method.beta={b}") for b in "12"]
        assert [run.epochs for run in runs] == [7, 7]
        assert len({run.folder for run in runs}) == 2


def test_a_wrong_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("metod: {}\n")
    with pytest.raises(UserError, match="no key 'metod': did you mean method"):
        combinations([f"--config={file}"])
    file.write_text("method: ssl_bench.methods.simclr.SimCLR\n")
    with pytest.raises(UserError, match="but the command line chooses"):
        plan(choices_of_lists(["vae"], ["digits"], []), combinations([f"--config={file}"]), ["0"], tmp_path)


def test_runs_at_a_time_share_out_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert "OMP_NUM_THREADS" not in environment(0, jobs=1)
    assert environment(0, jobs=2)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(1, jobs=2)["OMP_NUM_THREADS"] == "3"


def test_visible_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert [environment(slot, jobs=2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["4", "5"]
    assert [environment(slot, jobs=4)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == ["4", "5", "7", "4"]


@pytest.mark.parametrize(
    ("flags", "devices"),
    [
        ([], None),
        (["--jobs=2"], "1"),
        (["--jobs=2", "--trainer.accelerator=cpu"], None),
        (["--jobs=2", "--devices=3"], "3"),
        (["--launcher=slurm"], "1"),
        (["--launcher=ray", "--gpus=2"], "2"),
    ],
)
def test_the_number_of_devices_is_decided_in_the_plan(
    flags: list[str], devices: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_bench.runs.sweep_local.visible_gpus", lambda: ["0", "1", "2"])
    options, rest = command_line().parse_known_args(
        ["sweep", "--method=vae", "--data=digits", *flags, f"--out={tmp_path}"]
    )
    (run,) = planned_runs(options, rest)
    given = [flag for flag in run.arguments if flag.startswith("--trainer.devices=")]
    assert given == ([f"--trainer.devices={devices}"] if devices else [])


def test_a_file_whose_trainer_is_no_group_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("trainer: 3\n")
    flags = ["--method=vae", "--data=digits", f"--config={tmp_path / 'mine.yaml'}", f"--out={tmp_path}"]
    assert main(["sweep", *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_without_a_record_has_failed(tmp_path: Path) -> None:
    (run,) = planned(tmp_path)
    ended = Finished.of(run, 1.0, "")
    assert ended.reason.startswith(f"the command has ended, but {run.folder} has no record")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print('ssl-bench: wrong'); sys.exit(2)", "wrong"),
        ("import os, signal; print('epoch 3'); os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (SIGKILL)"),
        ("import sys; sys.exit(1)", "no output"),
        ("print('done')", ""),
    ],
)
def test_the_reason_of_a_failure_is_of_this_attempt(code: str, reason: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("terminated; the same command resumes\n")  # of an earlier attempt
    assert carry_out([sys.executable, "-c", code], log, tmp_path) == reason
    assert log.read_text().startswith("terminated")


def test_a_node_without_the_folder_of_the_sweep_is_an_error(tmp_path: Path) -> None:
    assert "this node has no folder" in carry_out(["true"], tmp_path / "a.log", tmp_path / "none")


def test_a_command_ignores_the_signal_of_submitit(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('alive')"
    assert carry_out([sys.executable, "-c", code], tmp_path / "a.log", tmp_path) == ""
    assert "alive" in (tmp_path / "a.log").read_text()


def test_runs_of_a_sweep_that_is_interrupted_write_a_checkpoint_of_their_step(tmp_path: Path) -> None:
    (run,) = planned(tmp_path, "--trainer.max_epochs=100000")
    flags = [*SMALL, "--trainer.max_epochs=100000", "--seeds=0"]
    command = [
        sys.executable,
        "-m",
        "ssl_bench.cli",
        "sweep",
        "--method=vae",
        "--data=digits",
        *flags,
        f"--out={tmp_path}",
    ]
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # pytest's workers ignore Ctrl-C
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=default)
    wait_for_training([run])
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(60) == 1
    assert "terminated" in log_of(run).read_text().splitlines()[-1]
    assert not run.done


@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_launcher_without_its_extra_is_refused(
    launcher: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ssl_bench.runs.sweep.find_spec", lambda name: None if name == package else object())
    assert main(["sweep", "--method=vae", "--data=digits", f"--launcher={launcher}"]) == 2
    assert f"needs the package {package}: pip install 'ssl_bench[{launcher}]'" in capsys.readouterr().err


def test_missing_runs_are_run_and_failed_ones_are_named_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--method=vae", "--data=digits", "--epochs=1", *SMALL, f"--out={tmp_path}"]
    command += ["--method.beta=1,1e39", "--jobs=2"]  # the loss of the second is not finite in the first step
    assert main([*command, "--dry_run"]) == 0
    assert "2 runs, 0 not to be run, 2 to run" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "1 of 2 runs are missing: vae on digits, method.beta=1e39, seed 0" in printed.err
    assert "knn_5" in printed.out
    (record,) = tmp_path.glob("*/metrics.json")
    written = record.stat().st_mtime_ns
    assert main(command[:-2]) == 0
    assert record.stat().st_mtime_ns == written
    assert "1 runs, 1 not to be run, 0 to run" in capsys.readouterr().out


def test_a_killed_sweep_resumes_and_its_runs_equal_single_runs(tmp_path: Path) -> None:
    flags = ["--method=vae", "--data=digits", "--epochs=2", *SMALL]
    command = [sys.executable, "-m", "ssl_bench.cli", "sweep", *flags, "--seeds=0,1", f"--out={tmp_path / 'sweep'}"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not list((tmp_path / "sweep").glob("*/metrics.json")):  # the first run is done, the second is about to start
        assert killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for seed in (0, 1):
        assert main(["bench", *flags, f"--seed={seed}", f"--out={tmp_path / 'single'}"]) == 0
    for single in (tmp_path / "single").glob("vae-*"):
        swept = tmp_path / "sweep" / single.name
        ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (swept, single))
        assert ours["metrics"] == theirs["metrics"]
        weights, expected = (load_method(folder).state_dict() for folder in (swept, single))
        assert all(torch.equal(weights[name], value) for name, value in expected.items())


def planned(out: Path, *flags: str) -> list[PlannedRun]:
    return plan(choices_of_lists(["vae"], ["digits"], []), combinations([*SMALL, *flags]), ["0"], out)


def weights_equal(folder: Path, expected: Path) -> bool:
    weights, others = (load_method(path).state_dict() for path in (folder, expected))
    return all(torch.equal(weights[name], value) for name, value in others.items())


def wait_for_training(runs: Sequence[PlannedRun]) -> None:
    """Wait until all runs have a checkpoint."""
    until = time.monotonic() + 120
    while not all(list(run.folder.glob("checkpoints/*.ckpt")) for run in runs):
        assert time.monotonic() < until
        time.sleep(0.05)


def attempts(run: PlannedRun) -> int:
    """How often the command of a run was started; each start must resume after the last checkpoint."""
    log = log_of(run).read_text()
    epochs = [int(epoch) for epoch in re.findall(r"^epoch (\d+)/", log, re.MULTILINE)]
    assert sorted(set(epochs)) == list(range(1, run.epochs + 1))
    assert len(epochs) <= run.epochs + 1  # an epoch whose checkpoint was not yet written is repeated
    return log.count("images, 1 step of")


def processes(*words: str) -> list[int]:
    """Processes whose command line has these words."""
    return [
        int(folder.name) for folder in Path("/proc").glob("[0-9]*") if set(words) <= set(command_line_of(folder.name))
    ]


def command_line_of(process: int | str) -> list[str]:
    """Words of the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def parent(process: int) -> int:
    """Parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def pre_empt(run: PlannedRun) -> None:
    """Send the signal of a pre-emption to the job of submitit, as Slurm does."""
    from submitit.local.local import LocalJobEnvironment

    wait_for_training([run])
    for process in processes("submitit.core._submit", str(log_of(run).parent)):
        os.kill(process, LocalJobEnvironment._usr_sig())


def kill_node(cluster: Cluster, node: Any, runs: Sequence[PlannedRun]) -> None:
    """Kill a node with the run on it; Ray kills its own processes only, as if the machine were still there."""
    wait_for_training(runs)
    cluster.remove_node(node, allow_graceful=False)
    orphans: list[int] = []
    until = time.monotonic() + 120
    while not orphans:
        assert time.monotonic() < until
        time.sleep(0.05)
        started = processes("ssl_bench.cli", f"--out={runs[0].folder.parent}")
        orphans = [one for one in started if not "".join(command_line_of(parent(one))).startswith("ray::")]
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)


def test_runs_of_submitit_equal_single_runs_and_failures_have_their_reason(tmp_path: Path) -> None:
    runs = planned(tmp_path / "sweep", "--trainer.max_epochs=1", "--method.beta=1,1e39")
    found = list(run_slurm(runs, (), hours=1, partition="", cpus=1, gpus=0, cluster="local"))
    reasons = {ended.run: ended.reason for ended in found}
    assert reasons[runs[0]] == ""
    assert reasons[runs[1]].startswith("non-finite loss at step 1")
    assert main(["bench", *runs[0].arguments, f"--out={tmp_path / 'single'}"]) == 0
    assert weights_equal(runs[0].folder, tmp_path / "single" / runs[0].folder.name)


def test_a_job_that_is_pre_empted_is_queued_again_and_resumes(tmp_path: Path) -> None:
    (run,) = planned(tmp_path / "sweep", "--trainer.max_epochs=300")
    ended = run_slurm([run], (), hours=1, partition="", cpus=1, gpus=0, cluster="local")
    interrupted = threading.Thread(target=pre_empt, args=(run,))
    interrupted.start()
    (found,) = ended
    interrupted.join()
    assert found.reason == ""
    assert attempts(run) == 2
    assert main(["bench", *run.arguments, f"--out={tmp_path / 'single'}"]) == 0
    assert weights_equal(run.folder, tmp_path / "single" / run.folder.name)


def test_resources_that_no_node_of_a_cluster_has_are_refused(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        with pytest.raises(UserError, match=r"--cpus 64 --gpus 1: no node .* its nodes have 1 CPU cores, 0 GPUs"):
            list(run_ray(planned(tmp_path), (), address=cluster.address, cpus=64, gpus=1))
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def test_tasks_of_ray_resume_when_a_node_is_killed(tmp_path: Path) -> None:
    runs = planned(tmp_path / "sweep", "--trainer.max_epochs=300", "--method.beta=1,2")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    try:
        ended = run_ray(runs, (), address=cluster.address, cpus=1, gpus=0)
        killer = threading.Thread(target=kill_node, args=(cluster, node, runs))
        killer.start()
        found = list(ended)
        killer.join()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    assert [one.reason for one in found] == ["", ""]
    assert all(run.done for run in runs)
    assert sorted(map(attempts, runs)) == [1, 2]
    assert main(["bench", *runs[0].arguments, f"--out={tmp_path / 'single'}"]) == 0
    assert weights_equal(runs[0].folder, tmp_path / "single" / runs[0].folder.name)
