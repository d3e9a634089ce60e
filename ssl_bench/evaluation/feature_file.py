"""Read features from a file of an external encoder; splits that it does not contain are held out."""

import zlib
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_bench.data.splits import SPLIT_SEED, TEST_FRACTION, VALIDATION_FRACTION, hold_out
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.evaluation.features import Features, FeatureSplit

SUFFIXES = (".safetensors", ".npz", ".npy")
PREFIXES = {"": "", "train": "train_", "test": "test_", **dict.fromkeys(("validation", "valid", "val"), "validation_")}
"""Words before ``_features`` and ``_labels``, and the split of each."""
Array = Tensor | np.ndarray


def read_features(path: Path, labels: Path | None = None) -> Features:
    """Read features ``(N, d)`` and labels ``(N,)`` from a file.

    A ``.safetensors`` or ``.npz`` file contains ``train_features``, ``train_labels``, ``test_features``,
    ``test_labels`` and optionally ``validation_features`` and ``validation_labels`` (also spelled ``val_`` or
    ``valid_``); or only ``features`` and ``labels``. A ``.npy`` file contains only the features. Features in
    ``.safetensors`` and ``.npy`` files are memory-mapped in the type of the file, those in ``.npz`` files are read into
    memory. Splits that are held out are rows of the same tensor.

    Args:
        path: path of the file.
        labels: path of a ``.npy`` file with the labels; only for features in a ``.npy`` file.

    Returns:
        Three splits. Missing splits are held out, stratified by label with a fixed seed: a fifth for test, then
        a tenth of the rest for validation.

    Raises:
        UserError: the file cannot be read; a split that is held out is empty; the file contains other arrays, or two
            for one split; features or labels are missing, of different lengths, not finite, or of a type that is
            neither real numbers nor names; a class of the test or validation labels is not in the training labels.
    """
    arrays = dict(_arrays(path))
    if labels is not None:
        if labels.suffix != ".npy":
            raise UserError(f"--labels {labels}: labels are read from a .npy file; put them into {path} instead")
        arrays["labels"] = _arrays(labels)["features"]
    return features_of(arrays, path)


def features_of(arrays: dict[str, Array], path: Path | str) -> Features:
    """Features in arrays with the names of a file, see `read_features`.

    Args:
        arrays: arrays by name.
        path: what they are from, for messages.

    Returns:
        Three splits; missing ones are held out.

    Raises:
        UserError: an array has a wrong name, type, shape or value.
    """
    arrays = _by_split(path, arrays)
    names: dict[str, int] = {}
    if "features" in arrays:
        x, y = _pair(path, arrays, "", names)
        parts = dict(zip(("train", "test"), _hold_out(FeatureSplit(x, y), TEST_FRACTION), strict=True))
    else:
        parts = {split: FeatureSplit(*_pair(path, arrays, f"{split}_", names)) for split in ("train", "test")}
        if any(name.startswith("validation_") for name in arrays):
            parts["validation"] = FeatureSplit(*_pair(path, arrays, "validation_", names))
        _check_classes(path, parts, tuple(names))
    held_out = [split for split in ("test", "validation") if split not in parts or "features" in arrays]
    if "validation" not in parts:
        parts["train"], parts["validation"] = _hold_out(parts["train"], VALIDATION_FRACTION)
    for split in held_out:
        if not len(parts[split].labels):
            raise UserError(
                f"{path}: no image is left for the {split} split; give three or more images of some class, or "
                f"{split}_features and {split}_labels"
            )
    dims = {split: part.features.shape[1] for split, part in parts.items()}
    if len(set(dims.values())) > 1:
        raise UserError(f"{path}: features of {dims} numbers; all splits must come from one encoder")
    target = Target("label", tuple(names))
    return Features(parts["train"], parts["validation"], parts["test"], (target,))


def _check_classes(path: Path | str, parts: dict[str, FeatureSplit], names: tuple[str, ...]) -> None:
    """Check that training has every class of the other splits: the others could never be predicted.

    Raises:
        UserError: a class is missing in the training labels, for instance because it is spelled differently.
    """
    known = set(parts["train"].labels.tolist())
    for split, part in parts.items():
        if absent := sorted({*part.labels.tolist()} - known - {-1}):
            words = ", ".join(repr(names[label]) for label in absent[:3])
            trained = ", ".join(repr(names[label]) for label in sorted(known - {-1})[:3])
            number = "1 class" if len(absent) == 1 else f"{len(absent)} classes"
            verb = "is" if len(absent) == 1 else "are"
            raise UserError(
                f"{path}: {number} of {split}_labels {verb} not in train_labels ({words}; train has "
                f"{trained}); write the labels of all splits in one type and spelling, or give these images label -1"
            )


def _hold_out(split: FeatureSplit, fraction: float) -> tuple[FeatureSplit, FeatureSplit]:
    """The rest of a split, and the rows that are held out; the features are not copied."""
    x, y, rows = split
    held = hold_out(y, fraction, SPLIT_SEED)
    rows = torch.arange(len(x)) if rows is None else rows
    return FeatureSplit(x, y[~held], rows[~held]), FeatureSplit(x, y[held], rows[held])


def _by_split(path: Path | str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays with ``validation_`` for all its spellings.

    Raises:
        UserError: an array has another name, or two arrays are for the same split.
    """
    known = {
        f"{word}_{part}".lstrip("_"): split + part
        for word, split in PREFIXES.items()
        for part in ("features", "labels")
    }
    found: dict[str, str] = {}
    for name in sorted(arrays):
        if name not in known:
            raise UserError(f"{path}: array {name!r} is not used: {did_you_mean(name, known)} Rename or remove it")
        if other := found.get(known[name]):
            raise UserError(f"{path}: {other} and {name} are both for the validation split; remove one")
        found[known[name]] = name
    whole, parts = [[name for name in found if ("_" in name) == split] for split in (False, True)]
    if whole and parts:
        raise UserError(f"{path}: contains {whole[0]} and {parts[0]}; give the splits, or features and labels alone")
    return {split: arrays[name] for split, name in found.items()}


def _arrays(path: Path) -> dict[str, Array]:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: features are read from {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix == ".npz":
            file = np.load(path, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(f"{path} contains a single array; name it .npy, and give the labels with --labels")
            with file:
                arrays: dict[str, Array] = dict(file)
            if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise UserError(f"{path}: {other[0]} is not an array; write the file with numpy.savez")
            return arrays
        array = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            array.close()
            raise UserError(f"{path} contains several arrays; name it .npz")
        return {"features": array}
    except UserError:
        raise
    except (OSError, EOFError, ValueError, BadZipFile, SafetensorError, TokenError, zlib.error) as error:
        if "allow_pickle" in str(error):  # a file of objects would run code when it is read
            raise UserError(f"{path} contains Python objects; save arrays of numbers") from error
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error


def _numbers(path: Path | str, name: str, array: Array) -> Tensor:
    """Features as a tensor in their own type, or in the next type that torch has.

    Raises:
        UserError: they are not real numbers.
    """
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            raise UserError(
                f"{path}: {name} of type {array.dtype}, expected real numbers such as float32; convert them"
            )
        array = array.astype(np.float64) if array.dtype == np.uint64 else array
        array = torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    if array.is_complex() or array.dtype == torch.bool:
        raise UserError(f"{path}: {name} of type {array.dtype}, expected real numbers such as float32; convert them")
    return array


def _classes(path: Path | str, name: str, labels: np.ndarray) -> tuple[list[str], Tensor]:
    """Names of the classes and the number of each image's name.

    Raises:
        UserError: the labels are neither integers nor names.
    """
    if labels.dtype.kind not in "biufSU":
        raise UserError(f"{path}: {name} of type {labels.dtype}, expected integers or names")
    if labels.dtype.kind in "if" and len(labels) and (labels < -1).any():
        raise UserError(
            f"{path}: {name} contains {labels.min():.0f}; expected class numbers of at least 0, or -1 for no label"
        )
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        raise UserError(
            f"{path}: {name} that are not integers; number the classes, and give -1 where there is no label"
        )
    found, codes = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "f":
        return [str(int(value)) for value in found], torch.from_numpy(codes)
    try:
        words = [value.decode() if isinstance(value, bytes) else str(value) for value in found]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {name} of bytes that are not UTF-8; write the names as str") from error
    return words, torch.from_numpy(codes)


def _pair(path: Path | str, arrays: dict[str, Array], split: str, names: dict[str, int]) -> tuple[Tensor, Tensor]:
    """Features and labels of one split; new classes are added to `names` and numbered in order."""
    missing = [name for name in (f"{split}features", f"{split}labels") if name not in arrays]
    if missing:
        known = ", ".join(sorted(arrays))
        raise UserError(
            f"{path}: no {missing[0]} (it contains {known}); see `ssl-bench evaluate --help` for the names, "
            "and give the labels of a .npy with --labels"
        )
    x, labels = _numbers(path, f"{split}features", arrays[f"{split}features"]), arrays[f"{split}labels"]
    if isinstance(labels, Tensor) and labels.is_floating_point():
        labels = labels.double()  # numpy has no bfloat16 and no float8
    y = np.asarray(labels)
    if x.ndim != 2 or y.ndim != 1 or not x.shape[1]:
        raise UserError(f"{path}: {split}features of shape {tuple(x.shape)} with labels of shape {y.shape}; "
                        "expected (images, features) and (images,)")  # fmt: skip
    if not len(x):
        raise UserError(f"{path}: no {split}features; give some images")
    if len(x) != len(y):
        raise UserError(f"{path}: {len(x)} {split}features but {len(y)} {split}labels; give one label for each")
    parts = x.split(4096)
    if bad := sum(int((~part.isfinite()).any(1).sum()) for part in parts):
        raise UserError(
            f"{path}: {split}features of {bad} of {len(x)} images are not finite; encode these images again"
        )
    if any(not part.float().isfinite().all() for part in parts):
        raise UserError(f"{path}: {split}features above the range of float32, 3.4e38; rescale all features")
    words, codes = _classes(path, f"{split}labels", y)
    for name in words:
        if name != "-1":
            names.setdefault(name, len(names))
    if not names:
        raise UserError(
            f"{path}: all {split}labels are -1, which means no label; give a class for at least some images"
        )
    code = torch.tensor([names.get(name, -1) for name in words])
    return x, code[codes]
