"""W-search: optimise latent codes until an encoder places the views at a given distance from the image."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.generation.search_state import SearchState
from ssl_bench.generation.settings import SearchSettings
from ssl_bench.generation.w_perturb import noise, truncate


class Anchors(NamedTuple):
    """Images that views are searched for.

    Attributes:
        ids: ids of the images, int64 ``(N,)``, on which the initial noise depends.
        codes: codes of the images, ``(N, L, D)``.
        images: the images, uint8 ``(N, C, H, W)``; the distance of views is measured from their projections.
    """

    ids: Tensor
    codes: Tensor
    images: Tensor


class SearchResult(NamedTuple):
    """Anchors whose search has ended.

    Attributes:
        ids: ids of the anchors, int64 ``(m,)``.
        views: views of the anchors, uint8 ``(m, n, C, H, W)``.
        metrics: metrics by name, float32 ``(m,)`` each: ``loss``; ``boundary``, the mean of |d - eps1| over the views;
            ``spread``, the mean distance between views; ``steps``, the number of steps of Adam.
    """

    ids: Tensor
    views: Tensor
    metrics: dict[str, Tensor]


def distances(views: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each view from its anchor, and its mean distance from the other views: both ``(B, n)``.

    The gradient is 0 where a distance is 0.

    Args:
        views: projections ``(B, n, d)``.
        target: projections of the anchors ``(B, d)``.
    """
    apart = torch.linalg.vector_norm(views.unsqueeze(1) - views.unsqueeze(2), dim=-1)
    others = max(views.shape[1] - 1, 1)
    return torch.linalg.vector_norm(views - target.unsqueeze(1), dim=-1), apart.sum(2) / others


def search_loss(views: Tensor, target: Tensor, eps1: float, eps2: float, uniformity: float) -> Tensor:
    """Boundary and uniformity loss of each anchor's views ("Constructive Assimilation", Eq. 2, as released).

    The loss is ``mean_k (d_k - eps1)^2 + uniformity * mean_k max(0, eps2 - dbar_k)``, where d_k is the distance of view
    k from the anchor and dbar_k is its mean distance from the other views. In the paper, the first term (delta) is 0
    for all distances up to eps1. Here, as in the released code, it is 0 at a distance of eps1 only.

    Args:
        views: projections ``(B, n, d)``, L2-normalised.
        target: projections of the anchors ``(B, d)``, L2-normalised.
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
    settings: SearchSettings,
    *,
    eps1: float,
    eps2: float,
    truncation: float,
    batch_size: int = 128,
    autocast: torch.dtype | None = None,
    compile: bool = False,
) -> Iterator[SearchResult]:
    """Search for views of anchors. When an anchor has converged, the next anchor takes its place in the batch.

    The result for an anchor does not depend, up to rounding, on the other anchors of the batch. Generator and encoder
    must be frozen and in evaluation mode.

    Args:
        synthesize: maps codes ``(N, L, D)`` to images ``(N, C, H, W)``, which are then clamped to [0, 1].
        project: maps images ``(N, C, H, W)`` in [0, 1] to L2-normalised projections ``(N, d)``.
        mean_code: the generator's mean code ``(D,)``, on the device of the search.
        anchors: the anchors, in batches of any size.
        settings: see `SearchSettings`. Its eps1, eps2 and truncation are ignored: the arguments below are used.
        eps1: see `search_loss`.
        eps2: see `search_loss`.
        truncation: see `SearchSettings`.
        batch_size: number of anchors that are searched at a time, with `settings.views` views each.
        autocast: lower precision for both networks; None is float32. Loss and Adam are always in float32.
        compile: if True, compile both networks, the loss and its gradient by torch.compile.

    Yields:
        Results of the anchors whose searches have just ended, in any order.

    Raises:
        UserError: the loss of an anchor is non-finite.
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

    def begin(new: Anchors) -> SearchState:
        start = new.codes.unsqueeze(1).to(device)
        sampled = noise(new.ids, settings.seed, settings.views, *new.codes.shape[1:]).to(device)
        codes = start + settings.noise * sampled
        with torch.no_grad():
            target = projections(new.images.to(device).float() / 255)
        zero = torch.zeros_like(codes)
        return SearchState(new.ids.to(device), codes, target, zero, zero.clone(), zero.new_zeros(len(codes)))

    evaluate = torch.compile(forward) if compile else forward
    state: SearchState | None = None
    waiting: Anchors | None = None
    while True:
        while state is None or len(state.ids) < batch_size:
            if waiting is None or not len(waiting.ids):
                waiting = next(anchors, None)
            if waiting is None:
                break
            free = batch_size - (0 if state is None else len(state.ids))
            new = begin(Anchors(*(tensor[:free] for tensor in waiting)))
            waiting = Anchors(*(tensor[free:] for tensor in waiting))
            state = new if state is None else state.concatenate(new)
        if state is None or not len(state.ids):
            return
        codes = state.codes.requires_grad_()
        loss, images, views = evaluate(codes, state.target)
        (gradient,) = torch.autograd.grad(loss.sum(), codes)
        loss = loss.detach()
        state = state._replace(codes=codes.detach())
        done = (loss <= settings.tolerance) | (state.steps >= settings.steps) | ~loss.isfinite()
        if done.any():
            yield _result(state, loss, images, views, done, eps1)
            state, gradient = state.select(~done), gradient[~done]
        state = state.adam_step(gradient, settings.lr)


@torch.no_grad()
def _result(state: SearchState, loss: Tensor, images: Tensor, views: Tensor, done: Tensor, eps1: float) -> SearchResult:
    ids, ended = state.ids[done].cpu(), loss[done]
    if not ended.isfinite().all():
        first = int(ids[~ended.isfinite().cpu()][0])
        raise UserError(
            f"search: the loss of image {first} is not finite: its code, the generator or the encoder has diverged, or "
            "the precision is too low; try --precision float32"
        )
    from_anchor, from_others = distances(views[done], state.target[done])
    metrics = {
        "loss": ended,
        "boundary": (from_anchor - eps1).abs().mean(1),
        "spread": from_others.mean(1),
        "steps": state.steps[done],
    }
    pixels = images[done].mul(255).round().to(torch.uint8).cpu()
    return SearchResult(ids, pixels, {name: value.float().cpu() for name, value in metrics.items()})
