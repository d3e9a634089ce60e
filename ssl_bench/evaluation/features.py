"""Features of a frozen encoder: computed once, kept on disk, read through a memory map."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssl_bench.data.types import Batch, Split, Target
from ssl_bench.errors import UserError
from ssl_bench.files import replacing

SPLITS: tuple[Split, ...] = get_args(Split)
BATCH_SIZE = 512


class FeatureSplit(NamedTuple):
    """One split's features, in the data set's order.

    Attributes:
        features: float32 ``(N, d)``.
        labels: int64 ``(N,)`` or ``(N, T)`` for T targets; -1 where an image has no label.
        ids: int64 ``(N,)``, each image's position in its split.
    """

    features: Tensor
    labels: Tensor
    ids: Tensor


class Features(NamedTuple):
    """What every protocol is computed from: features of three splits and what their labels mean."""

    train: FeatureSplit
    validation: FeatureSplit
    test: FeatureSplit
    targets: tuple[Target, ...]


class DataSource(Protocol):
    """The part of a data module that extraction needs, so that this file does not import Lightning."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the columns of the labels stand for."""
        ...

    def batches(self, split: Split, batch_size: int) -> Iterable[Batch]:
        """Every image of a split once, un-augmented, in order."""
        ...


def extract(
    encode: Callable[[Tensor], Tensor],
    data: DataSource,
    transform: Callable[[Tensor], Tensor],
    folder: Path,
    *,
    key: str,
    device: torch.device,
    autocast: torch.dtype | None = None,
) -> Features:
    """Encode all three splits, or read them where ``folder`` has them under the same key.

    Args:
        encode: normalised images ``(N, C, H, W)`` to features ``(N, d)``; the caller has set evaluation mode.
        data: the images, already set up.
        transform: images as the data set holds them to normalised floats, on the device.
        folder: where ``<split>.safetensors`` and ``manifest.json`` are kept; made where missing.
        key: hash of encoder and data; features under another key are computed anew and replaced.
        device: where the encoder is; batches are moved there.
        autocast: lower precision to encode in, or None for the encoder's own. Features are float32 either way.

    Returns:
        Features on the CPU, mapped from the files, so that memory is used only for what is read.

    Raises:
        UserError: if features are not finite or not ``(N, d)``; no file of that split is written then.
    """
    if (kept := _read(folder, key, data.targets)) is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    manifest.unlink(missing_ok=True)  # so that an interrupted run leaves no old manifest beside new features
    shapes = {}
    for split in SPLITS:
        part = _encode_split(encode, data.batches(split, BATCH_SIZE), transform, split, device, autocast)
        shapes[split] = list(part.features.shape)
        with replacing(folder / f"{split}.safetensors") as temporary:
            save_file(part._asdict(), temporary)
    with replacing(manifest) as temporary:
        temporary.write_text(json.dumps({"key": key, "shapes": shapes}, indent=2) + "\n")
    result = _read(folder, key, data.targets)
    if result is None:
        raise UserError(f"{folder}: features changed while they were written; give each run its own folder")
    return result


@torch.inference_mode()
def _encode_split(
    encode: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    transform: Callable[[Tensor], Tensor],
    split: Split,
    device: torch.device,
    autocast: torch.dtype | None,
) -> FeatureSplit:
    parts = []
    for batch in batches:
        images = transform(batch.images.to(device, non_blocking=True))
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            features = encode(images)
        if features.shape[:1] != images.shape[:1] or features.ndim != 2:
            shape = tuple(features.shape)
            raise UserError(f"encode gave shape {shape} for {len(images)} images; expected ({len(images)}, features)")
        parts.append(FeatureSplit(features.float().cpu(), batch.labels.cpu(), batch.ids.cpu()))
    if not parts:
        raise UserError(f"{split} split: no images to encode; give a data set with images in all three splits")
    whole = FeatureSplit(*map(torch.cat, zip(*parts, strict=True)))
    bad = int((~whole.features.isfinite()).any(1).sum())
    if bad:
        raise UserError(
            f"{split} split: features of {bad} of {len(whole.features)} images are not finite; "
            "the encoder has diverged or its precision is too low: try a checkpoint before that, or float32"
        )
    return whole


def _read(folder: Path, key: str, targets: tuple[Target, ...]) -> Features | None:
    """The features under that key, or None where they are missing, another's or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["key"] != key:
            return None
        parts = [FeatureSplit(**load_file(folder / f"{split}.safetensors")) for split in SPLITS]
        shapes = {split: list(part.features.shape) for split, part in zip(SPLITS, parts, strict=True)}
        return Features(parts[0], parts[1], parts[2], targets) if manifest["shapes"] == shapes else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
