"""Encode all splits with a frozen encoder once, write the features to disk, and read them memory-mapped."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.distributed import all_reduce_min, all_reduce_sum, barrier, rank
from ssl_bench.errors import UserError
from ssl_bench.evaluation.row_file import RowFile
from ssl_bench.files import replacing

SPLITS: tuple[Split, ...] = get_args(Split)
BATCH_SIZE = 512


class FeatureSplit(NamedTuple):
    """Features and labels of one split, in the order of the data set.

    Attributes:
        features: numbers of any type ``(M, d)``, often memory-mapped; `Rows.of` reads blocks of them as float32.
        labels: int64 ``(N,)``, or ``(N, T)`` for T targets; -1 if an image has no label.
        rows: rows of `features` in this split, int64 ``(N,)``; None for all rows in order.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor | None = None


class Features(NamedTuple):
    """Features and labels of the three splits, and the targets of the labels; the input of every protocol."""

    train: FeatureSplit
    validation: FeatureSplit
    test: FeatureSplit
    targets: tuple[Target, ...]


class DataSource(Protocol):
    """The part of a data module that `extract` needs, so that this module does not import Lightning."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """Targets, one per column of the labels."""
        ...

    def labels(self, split: Split) -> Tensor:
        """Labels of a split by image id, ``(N,)`` or ``(N, T)``."""
        ...

    def batches(self, split: Split, batch_size: int, *, shared: bool = False) -> Iterable[Batch]:
        """Every image of a split, un-augmented; if `shared`, each process gets its share of the batches."""
        ...


def extract(
    encode: Callable[[Tensor], Tensor],
    data: DataSource,
    transform: Callable[[Tensor, Tensor], Tensor],
    folder: Path,
    *,
    key: str,
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> Features:
    """Encode the three splits, or read the features from `folder` if they were written with the same key.

    Each process encodes its share of the batches. All processes write to one file per split, in which the row of a
    feature vector is the id of its image. Rows are therefore in the order of the data set, and an image that a sampler
    repeats (padding) still has a single row.

    Args:
        encode: function of normalised images ``(N, C, H, W)`` that returns features ``(N, d)``; the encoder must be in
            evaluation mode.
        data: data module, after ``setup()``.
        transform: function of the stored images and their ids that returns normalised float images on the device.
        folder: folder of ``<split>.safetensors`` and ``manifest.json``, the same for all processes; created if missing.
        key: hash of encoder and data. Features with another key are replaced.
        device: device of the encoder, to which batches are moved.
        autocast: dtype of autocast during encoding; None disables it. Features are always stored in float32.

    Returns:
        Features on the CPU, memory-mapped from the files.

    Raises:
        UserError: features are not finite or not ``(N, d)``, or an image was not encoded; no manifest is written.
    """
    digest = hashlib.sha256(key.encode())  # includes the labels, so that a change of the data is detected
    for split in SPLITS:
        digest.update(data.labels(split).cpu().contiguous().numpy().tobytes())
    key = digest.hexdigest()
    kept = _read(folder, key, data.targets)
    if all_reduce_min(torch.tensor(float(kept is not None), device=device)).item() and kept:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    if rank() == 0:
        manifest.unlink(missing_ok=True)  # an interrupted run must not leave an old manifest beside new features

    @torch.inference_mode()
    def features_of(batch: Batch) -> Tensor:
        images = transform(batch.images.to(device, non_blocking=True), batch.ids)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            features = encode(images)
        if features.shape[:1] != images.shape[:1] or features.ndim != 2:
            shape = tuple(features.shape)
            raise UserError(f"encode gave shape {shape} for {len(images)} images; expected ({len(images)}, features)")
        return features.float().cpu()

    shapes = {}
    for split in SPLITS:
        labels = data.labels(split).cpu()
        if not len(labels):
            raise UserError(f"{split} split: no images to encode; give a data set with images in all three splits")
        # Every process must know the number of features, even if it has no batch of a small split.
        dim = features_of(next(iter(data.batches(split, 2)))).shape[1]
        shapes[split] = [len(labels), dim]
        _encode_split(features_of, data.batches(split, BATCH_SIZE, shared=True), labels, dim, folder, split, device)
    if rank() == 0:
        with replacing(manifest) as temporary:
            temporary.write_text(json.dumps({"key": key, "shapes": shapes}, indent=2) + "\n")
    barrier()
    result = _read(folder, key, data.targets)
    if result is None:
        raise UserError(f"{folder}: features changed while they were written; give each run its own folder")
    return result


def by_columns(features: Features, widths: Sequence[int]) -> tuple[Features, ...]:
    """Split concatenated features into features of these widths; they share the memory."""
    train, validation, test = (
        [FeatureSplit(part, labels, rows) for part in x.split(list(widths), 1)] for x, labels, rows in features[:3]
    )
    return tuple(Features(*parts, features.targets) for parts in zip(train, validation, test, strict=True))


def _encode_split(
    features_of: Callable[[Batch], Tensor],
    batches: Iterable[Batch],
    labels: Tensor,
    dim: int,
    folder: Path,
    split: Split,
    device: torch.device,
) -> None:
    n = len(labels)
    file = RowFile(folder / f"{split}.safetensors", {"features": (torch.float32, (n, dim)), "labels": labels})
    seen = torch.zeros(n, dtype=torch.int64)
    bad = torch.zeros(1, dtype=torch.int64)
    with file:
        for batch in batches:
            features, ids = features_of(batch), batch.ids.cpu()
            seen[ids] = 1
            bad += (~features.isfinite()).any(1).sum()
            file.write("features", ids, features)
        missing = n - int(all_reduce_sum(seen.to(device)).count_nonzero())
        if diverged := int(all_reduce_sum(bad.to(device))):
            raise UserError(
                f"{split} split: features of {diverged} of {n} images are not finite; "
                "the encoder has diverged or its precision is too low: try an earlier checkpoint, or float32"
            )
        if missing:
            raise UserError(
                f"{split} split: {missing} of {n} images are in no batch; the batches must contain every image"
            )


def _read(folder: Path, key: str, targets: tuple[Target, ...]) -> Features | None:
    """The features with this key; None if they are missing, have another key or are damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["key"] != key:
            return None
        parts = [FeatureSplit(**load_file(folder / f"{split}.safetensors")) for split in SPLITS]
        shapes = {split: list(part.features.shape) for split, part in zip(SPLITS, parts, strict=True)}
        return Features(parts[0], parts[1], parts[2], targets) if manifest["shapes"] == shapes else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
