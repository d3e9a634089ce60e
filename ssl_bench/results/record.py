"""The run record: what was run, on what, how long it took and what came out."""

import datetime
import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssl_bench.files import replacing

SCHEMA = 1
PACKAGES = ("ssl_bench", "torch", "torchvision", "lightning", "scikit-learn", "timm")


@dataclass
class Record:
    """What ``metrics.json`` holds; see the README for what each key means.

    `targets` are the names of all targets of the data, so that ``gmm/log_likelihood`` and ``gmm/accuracy_hair`` can
    be told apart: the second has a target's name at its end.
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
    schema: int = SCHEMA
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    scored: dict[str, str] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)
    evaluations: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` whole or not at all."""
        with replacing(folder / "metrics.json") as file:
            file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record of a run folder.

        Raises:
            FileNotFoundError: the run has none yet.
        """
        known = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})


def commit() -> str | None:
    """Commit of the checkout that the package is imported from, marked where it has changes; none outside one."""
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


def peak_memory_mb() -> float:
    """Most host memory this process has held, in MiB."""
    unit = 1024 if sys.platform == "linux" else 1024**2  # getrusage: KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
