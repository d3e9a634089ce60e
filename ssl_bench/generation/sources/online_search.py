"""W-search during training: one step from an image's code, against the current encoder."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.data.module import DataModule
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.generation.sources.codes import CodeSource
from ssl_bench.generation.sources.rows_by_id import pin_rows
from ssl_bench.generation.trained_run import Projective
from ssl_bench.generation.w_perturb import truncate
from ssl_bench.methods.base import Method
from ssl_bench.precision import autocast_dtype
from ssl_bench.ranges import Interval, PositiveFloat, check_ranges


@check_ranges
class OnlineSearch:
    """One view of each image, made by one signed gradient step (FGSM) of its code away from the image.

    Codes move by `step` along the sign of minus the gradient of ``max(0, cos(f(g(w)), f(x)) - boundary)``, where f is
    the encoder in evaluation mode. "Constructive Assimilation" (Han et al.) reports a negative result: this is worse
    than training without generated views.

    Args:
        codes: folder of codes made by `ssl-bench views invert` or `views sample`.
        step: change of every coordinate of the code.
        boundary: cosine similarity of view and image; a code with a lower similarity is not moved. The default
            corresponds to a distance of 0.3.
    """

    def __init__(self, codes: str, step: PositiveFloat = 0.1, boundary: Annotated[float, Interval(-1, 1)] = 0.955):
        self.folder, self.step, self.boundary = codes, step, boundary
        self.codes: CodeSource | None = None

    def attach(self, method: Method, data: DataModule) -> None:
        """Open codes and generator before training, and keep a reference to the encoder.

        Raises:
            UserError: see `PerturbedViews.attach`; or the method has no projections, or its views cannot be converted
                back to images.
        """
        if not isinstance(method, Projective) or not isinstance(method.views, Views):
            raise UserError(f"OnlineSearch: {type(method).__name__} has no project(x): give METHOD simclr or simsiam")
        self.codes = CodeSource(self.folder, data, method.device, autocast_dtype(method.trainer.precision))
        pin_rows(self.codes.by_id.folder, method.trainer)
        self.method = method
        self.views = method.views

    def project(self, images: Tensor) -> Tensor:
        """Project images ``(N, C, H, W)`` in [0, 1] by the encoder: L2-normalised ``(N, d)``."""
        assert self.codes is not None
        with torch.autocast(images.device.type, dtype=self.codes.autocast, enabled=self.codes.autocast is not None):
            projections = self.method.project(self.views.from_image(images))
        return F.normalize(projections.float(), dim=1)

    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return views ``(1, N, C, H, W)``, float in [0, 1], of the images with these ids, on the images' device."""
        assert self.codes is not None, "call attach first"
        training = self.method.training
        self.method.eval()  # BatchNorm must neither mix these images nor update its statistics
        codes, mean, truncation = self.codes.by_id(ids), self.codes.mean, self.codes.truncation
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
