"""Where training takes generated views from: a cache of them, or a generator at perturbed codes."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.module import RESIDENT_SHARE, DataModule
from ssl_bench.data.shards import Shards, describe_difference
from ssl_bench.distributed import rank
from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.generation.origin import load_generator, of_codes, rows_of
from ssl_bench.generation.perturb import Perturb, perturb
from ssl_bench.methods.base import Method
from ssl_bench.precision import autocast_dtype


class Rows:
    """Rows of a folder by the ids of the images of pretraining, on the device where they fit beside a model there.

    Args:
        folder: the rows.
        name: of the tensor.
        origin: which images they are of, see `ssl_bench.generation.origin`.
        data: set up.
        device: where they are wanted.
    """

    def __init__(self, folder: Shards, name: str, origin: dict[str, Any], data: DataModule, device: torch.device):
        self.folder, self.name, self.device = folder, name, device
        self.rows = rows_of(folder, origin, data)
        self.resident: Tensor | None = None
        if device.type == "cuda" and folder.nbytes(name) <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.resident, self.rows = folder.read_all(name, device), self.rows.to(device)

    def __call__(self, ids: Tensor, columns: Tensor | None = None) -> Tensor:
        """Rows ``(N, ...)`` of ids ``(N,)``, or of each the entries at columns ``(N, J)``: ``(N, J, ...)``."""
        rows = self.rows[ids.to(self.rows.device)]
        if self.resident is not None:
            return self.resident[rows] if columns is None else self.resident[rows.unsqueeze(1), columns]
        chosen = None if columns is None else columns.cpu()
        return self.folder.read(self.name, rows, chosen).to(self.device, non_blocking=True)


def pin_rows(folder: Shards, trainer: Any) -> None:
    """Write into a run's folder which rows it is trained with, and refuse others where it goes on from a checkpoint.

    Args:
        folder: the rows.
        trainer: Lightning's; one without a run folder is let be.

    Raises:
        UserError: the run began on other rows.
    """
    run = Path(trainer.default_root_dir)
    if not (run / "config.yaml").is_file():
        return
    file, what = run / "views.json", json.dumps([folder.key, folder.count], sort_keys=True)
    now = {"folder": str(folder.folder), "hash": hashlib.sha256(what.encode()).hexdigest()}
    before = json.loads(file.read_text(encoding="utf-8")) if trainer.ckpt_path and file.is_file() else now
    if before["hash"] != now["hash"]:
        raise UserError(
            f"{folder.folder} has been made anew since {run} was begun: make it as it was, or delete the run to begin "
            "again"
        )
    if rank() == 0:
        with replacing(file) as new:
            new.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def settings_of(cache: Shards) -> dict[str, Any]:
    """What a cache was made with, by one name each: settings, the kind, what was found out of eps1 and eps2, hashes."""
    found = {name: cache.notes[name] for name in ("eps1", "eps2") if name in cache.notes}
    hashes = {name: cache.key[name] for name in ("generator", "encoder") if name in cache.key}
    return {**cache.key["settings"], "kind": cache.key["kind"], **hashes, **found}


class CachedViews:
    """Views that `ssl-bench views search` or `views perturb` has cached, of each image some drawn anew at every step.

    Args:
        folder: the cache.
        views: drawn of each image, uniformly without replacement; the paper draws 1 of 8.
        settings: what the cache must have been made with, such as ``{kind: search, eps1: 0.3}``; others are not
            compared. Beside the command's settings these are ``kind`` (search, perturb) and the hashes ``generator``
            and ``encoder`` of its index.json; eps1 and eps2 are those that were searched by.
    """

    def __init__(self, folder: str, views: int = 1, settings: dict[str, Any] | None = None):
        if views < 1:
            raise UserError(f"CachedViews: views {views}: give 1 or more")
        self.folder, self.views, self.settings = folder, views, settings or {}
        self.rows: Rows | None = None

    def attach(self, method: Method) -> None:
        """Open the cache for a fit.

        Raises:
            UserError: it is not whole, or not of these images, these settings or so many views, or not the one that a
                run which goes on was begun with.
        """
        self.open(method.trainer.datamodule, method.device)  # type: ignore[attr-defined]
        assert self.rows is not None
        pin_rows(self.rows.folder, method.trainer)

    def open(self, data: DataModule, device: torch.device) -> None:
        """As `start`, for images of a data module that is set up."""
        cache = Shards(self.folder)
        cache.require_complete(f"`ssl-bench views {cache.key['kind']} --out {self.folder}` as before")
        self.number, *shape = cache.shape("views")
        if tuple(shape) != tuple(data.image_shape):
            raise UserError(f"{self.folder} has views of {tuple(shape)}, {data.name} images of {data.image_shape}")
        if self.views > self.number:
            raise UserError(f"{self.folder} has {self.number} views of each image, asked for are {self.views}")
        made = settings_of(cache)
        has = {
            name: given if _close(made.get(name), given) else made.get(name) for name, given in self.settings.items()
        }
        if different := describe_difference(has, self.settings):
            raise UserError(f"{self.folder} was made with other settings: {different}")
        self.rows = Rows(cache, "views", cache.key["data"], data, device)

    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Views uint8 ``(views, N, C, H, W)`` of images with these ids, on the images' device."""
        assert self.rows is not None, "start comes first"
        drawn = torch.rand(len(ids), self.number, device=images.device).argsort(1)[:, : self.views]
        return self.rows(ids, drawn).transpose(0, 1)


def _close(made: object, given: object) -> bool:
    """Whether two numbers are the same but for rounding."""
    return isinstance(made, float) and isinstance(given, float | int) and math.isclose(made, given, rel_tol=1e-6)


class Codes:
    """Codes of the images of pretraining, and the generator that they are of.

    Args:
        folder: codes that `ssl-bench views invert` or `views sample` has made.
        data: set up.
        device: where they are wanted.
        autocast: a lower precision for the generator.

    Raises:
        UserError: codes are missing, or are not of these images, or their generator is not there.
    """

    def __init__(self, folder: str | Path, data: DataModule, device: torch.device, autocast: torch.dtype | None = None):
        codes = Shards(folder)
        codes.require_complete(f"`ssl-bench views {codes.key['kind']} --out {folder}` as before")
        self.generator = load_generator(codes, device)
        if tuple(self.generator.image_shape) != tuple(data.image_shape):
            raise UserError(
                f"{folder}: its generator makes images of {tuple(self.generator.image_shape)}, {data.name} has them of "
                f"{tuple(data.image_shape)}"
            )
        self.of = Rows(codes, "codes", of_codes(codes), data, device)
        self.mean = self.generator.mean_code()
        self.truncation: float = codes.key["settings"]["truncation"]
        self.device, self.autocast = device, autocast

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of codes ``(N, L, D)``, float in [0, 1]."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            images = self.generator.synthesize(codes)
        return images.float().clamp(0, 1)


class PerturbedViews:
    """W-perturb as training goes: images of a generator at codes with new noise at every step.

    Args:
        codes: folder of codes that `ssl-bench views invert` or `views sample` has made.
        sigma: see `Perturb`.
        truncation: see `Perturb`.
        views: of each image.
    """

    def __init__(self, codes: str, sigma: float = 0.2, truncation: float | None = None, views: int = 1):
        self.folder, self.settings = codes, Perturb(views, sigma, truncation)
        self.codes: Codes | None = None

    def attach(self, method: Method) -> None:
        """Open codes and generator for a fit, in the trainer's precision.

        Raises:
            UserError: see `Codes`; or they are others than a run which goes on was begun with.
        """
        self.open(method.trainer.datamodule, method.device, autocast_dtype(method.trainer.precision))  # type: ignore[attr-defined]
        assert self.codes is not None
        pin_rows(self.codes.of.folder, method.trainer)

    def open(self, data: DataModule, device: torch.device, autocast: torch.dtype | None = None) -> None:
        """As `start`, for images of a data module that is set up."""
        self.codes = Codes(self.folder, data, device, autocast)
        truncation = self.settings.truncation
        self.truncation = self.codes.truncation if truncation is None else truncation

    @torch.no_grad()
    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Views float ``(views, N, C, H, W)`` in [0, 1] of images with these ids, on the images' device."""
        assert self.codes is not None, "start comes first"
        codes = self.codes.of(ids).expand(self.settings.views, -1, -1, -1)
        noise = torch.randn(codes.shape, device=codes.device)
        perturbed = perturb(codes, noise, self.codes.mean, self.settings.sigma, self.truncation)
        return self.codes.synthesize(perturbed.flatten(0, 1)).unflatten(0, codes.shape[:2])  # type: ignore[no-any-return]
