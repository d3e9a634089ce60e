"""Faults at random moments of a run: is a run lost, hung or recorded wrong?

    python benchmarks/faults.py            print the table
    python benchmarks/faults.py --write    also write it to benchmarks/results/faults.md

Every run is `ssl-bench bench --method simvae --data digits` with small networks. After a fault the same command is
repeated until the end. Then weights, metrics and epochs must be bit-equal to those of an undisturbed run.

- kill: SIGKILL at a random moment.
- disk: the run folder is on a file system with too little space, of a random size. Then space is added.
- start: the same command is started twice. Half of the pairs have `--wait`.
- SIGTERM: two processes train together, started as by torchrun or by Lightning (`--devices 2`). At a random moment one
  of them or both receive SIGTERM. In half of the runs the moment is after the first checkpoint and before scoring.

Commands are forked from a process that has imported torch and Lightning, because the imports take most of the time of
such a short run. The exit code is 1 if there is any lost, hung or wrong run or any traceback.
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from benchmarks.rounds import provenance, write
from ssl_bench.cli import main as ssl_bench
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.results.record import Record

COMMAND = [
    "bench", "--method=simvae", "--data=digits", "--trainer.accelerator=cpu",
    "--method.encoder.hidden=[32]", "--method.decoder.hidden=[32]", "--evaluation.protocols=[knn,kmeans]",
]  # fmt: skip
EPOCHS = {"": 4, "torchrun": 24, "Lightning": 24}
"""Epochs by launcher. Two processes train longer, so that training is long enough to be hit."""
LIMIT = 60.0
"""Seconds after which a process that has not ended is counted as hung."""
GRACE = 5.0
"""Seconds between the first error of a process and the signal to the others of its group."""
NAMESPACE = "SSL_BENCH_FAULTS_NAMESPACE"
"""Environment variable that is set in the mount namespace in which small file systems can be mounted."""


@dataclass
class Tally:
    """Outcomes of all faults of one kind.

    Attributes:
        faults: number of faults that hit a running command.
        wrong: number of failures by kind.
        phases: number of faults in each phase of a run.
    """

    faults: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)

    def hit(self, phase: str) -> None:
        """Count a fault."""
        self.faults += 1
        self.phases[phase] += 1

    def add(self, other: "Tally") -> None:
        """Add the outcomes of other faults of the same kind."""
        self.faults += other.faults
        self.wrong += other.wrong
        self.phases += other.phases


def carry_out(arguments: list[str], environment: dict[str, str], log: str, limit: int | None) -> None:
    """Carry out a command in a forked process.

    Args:
        arguments: arguments of `ssl-bench`.
        environment: variables of the launcher.
        log: file that output and errors are appended to.
        limit: maximum size of a file in bytes; None for no limit.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
        sys.dont_write_bytecode = True  # truncated bytecode would fail at every later import
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if "RANK" in environment:
        from lightning.pytorch.utilities import rank_zero_only

        # Usually set during the import, which was before the fork.
        rank_zero_only.rank = int(environment["RANK"])  # type: ignore[attr-defined]
    sys.argv = [str(Path(sys.executable).with_name("ssl-bench")), *arguments]  # Lightning repeats it for --devices 2
    sys.exit(ssl_bench(arguments))


@dataclass
class Reference:
    """An undisturbed run.

    Attributes:
        seconds: duration.
        training: duration of the part of it between the first checkpoint and scoring.
        size: total size of its files in bytes.
        result: see `Runner.result`.
    """

    seconds: float
    training: float
    size: int
    result: dict[str, Any]


class Runner:
    """Starts commands in the folder of one run.

    Args:
        folder: a new folder for run folders and logs.
        launcher: what starts two processes that train together: ``torchrun`` or ``Lightning``; empty for one process.
    """

    def __init__(self, folder: Path, launcher: str = ""):
        self.out, self.log, self.launcher = folder / "runs", folder / "log.txt", launcher
        self.children: set[int] = set()
        """Processes that Lightning has started."""
        folder.mkdir()
        self.context = multiprocessing.get_context("forkserver")

    def start(self, *flags: str, limit: int | None = None) -> list[BaseProcess]:
        """Start the command once; its processes, except those that Lightning starts."""
        arguments = [*COMMAND, f"--epochs={EPOCHS[self.launcher]}", f"--out={self.out}", *flags]
        arguments += ["--devices=2"] if self.launcher == "Lightning" else []
        environments: list[dict[str, str]] = [{}]
        if self.launcher == "torchrun":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                     "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "faults"}  # fmt: skip
            environments = [group | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
        started: list[BaseProcess] = []
        for environment in environments:
            process = self.context.Process(target=carry_out, args=(arguments, environment, str(self.log), limit))
            process.start()
            started.append(process)
        return started

    def alive(self, processes: list[BaseProcess]) -> list[int]:
        """Processes of a command that have not ended, those that Lightning has started included."""
        for process in processes:
            with suppress(OSError):
                words = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                self.children |= {int(word) for word in words if self.launcher == "Lightning"}
        own = [process.pid for process in processes if process.is_alive() and process.pid]
        return own + [child for child in self.children if Path(f"/proc/{child}").exists()]

    def end(self, processes: list[BaseProcess], tally: Tally) -> list[int]:
        """Wait for processes; exit codes. Those that do not end are counted as hung and killed.

        As torchrun does, SIGTERM is sent to the other process of a group when one has ended with an error.
        """
        limit, terminated = time.monotonic() + LIMIT, self.launcher != "torchrun"
        while (alive := self.alive(processes)) and time.monotonic() < limit:
            time.sleep(0.05)
            if not terminated and any(process.exitcode for process in processes):
                time.sleep(GRACE)
                terminated = True
                for process in processes:
                    process.terminate()
        if alive:
            tally.wrong["hung"] += 1
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.children.clear()
        return [process.exitcode or 0 for process in processes]

    def phase(self) -> str:
        """The phase of the run, from the files that exist."""
        if any(self.out.glob("*/metrics.json")):
            return "recorded"
        if any(self.out.glob("*/features")):
            return "scoring"
        return "training" if any(self.out.glob("*/checkpoints/last.ckpt")) else "start"

    def wait_for(self, phase: str, processes: list[BaseProcess]) -> float:
        """Wait for a phase of the run; the time at which it started, or at which a process has ended."""
        while self.phase() != phase and all(process.is_alive() for process in processes):
            time.sleep(0.01)
        return time.perf_counter()

    def result(self) -> dict[str, Any]:
        """Results to compare with those of an undisturbed run."""
        folders = sorted(self.out.iterdir())
        record = Record.read(folders[0])
        weights = hashlib.sha256()
        for name, tensor in load_method(folders[0]).state_dict().items():
            weights.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        left = [path.name for path in folders[0].rglob("*") if path.name.startswith(".")]
        return {
            "folders": [folder.name for folder in folders],
            "metrics": record.metrics,
            "failed": record.failed,
            "epochs": record.epochs,
            "weights": weights.hexdigest(),
            "left behind": left,
        }

    def finish(self, tally: Tally, reference: Reference) -> None:
        """Repeat the command without a fault, and compare the result."""
        codes = self.end(self.start(), tally)
        try:
            found = self.result() if not any(codes) else None
        except Exception as error:
            print(f"{self.log}: {type(error).__name__}: {error}", file=sys.stderr)
            found = None
        if found is None:
            tally.wrong["lost"] += 1
        elif found != reference.result:
            tally.wrong["recorded wrong"] += 1
            expected = reference.result
            print({key: (found[key], expected[key]) for key in found if found[key] != expected[key]}, file=sys.stderr)
        text = self.log.read_text(encoding="utf-8", errors="replace")
        tally.wrong["tracebacks"] += text.count("Traceback")
        if any(tally.wrong.values()):
            print(f"{self.out.parent.name}: {dict(tally.wrong)}\n{text}", file=sys.stderr)


def kill(runner: Runner, rng: random.Random, tally: Tally, reference: Reference) -> None:
    """Kill a run at a random moment, and finish it."""
    while not tally.faults:
        (process,) = runner.start()
        process.join(rng.uniform(0, reference.seconds))
        if process.is_alive():
            tally.hit(runner.phase())
            process.kill()
        else:  # complete before the kill: another run
            shutil.rmtree(runner.out)
        runner.end([process], tally)
    runner.finish(tally, reference)


def full_disk(runner: Runner, rng: random.Random, tally: Tally, reference: Reference) -> None:
    """Run on a file system with too little space, add space and finish the run."""
    runner.out.mkdir()
    while not tally.faults:
        with small_disk(runner.out, rng.randrange(reference.size)) as limit:
            if any(runner.end(runner.start(limit=limit), tally)):
                tally.hit(runner.phase())
                if limit is None:
                    subprocess.run(["mount", "-o", "remount,size=1g", runner.out], check=True)
                runner.finish(tally, reference)
        for folder in runner.out.iterdir():  # there was enough space: another run with less
            shutil.rmtree(folder)


@contextmanager
def small_disk(folder: Path, space: int) -> Iterator[int | None]:
    """Mount a file system of this size on a folder; without the permission, yield a maximum size of files instead."""
    if NAMESPACE not in os.environ:
        yield space // 4
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={space + 1}", "tmpfs", folder], check=True)
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def start_twice(runner: Runner, rng: random.Random, tally: Tally, reference: Reference) -> None:
    """Start the same command twice. With --wait both succeed; else the second may be refused."""
    flags = rng.choice([[], ["--wait"]])
    while not tally.faults:
        processes = runner.start(*flags)
        processes[0].join(rng.choice([0.0, rng.uniform(0, reference.seconds)]))
        if processes[0].is_alive():
            tally.hit(runner.phase())
            codes = runner.end(processes := [*processes, *runner.start(*flags)], tally)
            if (flags and any(codes)) or 0 not in codes or not set(codes) <= {0, 1}:
                tally.wrong["lost"] += 1
        else:  # complete before the second start: another run
            shutil.rmtree(runner.out)
    runner.finish(tally, reference)


def terminate(runner: Runner, rng: random.Random, tally: Tally, reference: Reference) -> None:
    """Send SIGTERM to one or both of two processes that train together, and finish the run."""
    while not tally.faults:
        processes, seconds = runner.start(), reference.seconds
        if rng.random() < 0.5:
            runner.wait_for("training", processes)
            seconds = reference.training
        processes[0].join(rng.uniform(0, seconds))
        if all(process.is_alive() for process in processes):
            tally.hit(f"{runner.launcher}, {runner.phase()}")
            alive = runner.alive(processes)
            for pid in rng.choice([alive, alive[:1], alive[-1:]]):
                os.kill(pid, signal.SIGTERM)
            runner.end(processes, tally)
        else:  # complete before the signal: another run
            runner.end(processes, tally)
            shutil.rmtree(runner.out)
    runner.finish(tally, reference)


FAULTS = {"kill": kill, "disk": full_disk, "start": start_twice, "SIGTERM": terminate}


def undisturbed(folder: Path, launcher: str) -> Reference:
    """Run the command without a fault.

    Raises:
        SystemExit: it failed.
    """
    runner = Runner(folder / f"undisturbed-{launcher}", launcher)
    start = time.perf_counter()
    processes = runner.start()
    training = -runner.wait_for("training", processes) + runner.wait_for("scoring", processes)
    if any(runner.end(processes, Tally())):
        raise SystemExit(runner.log.read_text(encoding="utf-8"))
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in runner.out.rglob("*"))
    print(f"undisturbed {launcher}: {seconds:.1f} s, {training:.1f} s of training, {size:,} bytes", file=sys.stderr)
    return Reference(seconds, training, size, runner.result())


def inject(kind: str, runs: int, seed: int, folder: Path, references: dict[str, Reference]) -> Tally:
    """Outcomes of all faults of one kind; single processes run two at a time."""

    def one(number: int) -> Tally:
        launcher = ("torchrun", "Lightning")[number % 2] if kind == "SIGTERM" else ""
        tally, runner = Tally(), Runner(folder / f"{kind}-{number}", launcher)
        FAULTS[kind](runner, random.Random(f"{seed} {kind} {number}"), tally, references[launcher])
        shutil.rmtree(runner.out)
        return tally

    total = Tally()
    with ThreadPoolExecutor(2 if kind in ("kill", "disk") else 1) as threads:
        for tally in threads.map(one, range(runs)):
            total.add(tally)
    print(f"{kind}: {total}", file=sys.stderr)
    return total


def table(tallies: dict[str, Tally]) -> str:
    """Markdown table of the outcomes."""
    wrong = ("lost", "hung", "recorded wrong", "tracebacks")
    lines = [f"| fault | number | {' | '.join(wrong)} | phase of the run |", "|---" * (len(wrong) + 3) + "|"]
    for kind, tally in tallies.items():
        phases = ", ".join(f"{phase} {count}" for phase, count in tally.phases.most_common())
        lines.append(f"| {kind} | {tally.faults} | {' | '.join(str(tally.wrong[w]) for w in wrong)} | {phases} |")
    return "\n".join(lines)


def main() -> int:
    """Run all faults and print the table; the exit code is 1 if anything was lost, hung or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, number in {"kills": 50, "disks": 20, "starts": 10, "signals": 20}.items():
        parser.add_argument(f"--{kind}", type=int, default=number, help=f"default {number}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments and sizes; default 0")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.disks and NAMESPACE not in os.environ:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        if shutil.which("unshare") and subprocess.run([*unshare, "true"], check=False).returncode == 0:
            os.environ[NAMESPACE] = "1"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
    origin = provenance()
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_bench.runs.train", "ssl_bench.methods.simvae"])
    warm_up = context.Process(target=os.getpid)  # starts the server, which imports torch and Lightning
    warm_up.start()
    warm_up.join()
    start = time.perf_counter()
    counts = {"kill": options.kills, "disk": options.disks, "start": options.starts, "SIGTERM": options.signals}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        launchers = ("", *(("torchrun", "Lightning") if options.signals else ()))
        references = {launcher: undisturbed(folder, launcher) for launcher in launchers}
        tallies = {kind: inject(kind, count, options.seed, folder, references) for kind, count in counts.items()}
    minutes = (time.perf_counter() - start) / 60
    disk = "small file systems" if NAMESPACE in os.environ else "a maximum size of files"
    text = f"""# Runs under faults

{origin}. {minutes:.0f} minutes. Disks: {disk}.

After each fault the same command was repeated until the end, and its weights, metrics and epochs were compared with
those of an undisturbed run. A run is lost if the command then fails, and hung if it has not ended after {LIMIT:.0f} s.

{table(tallies)}
"""
    print(text)
    if options.write:
        write("faults", text)
    return int(any(sum(tally.wrong.values()) for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
