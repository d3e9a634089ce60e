"""W-perturb during training."""

import torch
from torch import Tensor

from ssl_bench.data.module import DataModule
from ssl_bench.generation.settings import PerturbSettings
from ssl_bench.generation.sources.codes import CodeSource
from ssl_bench.generation.sources.rows_by_id import pin_rows
from ssl_bench.generation.w_perturb import perturb
from ssl_bench.methods.base import Method
from ssl_bench.precision import autocast_dtype
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, UnitFloat, check_ranges


@check_ranges
class PerturbedViews:
    """W-perturb during training: a generator's images at codes with new noise in every step.

    Args:
        codes: folder of codes made by `ssl-bench views invert` or `views sample`.
        sigma: see `PerturbSettings`.
        truncation: see `PerturbSettings`.
        views: number of views of each image.
    """

    def __init__(
        self, codes: str, sigma: NonNegativeFloat = 0.2, truncation: UnitFloat | None = None, views: PositiveInt = 1
    ):
        self.folder, self.settings = codes, PerturbSettings(views, sigma, truncation)
        self.codes: CodeSource | None = None

    def attach(self, method: Method, data: DataModule) -> None:
        """Open codes and generator before training, in the trainer's precision.

        Raises:
            UserError: see `CodeSource`; or the run was started with other codes.
        """
        self.open(data, method.device, autocast_dtype(method.trainer.precision))
        assert self.codes is not None
        pin_rows(self.codes.by_id.folder, method.trainer)

    def open(self, data: DataModule, device: torch.device, autocast: torch.dtype | None = None) -> None:
        """Open codes and generator for the images of a data module that is set up."""
        self.codes = CodeSource(self.folder, data, device, autocast)
        truncation = self.settings.truncation
        self.truncation = self.codes.truncation if truncation is None else truncation

    @torch.no_grad()
    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return views ``(views, N, C, H, W)``, float in [0, 1], of the images with these ids, on their device."""
        assert self.codes is not None, "call open or attach first"
        codes = self.codes.by_id(ids).expand(self.settings.views, -1, -1, -1)
        noise = torch.randn(codes.shape, device=codes.device)
        perturbed = perturb(codes, noise, self.codes.mean, self.settings.sigma, self.truncation)
        views: Tensor = self.codes.synthesize(perturbed.flatten(0, 1)).unflatten(0, codes.shape[:2])
        return views
