"""Inputs of `benchmarks/inputs.py`: one module per kind of input, each with a function ``mutate(rng, folder)``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SIZE = 8
"""Height and width of the images."""


def nothing(run: Path, output: str) -> str:
    """No fault can be found in the result."""
    return ""


def score_pixels(data: str, root: Path, *flags: str) -> list[str]:
    """Arguments that read a data set and score its pixels by 1-NN."""
    knn = ["--evaluation.protocols=[knn]", "--evaluation.knn.k=[1]"]
    return ["evaluate", "pixels", f"--data={data}", f"--data.root={root}", f"--data.size={SIZE}", *flags, *knn]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        description: what is odd or wrong about it.
        arguments: arguments of `ssl-bench`, without ``--out``.
        codes: right exit codes.
        says: a text that the output must contain.
        check: finds the fault in the run folder and the output after exit code 0: ``silent drop``, ``wrong score`` or
            none, an empty string.
    """

    description: str
    arguments: list[str]
    codes: tuple[int, ...] = (0,)
    says: str = ""
    check: Callable[[Path, str], str] = nothing
