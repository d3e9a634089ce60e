"""Compute the fingerprint of a data set, and check that the data of a run folder are the ones that are given."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Literal, get_args

import torch
from torch.nn.functional import adaptive_avg_pool2d

from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Split
from ssl_bench.distributed import share_out
from ssl_bench.errors import UserError
from ssl_bench.results.fingerprint import Fingerprint

SAMPLES = 16
"""Number of images of a split whose brightness is measured."""


def fingerprint(data: DataModule) -> Fingerprint:
    """The fingerprint of a data set after ``setup``, the same in every process and on every device.

    The brightness is that of the quarters of evenly spaced images of the splits ``fit`` and ``test``, which together
    contain images of all splits, and of synthetic images too. Only these images are read.
    """
    splits: tuple[Split | Literal["fit"], ...] = (*get_args(Split), "fit")
    labels = hashlib.sha256()
    for name in splits:
        labels.update(data.split(name).labels.to(torch.int32).contiguous().numpy().tobytes())
    brightness: list[str] = []
    for name in ("fit", "test"):
        images = data.split(name)
        rows = torch.linspace(0, len(images) - 1, min(SAMPLES, len(images)), dtype=torch.float64).long()
        values = images[rows].images.cpu()
        digits = ".5e" if values.is_floating_point() else ".1f"
        # Of each channel and quarter, since a mirrored image or other order of channels has the same mean.
        means = adaptive_avg_pool2d(values.double(), 2) if values.ndim == 4 else values.double()
        brightness += [f"{value:{digits}}" for value in means.flatten().tolist()]
    targets = json.dumps([[target.name, *target.classes] for target in data.targets])
    return Fingerprint(
        images={name: len(data.split(name)) for name in splits},
        shape=tuple(data.image_shape),
        targets=hashlib.sha256(targets.encode()).hexdigest()[:8],
        labels=labels.hexdigest()[:8],
        brightness=" ".join(brightness),
    )


def record_data(data: DataModule, folder: Path, advice: str = "") -> None:
    """Write the fingerprint of the data to a run folder if it has none, and check it otherwise.

    All processes must call this function; each checks its own data.

    Args:
        data: the data, after ``setup``.
        folder: the run folder, the same in every process.
        advice: see `check_data`.

    Raises:
        UserError: see `check_data`; or the file cannot be written.
    """
    found = fingerprint(data)

    def read_or_write() -> Fingerprint:
        try:
            if (known := Fingerprint.read(folder)) is None:
                found.write(folder)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from error
        return known or found

    (recorded,) = share_out([read_or_write])  # other ranks may not see the file yet, for example on NFS
    refuse_difference(found.difference(recorded), data, folder, advice)


def check_data(data: DataModule, folder: Path, advice: str = "") -> None:
    """Check that data are those of a run folder, if its fingerprint is known.

    Args:
        data: the data, after ``setup``.
        folder: the run folder.
        advice: what to do otherwise; default another name or output folder.

    Raises:
        UserError: the data differ.
    """
    if (recorded := Fingerprint.read(folder)) is not None:
        refuse_difference(fingerprint(data).difference(recorded), data, folder, advice)


def refuse_difference(difference: str, data: DataModule, folder: Path, advice: str) -> None:
    """Refuse data that differ from those of a run folder.

    Raises:
        UserError: `difference` is not empty.
    """
    if not difference:
        return
    if not advice:
        named = "name" in inspect.signature(type(data).__init__).parameters
        advice = f"give {'--data.name NAME to distinguish the data sets, or ' if named else ''}another --out"
    raise UserError(f"{folder} is a run on other data than those in {data.root}: different {difference}; {advice}")
