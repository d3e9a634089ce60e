"""Identity of images: which images the rows of a folder belong to, and the row of each training image."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError

HASHED_IMAGES = 64
"""Number of images, evenly spaced, whose pixels are part of a fingerprint."""


def fingerprint(images: Callable[[Tensor], Tensor], labels: Tensor | None, count: int) -> str:
    """Hash the number of images, the pixels of 64 of them, evenly spaced, and all labels.

    Args:
        images: given row numbers int64 ``(n,)``, returns images ``(n, C, H, W)``.
        labels: labels ``(count, ...)`` in the order of the rows; None if there are no labels.
        count: number of rows.
    """
    hashed = torch.linspace(0, count - 1, min(HASHED_IMAGES, count), dtype=torch.float64).round().long()
    pixels = images(hashed).cpu().contiguous()
    digest = hashlib.sha256(f"{count} {tuple(pixels.shape)}".encode() + pixels.numpy().tobytes())
    if labels is not None:
        digest.update(labels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def identify_fit_images(data: DataModule, count: int) -> dict[str, Any]:
    """Return the identity of rows made for training images: row r belongs to image r of `DataModule.fit_order`.

    Smaller subsets of the training images are contained in larger ones, so that a folder can be used for training on a
    subset. Labels are included because data sets can share their images.

    Args:
        data: data module, set up.
        count: number of rows.

    Raises:
        UserError: there are fewer images than `count`.
    """
    fit, order = data.split("fit"), data.fit_order()[:count]
    if len(order) < count:
        raise UserError(
            f"rows of {count} images, {data.name} has {len(order)} to train on: give the data that they were made of"
        )
    images = fingerprint(lambda rows: fit[order[rows]].images, fit.labels[order], count)
    return {"order": "fit", "count": count, "fingerprint": images}


def identify_code_images(codes: Shards) -> dict[str, Any]:
    """Return the identity of the images of a folder of codes: inverted images, or the samples of `views sample`."""
    if codes.key["kind"] != "sample":
        identity: dict[str, Any] = codes.key["data"]
        return identity
    images = fingerprint(lambda rows: codes.read("images", rows), None, codes.count)
    return {"order": "sampled", "count": codes.count, "fingerprint": images}


def match_rows(folder: Shards, identity: dict[str, Any], data: DataModule) -> Tensor:
    """Return the row of each image of split ``fit`` by its id, int64 ``(N,)`` on the CPU; -1 for images without a row.

    Args:
        folder: the folder of rows.
        identity: identity of the images of the rows.
        data: data module, set up; only the images of `DataModule.fit_ids` must have rows.

    Raises:
        UserError: the rows belong to other images, or images without rows are to be trained on.
    """
    fit, sampled = data.split("fit"), identity["order"] == "sampled"
    place = data.fit_order().argsort()
    ids = place.argsort()[: identity["count"]]
    images = fingerprint(lambda rows: fit[ids[rows]].images, None if sampled else fit.labels[ids], len(ids))
    if len(ids) < identity["count"] or images != identity["fingerprint"]:
        raise UserError(
            f"{folder.folder} does not belong to the images of {data.name} that are trained on: make views of these"
        )
    rows, needed = torch.where(place < folder.count, place, -1), data.fit_ids()
    if without := int((rows[needed] < 0).sum()):
        raise UserError(
            f"{folder.folder} has rows of {folder.count} images, {without} of the {len(needed)} to train on have none: "
            f"make more rows, or give --data.fit_images {len(needed) - without}"
        )
    return rows
