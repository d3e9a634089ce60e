"""Run records: configuration, environment, time and metrics of a run."""

import datetime
import json
import platform
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.results.shareable import shareable

SCHEMA = 2
PACKAGES = ("ssl_bench", "torch", "torchvision", "lightning", "scikit-learn", "timm")


@dataclass
class Record:
    """The content of ``metrics.json``.

    Attributes:
        method: name of the method, with its variant.
        data: name of the data set.
        seed: seed of the run.
        epochs: epochs of training.
        untrained: whether the encoder has random weights, because there were no epochs and it is not pretrained.
        config_hash: hash of the configuration, as in the name of the run folder.
        setting_hash: hash of the configuration without the seed; runs with equal setting hashes are averaged.
        commit: commit of the checkout at the start, with ``-dirty`` if it had changes; None outside a checkout.
        command: the command line.
        device: name of the GPU, or ``cpu``.
        processor: name of the CPU; empty if it is not known, or in records of schema 1.
        world_size: number of processes of training.
        global_batch: number of images of all processes in a step of the optimizer; None without training.
        parameters: number of parameters of the encoder; None for features in a file, or in records of schema 1.
        images_seen: number of images of all steps and processes, each view of an image not counted; None without
            training, or in records of schema 1.
        uses_labels: whether the encoder was trained with labels.
        family: family of the method, such as ``generative``; empty if it is not known, or in older records.
        schema: version of this format.
        date: date of the run, ISO 8601.
        versions: versions of packages.
        seconds: wall time of training (``fit``), encoding (``extract``) and each protocol.
        peak_memory_mb: peak memory of the GPU, or of the process on a CPU, in MiB.
        metrics: metrics by name; accuracies in percent.
        failed: for each protocol that failed, the reason in one line.
        notes: for each protocol that has some, what its metrics leave out, in one line.
        scored: for each metric, the protocol, its version, the hash of its settings and the commit. Records of earlier
            versions of this package have no version of the protocol.
        targets: names of all targets of the data. If a metric belongs to one target, its name ends with the name of the
            target, such as ``gmm/accuracy_hair``.
        skipped_targets: targets without metrics, see `Result`.
        reference: results that a paper reports, see `Reference`.
        evaluations: command lines of later `ssl-bench evaluate` commands.
        fingerprint: the fields of `Fingerprint` of the data; empty for features in a file.
        folder: the folder from which the record was read; it is not written.
    """

    method: str
    data: str
    seed: int
    epochs: int
    config_hash: str
    setting_hash: str
    commit: str | None
    command: str
    device: str
    untrained: bool = False
    world_size: int = 1
    global_batch: int | None = None
    processor: str = field(default_factory=lambda: processor())
    parameters: int | None = None
    images_seen: int | None = None
    uses_labels: bool = False
    family: str = ""
    schema: int = SCHEMA
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    scored: dict[str, str] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    skipped_targets: list[str] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)
    evaluations: list[str] = field(default_factory=list)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, repr=False, compare=False)

    @property
    def run(self) -> str:
        """Name of the run in messages."""
        return f"{self.method} on {self.data}, seed {self.seed}, {self.config_hash}"

    @property
    def costs(self) -> dict[str, float]:
        """Wall times, memory and sizes by the names of their columns, such as ``seconds/fit``."""
        sizes = {"parameters": self.parameters, "images_seen": self.images_seen}
        times = {f"seconds/{part}": time for part, time in self.seconds.items()}
        known = {name: float(size) for name, size in sizes.items() if size is not None}
        return times | {"peak_memory_mb": self.peak_memory_mb} | known

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` atomically, without paths of this machine and secrets, see `shareable`."""
        with replacing(folder / "metrics.json") as file:
            content = {key: value for key, value in asdict(self).items() if key != "folder"}
            # JSON has no NaN: null is a metric without a value.
            content["metrics"] = {name: value if isfinite(value) else None for name, value in self.metrics.items()}
            file.write_text(json.dumps(shareable(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def check_types(self) -> None:
        """Check the values that tables need.

        Raises:
            TypeError: a name is not text, or a seed, metric or duration is not a number.
        """
        names = (self.method, self.data, self.config_hash, self.setting_hash)
        if not isinstance(self.metrics, dict) or not isinstance(self.seconds, dict):
            raise TypeError("metrics and seconds must be mappings")
        numbers = (*self.metrics.values(), *self.seconds.values())
        if not all(isinstance(name, str) for name in names) or not all(type(n) in (int, float) for n in numbers):
            raise TypeError("names must be text, and metrics and seconds numbers")
        if type(self.seed) is not int or type(self.epochs) is not int:
            raise TypeError("seed and epochs must be integers")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read the record of a run folder.

        Raises:
            FileNotFoundError: the folder has no record.
            UserError: the record is damaged.
        """
        file = folder / "metrics.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(known, dict) and isinstance(known.get("metrics"), dict):
                known["metrics"] = {key: nan if value is None else value for key, value in known["metrics"].items()}
                known = {"processor": "", "date": "", "versions": {}} | known  # not those of today
            record = cls(
                **{name: known[name] for name in cls.__dataclass_fields__ if name in known} | {"folder": folder}
            )
            record.check_types()
            return record
        except (ValueError, TypeError) as error:
            raise UserError(f"{file} is not a readable record: delete it and repeat the command of the run") from error


def commit() -> str | None:
    """Commit of the checkout of the package, with ``-dirty`` if it has changes; None outside a checkout."""
    package = Path(__file__).parent
    git = ["git", "-C", str(package)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        tracked = subprocess.run([*git, "ls-files", __file__], capture_output=True, text=True, check=True).stdout
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}{'-dirty' if dirty else ''}" if tracked else None


def processor() -> str:
    """Name of the CPU; empty if it is not known."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    lines = info.read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def peak_memory_mb() -> float:
    """Peak host memory of this process, in MiB."""
    unit = 1024 if sys.platform == "linux" else 1024**2  # getrusage: KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
