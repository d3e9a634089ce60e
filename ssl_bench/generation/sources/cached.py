"""Views from a cache made by a `views` command."""

import math
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards, describe_difference
from ssl_bench.errors import UserError
from ssl_bench.generation.sources.rows_by_id import RowsById, pin_rows
from ssl_bench.methods.base import Method
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class CachedViews:
    """Views cached by `ssl-bench views search` or `views perturb`, chosen at random in every step.

    Args:
        folder: the cache.
        views: number of views of each image, chosen uniformly without replacement; the paper uses 1 of 8.
        settings: expected settings of the cache, such as ``{kind: search, eps1: 0.3}``; other settings are not
            compared. Besides the settings of the command, these can be ``kind`` (search or perturb) and the hashes
            ``generator`` and ``encoder`` in index.json. The values of eps1 and eps2 are those used in the search.
    """

    def __init__(self, folder: str, views: PositiveInt = 1, settings: dict[str, Any] | None = None):
        self.folder, self.views, self.settings = folder, views, settings or {}
        self.rows: RowsById | None = None

    def attach(self, method: Method, data: DataModule) -> None:
        """Open the cache before training.

        Raises:
            UserError: the cache is incomplete, is of other images or settings, has fewer views, or differs from the
                cache with which a resumed run was started.
        """
        self.open(data, method.device)
        assert self.rows is not None
        pin_rows(self.rows.folder, method.trainer)

    def open(self, data: DataModule, device: torch.device) -> None:
        """Open the cache for the images of a data module that is set up."""
        cache = Shards(self.folder)
        cache.require_complete(f"`ssl-bench views {cache.key['kind']} --out {self.folder}` and its other arguments")
        self.number, *shape = cache.shape("views")
        if tuple(shape) != tuple(data.image_shape):
            raise UserError(
                f"{self.folder} has views of {tuple(shape)}, {data.name} has images of {data.image_shape}: give views "
                "of that size"
            )
        if self.views > self.number:
            raise UserError(f"{self.folder} has {self.number} views of each image, {self.views} are needed: give fewer")
        actual = cache_settings(cache)
        # A number that equals the expected one up to rounding takes its value, so that no difference is reported.
        rounded = {
            name: value if _close(actual.get(name), value) else actual.get(name)
            for name, value in self.settings.items()
        }
        if different := describe_difference(rounded, self.settings):
            raise UserError(f"{self.folder} was made with other settings: {different}")
        self.rows = RowsById(cache, "views", cache.key["data"], data, device)

    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return views uint8 ``(views, N, C, H, W)`` of the images with these ids, on the images' device."""
        assert self.rows is not None, "call open or attach first"
        chosen = torch.rand(len(ids), self.number, device=images.device).argsort(1)[:, : self.views]
        return self.rows(ids, chosen).transpose(0, 1)


def cache_settings(cache: Shards) -> dict[str, Any]:
    """Settings of a cache by name: those of its command, its kind, eps1 and eps2, generator and encoder hashes."""
    distances = {name: cache.notes[name] for name in ("eps1", "eps2") if name in cache.notes}
    hashes = {name: cache.key[name] for name in ("generator", "encoder") if name in cache.key}
    return {**cache.key["settings"], "kind": cache.key["kind"], **hashes, **distances}


def _close(actual: object, expected: object) -> bool:
    """Whether two numbers are equal up to rounding."""
    return (
        isinstance(actual, float) and isinstance(expected, float | int) and math.isclose(actual, expected, rel_tol=1e-6)
    )
