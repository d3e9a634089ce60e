"""Which images the rows of a folder are of, and which generator and encoder they were made with."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

from ssl_bench.config.identity import encoder_hash
from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.methods.stylegan2 import StyleGAN2

CodeGenerator = StyleGAN2 | InDomainInversion
"""With ``synthesize``, ``mean_code``, ``n_latent``, ``style_dim`` and ``image_shape``."""
PROBED = 64
"""Images whose pixels stand for all of them."""


def fingerprint(images: Callable[[Tensor], Tensor], labels: Tensor | None, count: int) -> str:
    """Hash of how many images there are, of the pixels of 64 of them, evenly spread, and of all labels.

    Args:
        images: row numbers int64 ``(n,)`` to images ``(n, C, H, W)``.
        labels: ``(count, ...)`` in the rows' order, if any.
        count: rows.
    """
    probed = torch.linspace(0, count - 1, min(PROBED, count), dtype=torch.float64).round().long()
    pixels = images(probed).cpu().contiguous()
    digest = hashlib.sha256(f"{count} {tuple(pixels.shape)}".encode() + pixels.numpy().tobytes())
    if labels is not None:
        digest.update(labels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def of_fit(data: DataModule, count: int) -> dict[str, Any]:
    """What the rows are of, where row r is of the r-th image of the order that pretraining takes its images in.

    Fewer images are the first of more, so that rows of many serve a pretraining on some. Labels are there to tell data
    sets apart that share images.

    Raises:
        UserError: there are fewer images than `count`.
    """
    fit, order = data.split("fit"), data.fit_order()[:count]
    if len(order) < count:
        raise UserError(f"rows of {count} images, {data.name} has {len(order)} to train on: give data that they are of")
    probe = fingerprint(lambda rows: fit[order[rows]].images, fit.labels[order], count)
    return {"order": "fit", "count": count, "fingerprint": probe}


def of_codes(codes: Shards) -> dict[str, Any]:
    """What rows made of a folder's codes are of: its images, or, where the codes were sampled, what was drawn."""
    if codes.key["kind"] != "sample":
        return codes.key["data"]  # type: ignore[no-any-return]
    probe = fingerprint(lambda rows: codes.read("images", rows), None, codes.count)
    return {"order": "sampled", "count": codes.count, "fingerprint": probe}


def rows_of(folder: Shards, origin: dict[str, Any], data: DataModule) -> Tensor:
    """Of each id of the images of pretraining (split ``fit``) its row, int64 ``(N,)`` on the CPU; -1 where it has none.

    Args:
        folder: the rows.
        origin: what they are of.
        data: set up; of it only `fit_ids` need have rows.

    Raises:
        UserError: rows of other images, or too few.
    """
    fit, sampled = data.split("fit"), origin["order"] == "sampled"
    place = data.fit_order().argsort()
    ids = place.argsort()[: origin["count"]]
    images = fingerprint(lambda rows: fit[ids[rows]].images, None if sampled else fit.labels[ids], len(ids))
    if len(ids) < origin["count"] or images != origin["fingerprint"]:
        raise UserError(f"{folder.folder} is not of the images of {data.name} that are trained on: make views of these")
    rows, needed = torch.where(place < folder.count, place, -1), data.fit_ids()
    if without := int((rows[needed] < 0).sum()):
        raise UserError(
            f"{folder.folder} has rows of {folder.count} images, of the {len(needed)} to train on {without} have none: "
            f"make more, or give --data.fit_images {len(needed) - without}"
        )
    return rows


class Opened(NamedTuple):
    """Of a run that is over: its data, set up; its views; its trained method, frozen."""

    data: DataModule
    views: Views
    method: Method


def open_run(folder: Path, device: torch.device) -> tuple[Opened, dict[str, Any], str]:
    """A run's objects, its configuration, and the hash of its weights.

    The method is what its checkpoint says: that of an inversion needs the run of its generator no more.

    Raises:
        UserError: it is no run folder, or was not trained.
    """
    config = read_config(folder)
    method = load_method(folder).requires_grad_(False).to(device)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data", required=True)
    parser.add_class_arguments(Views, "views")
    for fact in ("image_shape", "mean", "std"):
        parser.link_arguments(f"data.{fact}", f"views.{fact}", apply_on="instantiate")
    try:
        made = parser.instantiate(parser.parse_object({name: config[name] for name in ("data", "views")}))
    except (ArgumentError, ValueError) as error:
        raise UserError(f"{folder}: its data or views cannot be made: {' '.join(str(error).split())}") from error
    made.data.setup()
    return Opened(made.data, made.views, method), config, encoder_hash(method, config)


def load_generator(codes: Shards, device: torch.device) -> CodeGenerator:
    """The method whose generator a folder's codes are of, frozen.

    Raises:
        UserError: the folder is not of codes, or their generator's run is not there, has been trained anew, or does not
            take such codes.
    """
    shape = codes.shape("codes")  # which refuses views, that have no generator of their own
    folder = Path(codes.notes["generator"])
    method = as_generator(load_method(folder).requires_grad_(False).to(device), folder)
    if (takes := (method.n_latent, method.style_dim)) != shape:
        raise UserError(f"{codes.folder} has codes of {shape}, the generator {folder} takes {takes}: make codes anew")
    if encoder_hash(method, read_config(folder)) != codes.key["generator"]:
        raise UserError(f"{codes.folder} has codes of other weights than {folder} has now: make codes anew")
    return method


def as_generator(method: Method, folder: Path) -> CodeGenerator:
    """The method, where it draws images of codes.

    Raises:
        UserError: it does not.
    """
    if not isinstance(method, StyleGAN2 | InDomainInversion):
        raise UserError(
            f"{folder} is a run of {type(method).__name__}, which has no codes: give one of inversion or stylegan2"
        )
    return method


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that a run folder is of.

    Raises:
        UserError: it is no run folder.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"no config.yaml in {folder}: give a run folder, as `ssl-bench fit` prints it")
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
