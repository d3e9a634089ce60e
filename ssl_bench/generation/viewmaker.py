"""Views by a viewmaker that is trained, and what one is given."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.viewmaker import ViewMaker


def originals(images: Tensor, ids: Tensor) -> Tensor:
    """The images themselves ``(1, N, C, H, W)``, for a recipe other than the expert one, such as a viewmaker's."""
    return images.unsqueeze(0)


class ViewMakerViews:
    """Views by the viewmaker of a run of METHOD=viewmaker, which is not trained any further.

    Args:
        run: its run folder or checkpoint file.
        views: how many of each image.
    """

    def __init__(self, run: str, views: int = 1) -> None:
        if views < 1:
            raise UserError(f"ViewMakerViews: views {views}: give 1 or more")
        self.run, self.views = Path(run), views
        self._network: nn.Module | None = None

    def attach(self, method: Method) -> None:
        """Loads the viewmaker.

        Raises:
            UserError: the run is of another method, or of images of another shape than the data's.
        """
        shape = tuple(method.trainer.datamodule.image_shape)  # type: ignore[attr-defined]
        if (theirs := self._load().image_shape) != shape:
            raise UserError(
                f"{self.run}: its viewmaker takes images of {theirs}, the data are {shape}: give another run"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``, uint8 or in [0, 1], to views ``(J, N, C, H, W)`` of them in [0, 1]."""
        network = self._load().to(images.device)
        x = images if images.is_floating_point() else images / 255
        made: Tensor = network(x.expand(self.views, *x.shape).flatten(0, 1))
        return made.clamp(0, 1).view(self.views, *x.shape)

    def _load(self) -> nn.Module:
        if self._network is None:
            method = load_method(self.run)
            if not isinstance(method, ViewMaker):
                raise UserError(f"{self.run} is a run of {type(method).__name__}: give one of METHOD=viewmaker")
            self._network = method.viewmaker.requires_grad_(False)
        return self._network
