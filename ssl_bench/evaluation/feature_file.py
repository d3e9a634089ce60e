"""Read features from a file of an external encoder; splits that it does not contain are held out."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_bench.data.splits import hold_out
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation.features import Features, FeatureSplit

TEST_FRACTION, VALIDATION_FRACTION, SEED = 0.2, 0.1, 0
SUFFIXES = (".safetensors", ".npz", ".npy")


def read_features(path: Path, labels: Path | None = None) -> Features:
    """Read features ``(N, d)`` and labels ``(N,)`` from a file.

    A ``.safetensors`` or ``.npz`` file contains ``train_features``, ``train_labels``, ``test_features``,
    ``test_labels`` and optionally ``validation_features`` and ``validation_labels``; or only ``features`` and
    ``labels``. A ``.npy`` file contains only the features. Features in ``.safetensors`` and ``.npy`` files are
    memory-mapped in the type of the file, those in ``.npz`` files are read into memory. Splits that are held out are
    rows of the same tensor.

    Args:
        path: path of the file.
        labels: path of a ``.npy`` file with the labels; only for features in a ``.npy`` file.

    Returns:
        Three splits. Missing splits are held out, stratified by label with a fixed seed: a fifth for test, then
        a tenth of the rest for validation.

    Raises:
        UserError: the file cannot be read, or features and labels are missing, of different lengths or not finite.
    """
    arrays = _arrays(path)
    if labels is not None:
        arrays["labels"] = _arrays(labels)["features"]
    names: dict[str, int] = {}
    if "features" in arrays:
        x, y = _pair(path, arrays, "", names)
        parts = dict(zip(("train", "test"), _hold_out(FeatureSplit(x, y), TEST_FRACTION), strict=True))
    else:
        parts = {split: FeatureSplit(*_pair(path, arrays, f"{split}_", names)) for split in ("train", "test")}
        if "validation_features" in arrays:
            parts["validation"] = FeatureSplit(*_pair(path, arrays, "validation_", names))
    if "validation" not in parts:
        parts["train"], parts["validation"] = _hold_out(parts["train"], VALIDATION_FRACTION)
    dims = {split: part.features.shape[1] for split, part in parts.items()}
    if len(set(dims.values())) > 1:
        raise UserError(f"{path}: features of {dims} numbers; all splits must come from one encoder")
    target = Target("label", tuple(names))
    return Features(parts["train"], parts["validation"], parts["test"], (target,))


def _hold_out(split: FeatureSplit, fraction: float) -> tuple[FeatureSplit, FeatureSplit]:
    """The rest of a split, and the rows that are held out; the features are not copied."""
    x, y, rows = split
    held = hold_out(y, fraction, SEED)
    rows = torch.arange(len(x)) if rows is None else rows
    return FeatureSplit(x, y[~held], rows[~held]), FeatureSplit(x, y[held], rows[held])


def _arrays(path: Path) -> dict[str, "Tensor | np.ndarray"]:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: features are read from {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        return {"features": np.load(path, mmap_mode="c", allow_pickle=False)}
    except (OSError, EOFError, ValueError, BadZipFile, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error


def _pair(
    path: Path, arrays: dict[str, "Tensor | np.ndarray"], split: str, names: dict[str, int]
) -> tuple[Tensor, Tensor]:
    """Features and labels of one split; new classes are added to `names` and numbered in order."""
    missing = [name for name in (f"{split}features", f"{split}labels") if name not in arrays]
    if missing:
        known = ", ".join(sorted(arrays))
        raise UserError(
            f"{path}: no {missing[0]} (it contains {known}); see `ssl-bench evaluate --help` for the names, "
            "and give the labels of a .npy with --labels"
        )
    x, y = torch.as_tensor(arrays[f"{split}features"]), np.asarray(arrays[f"{split}labels"])
    if x.ndim != 2 or y.ndim != 1:
        raise UserError(f"{path}: {split}features of shape {tuple(x.shape)} with labels of shape {y.shape}; "
                        "expected (images, features) and (images,)")  # fmt: skip
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise UserError(f"{path}: {split}labels that are not finite; give -1 where an image has none")
    if not len(x):
        raise UserError(f"{path}: no {split}features; give some images")
    if len(x) != len(y):
        raise UserError(f"{path}: {len(x)} {split}features but {len(y)} {split}labels; give one label for each")
    bad = sum(int((~part.float().isfinite()).any(1).sum()) for part in x.split(4096))
    if bad:
        raise UserError(
            f"{path}: {split}features of {bad} of {len(x)} images are not finite; encode these images again"
        )
    found, codes = np.unique(y, return_inverse=True)
    words = [str(int(name)) if isinstance(name, np.floating) and name == int(name) else str(name) for name in found]
    for name in words:
        if name != "-1":
            names.setdefault(name, len(names))
    if not names:
        raise UserError(
            f"{path}: all {split}labels are -1, which means no label; give a class for at least some images"
        )
    code = torch.tensor([names.get(name, -1) for name in words])
    return x, code[torch.from_numpy(codes)]
