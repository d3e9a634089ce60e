"""Views made by the trained viewmaker of a viewmaker run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_bench.data.module import DataModule
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.viewmaker import ViewMaker
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class ViewMakerViews:
    """Views made by the frozen viewmaker of a run of METHOD=viewmaker.

    Args:
        run: the run folder or a checkpoint file.
        views: number of views of each image.
    """

    def __init__(self, run: str, views: PositiveInt = 1) -> None:
        self.run, self.views = Path(run), views
        self._network: nn.Module | None = None

    def attach(self, method: Method, data: DataModule) -> None:
        """Load the viewmaker before training.

        Raises:
            UserError: the run is of another method, or its images have another shape than the data's.
        """
        shape = tuple(data.image_shape)
        if (theirs := self._load().image_shape) != shape:
            raise UserError(
                f"{self.run}: its viewmaker takes images of {theirs}, the data are {shape}: give another run"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return views ``(J, N, C, H, W)`` in [0, 1] of images ``(N, C, H, W)``, uint8 or float in [0, 1]."""
        network = self._load().to(images.device)
        x = images if images.is_floating_point() else images / 255
        views: Tensor = network(x.expand(self.views, *x.shape).flatten(0, 1))
        return views.clamp(0, 1).view(self.views, *x.shape)

    def _load(self) -> nn.Module:
        if self._network is None:
            method = load_method(self.run)
            if not isinstance(method, ViewMaker):
                raise UserError(f"{self.run} is a run of {type(method).__name__}: give one of METHOD=viewmaker")
            self._network = method.viewmaker.requires_grad_(False)
        return self._network
