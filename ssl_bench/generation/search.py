"""W-search: views of an image found among a generator's codes, as far from it as an encoder's own expert views are."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.generation.perturb import noise, truncate
from ssl_bench.generation.pool import Pool


@dataclass(frozen=True)
class Search:
    """How views are searched ("Constructive Assimilation", Han et al., Section 3.2 and Table 9).

    Args:
        views: n, views of each anchor; of 2 or more, since they keep apart from each other.
        eps1: distance of a view from its anchor, between L2-normalised projections; by default the mean distance of
            expert views, by the encoder's recipe.
        eps2: distance of a view from the others, in the mean, below which it is pushed; by default eps1 + 0.2.
        uniformity: lambda, weight of that push.
        target: what views are views of: the reconstruction of the image, as released, or the image, as printed.
        noise: standard deviation of what every copy of an anchor's code starts with, since gradients vanish at the
            anchor itself. Released: 1e-3 (CIFAR-10), 5e-3; its first copy had none, and kept the search from ending.
        truncation: of codes towards the mean code, in [0, 1]; by default the codes' own, at which they are the image.
        lr: Adam's learning rate.
        steps: Adam's steps at most.
        tolerance: loss of an anchor at which its search ends.
        seed: of the noise, which is each anchor's own.
    """

    views: int = 8
    eps1: float | None = None
    eps2: float | None = None
    uniformity: float = 0.01
    target: Literal["reconstruction", "image"] = "reconstruction"
    noise: float = 1e-3
    truncation: float | None = None
    lr: float = 0.01
    steps: int = 1000
    tolerance: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        # So written that a NaN is refused as well.
        if not (
            self.views >= 2 and self.steps >= 0 and 0 <= (self.truncation or 0) <= 1
            and 0 < self.noise < math.inf and 0 < self.lr < math.inf
        ):  # fmt: skip
            raise UserError(
                f"search: views {self.views}, steps {self.steps}, truncation {self.truncation}, noise {self.noise}, lr "
                f"{self.lr}: give views of 2 or more, steps of 0 or more, truncation in [0, 1], noise and lr above 0"
            )
        distances = [eps for eps in (self.eps1, self.eps2) if eps is not None]
        weights = (self.uniformity, self.tolerance)
        if not (all(0 <= eps <= 2 for eps in distances) and all(0 <= weight < math.inf for weight in weights)):
            raise UserError(
                f"search: eps1 {self.eps1}, eps2 {self.eps2}, uniformity {self.uniformity}, tolerance "
                f"{self.tolerance}: give distances in [0, 2], the others of 0 or more"
            )


class Anchors(NamedTuple):
    """What views are searched for.

    Attributes:
        ids: int64 ``(N,)``, whom the noise belongs to.
        codes: ``(N, L, D)``.
        images: uint8 ``(N, C, H, W)``, whose projection the views keep their distance from.
    """

    ids: Tensor
    codes: Tensor
    images: Tensor


class Found(NamedTuple):
    """Anchors whose search has ended.

    Attributes:
        ids: int64 ``(m,)``.
        views: uint8 ``(m, n, C, H, W)``.
        figures: float32 ``(m,)`` each: ``loss``; ``boundary``, the mean of |d - eps1| over the views; ``spread``,
            their mean distance from one another; ``steps`` of Adam.
    """

    ids: Tensor
    views: Tensor
    figures: dict[str, Tensor]


def distances(views: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Of each view from its anchor, and from the anchor's other views in the mean: ``(B, n)`` both.

    Gradients are 0 where a distance is.

    Args:
        views: projections ``(B, n, d)``.
        target: the anchors' projections ``(B, d)``.
    """
    apart = torch.linalg.vector_norm(views.unsqueeze(1) - views.unsqueeze(2), dim=-1)
    others = max(views.shape[1] - 1, 1)
    return torch.linalg.vector_norm(views - target.unsqueeze(1), dim=-1), apart.sum(2) / others


def search_loss(views: Tensor, target: Tensor, eps1: float, eps2: float, uniformity: float) -> Tensor:
    """Boundary and uniformity of each anchor's views ("Constructive Assimilation", Eq. 2, as released).

    ``mean_k (d_k - eps1)^2 + uniformity * mean_k max(0, eps2 - dbar_k)``, with d_k the distance of view k from the
    anchor and dbar_k its mean distance from the other views. The paper's delta is 0 within a distance of eps1; released
    is this, which holds views at it.

    Args:
        views: projections ``(B, n, d)``, L2-normalised.
        target: the anchors' projections ``(B, d)``, L2-normalised.
        eps1: distance from the anchor, in [0, 2].
        eps2: distance from the other views, in [0, 2].
        uniformity: lambda, >= 0.

    Returns:
        ``(B,)``, >= 0.
    """
    from_anchor, from_others = distances(views, target)
    boundary = (from_anchor - eps1).square().mean(1)
    return boundary + uniformity * F.relu(eps2 - from_others).mean(1)


def search(
    synthesize: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    mean_code: Tensor,
    anchors: Iterator[Anchors],
    settings: Search,
    *,
    eps1: float,
    eps2: float,
    truncation: float,
    batch_size: int = 128,
    autocast: torch.dtype | None = None,
    compile: bool = False,
) -> Iterator[Found]:
    """Search views of anchors, so many at a time; one that has converged makes room for one that waits.

    What is found for an anchor does not depend, but for rounding, on which others are searched with it. Weights of
    generator and encoder are to be frozen, and both in evaluation mode.

    Args:
        synthesize: codes ``(N, L, D)`` to images ``(N, C, H, W)``, in [0, 1] once clamped.
        project: images ``(N, C, H, W)`` in [0, 1] to projections ``(N, d)``, L2-normalised.
        mean_code: ``(D,)``, on the device to search on.
        anchors: in batches of any size.
        settings: see `Search`; what it leaves open is settled here:
        eps1: see `search_loss`.
        eps2: see `search_loss`.
        truncation: see `Search`.
        batch_size: anchors at a time, of `settings.views` views each.
        autocast: a lower precision for both networks; loss and Adam keep float32.
        compile: both networks, their loss and its gradient through torch.compile.

    Yields:
        Anchors, as their searches end.

    Raises:
        UserError: the loss of an anchor is not finite.
    """
    device = mean_code.device

    def projections(images: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            return project(images).float()

    def forward(codes: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            images = synthesize(truncate(codes.flatten(0, 1), mean_code, truncation))
        images = images.float().clamp(0, 1)
        views = projections(images).unflatten(0, codes.shape[:2])
        loss = search_loss(views, target, eps1, eps2, settings.uniformity)
        return loss, images.unflatten(0, codes.shape[:2]), views

    def begin(new: Anchors) -> Pool:
        start = new.codes.unsqueeze(1).to(device)
        drawn = noise(new.ids, settings.seed, settings.views, *new.codes.shape[1:]).to(device)
        codes = start + settings.noise * drawn
        with torch.no_grad():
            target = projections(new.images.to(device).float() / 255)
        zero = torch.zeros_like(codes)
        return Pool(new.ids.to(device), codes, target, zero, zero.clone(), zero.new_zeros(len(codes)))

    evaluate = torch.compile(forward) if compile else forward
    pool: Pool | None = None
    waiting: Anchors | None = None
    while True:
        while pool is None or len(pool.ids) < batch_size:
            if waiting is None or not len(waiting.ids):
                waiting = next(anchors, None)
            if waiting is None:
                break
            room = batch_size - (0 if pool is None else len(pool.ids))
            new = begin(Anchors(*(tensor[:room] for tensor in waiting)))
            waiting = Anchors(*(tensor[room:] for tensor in waiting))
            pool = new if pool is None else pool.join(new)
        if pool is None or not len(pool.ids):
            return
        codes = pool.codes.requires_grad_()
        loss, images, views = evaluate(codes, pool.target)
        (gradient,) = torch.autograd.grad(loss.sum(), codes)
        loss = loss.detach()
        pool = pool._replace(codes=codes.detach())
        done = (loss <= settings.tolerance) | (pool.steps >= settings.steps) | ~loss.isfinite()
        if done.any():
            yield _found(pool, loss, images, views, done, eps1)
            pool, gradient = pool.keep(~done), gradient[~done]
        pool = pool.step(gradient, settings.lr)


@torch.no_grad()
def _found(pool: Pool, loss: Tensor, images: Tensor, views: Tensor, done: Tensor, eps1: float) -> Found:
    ids, ended = pool.ids[done].cpu(), loss[done]
    if not ended.isfinite().all():
        first = int(ids[~ended.isfinite().cpu()][0])
        raise UserError(
            f"search: the loss of image {first} is not finite: its code, the generator or the encoder has diverged, or "
            "the precision is too low; try --precision float32"
        )
    from_anchor, from_others = distances(views[done], pool.target[done])
    figures = {
        "loss": ended,
        "boundary": (from_anchor - eps1).abs().mean(1),
        "spread": from_others.mean(1),
        "steps": pool.steps[done],
    }
    pixels = images[done].mul(255).round().to(torch.uint8).cpu()
    return Found(ids, pixels, {name: value.float().cpu() for name, value in figures.items()})
