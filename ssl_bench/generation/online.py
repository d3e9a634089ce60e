"""W-search in training: one step from an image's code against the encoder as it is by then."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.generation.perturb import truncate
from ssl_bench.generation.sources import Codes, pin_rows
from ssl_bench.methods.base import Method
from ssl_bench.precision import autocast_dtype


class OnlineSearch:
    """One signed step (FGSM) away from the image ("Constructive Assimilation", Han et al.: worse than no such views).

    Codes go ``step`` along the sign of minus the gradient of ``max(0, cos(f(g(w)), f(x)) - boundary)``, with f the
    encoder in evaluation mode. One view of each image.

    Args:
        codes: folder of codes that `ssl-bench views invert` or `views sample` has made.
        step: in every coordinate of the code.
        boundary: cosine of a view to its image below which it is left where it is, by default of a distance of 0.3.
    """

    def __init__(self, codes: str, step: float = 0.1, boundary: float = 0.955):
        if step <= 0 or not -1 <= boundary <= 1:
            raise UserError(
                f"OnlineSearch: step {step}, boundary {boundary}: give a step above 0 and a boundary in [-1, 1]"
            )
        self.folder, self.step, self.boundary = codes, step, boundary
        self.codes: Codes | None = None

    def attach(self, method: Method) -> None:
        """Open codes and generator for a fit, and take hold of the encoder.

        Raises:
            UserError: see `PerturbedViews.start`; or the method has no projections, or its views no way back to images.
        """
        if not hasattr(method, "project") or not isinstance(method.views, Views):
            raise UserError(f"OnlineSearch: {type(method).__name__} has no project(x): give METHOD simclr or simsiam")
        precision = autocast_dtype(method.trainer.precision)
        self.codes = Codes(self.folder, method.trainer.datamodule, method.device, precision)  # type: ignore[attr-defined]
        pin_rows(self.codes.of.folder, method.trainer)
        self.method: Any = method
        self.views = method.views

    def project(self, images: Tensor) -> Tensor:
        """The encoder's projections ``(N, d)`` of images in [0, 1], L2-normalised."""
        assert self.codes is not None
        with torch.autocast(images.device.type, dtype=self.codes.autocast, enabled=self.codes.autocast is not None):
            projections: Tensor = self.method.project(self.views.from_image(images))
        return F.normalize(projections.float(), dim=1)

    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Views float ``(1, N, C, H, W)`` in [0, 1] of images with these ids, on the images' device."""
        assert self.codes is not None, "start comes first"
        training = self.method.training
        self.method.eval()  # so that BatchNorm neither mixes nor remembers these images
        codes, mean, truncation = self.codes.of(ids), self.codes.mean, self.codes.truncation
        pixels = images if images.is_floating_point() else images.float() / 255
        with torch.no_grad():
            target = self.project(pixels)
        with torch.enable_grad():
            codes = codes.detach().requires_grad_()
            moved = self.project(self.codes.synthesize(truncate(codes, mean, truncation)))
            loss = F.relu((moved * target).sum(1) - self.boundary).sum()
            (gradient,) = torch.autograd.grad(loss, codes)
        self.method.train(training)
        with torch.no_grad():
            return self.codes.synthesize(truncate(codes - self.step * gradient.sign(), mean, truncation))[None]
