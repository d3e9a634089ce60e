"""W-search: its loss equals a double loop, its Adam equals torch's, and anchors are independent."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.errors import UserError
from ssl_bench.generation.settings import SearchSettings
from ssl_bench.generation.w_perturb import noise, truncate
from ssl_bench.generation.w_search import Anchors, SearchResult, search, search_loss

LAYERS, STYLE, SHAPE = 3, 5, (1, 4, 4)
EPS1, EPS2, TRUNCATION = 0.3, 0.5, 0.7
OPEN: Any = {"eps1": EPS1, "eps2": EPS2, "truncation": TRUNCATION}
MEAN = torch.full((STYLE,), 0.1)
torch.manual_seed(0)
GENERATOR, ENCODER = torch.randn(LAYERS * STYLE, 16) / 4, torch.randn(16, 6)


def synthesize(codes: Tensor) -> Tensor:
    return (codes.flatten(1) @ GENERATOR).tanh().view(-1, *SHAPE) / 2 + 0.5


def project(images: Tensor) -> Tensor:
    return F.normalize(images.flatten(1) @ ENCODER, dim=1)


def anchors(ids: range) -> Anchors:
    codes = noise(torch.tensor(ids), 7, LAYERS, STYLE)
    return Anchors(torch.tensor(ids), codes, synthesize(codes).mul(255).round().to(torch.uint8))


def run_search(
    settings: SearchSettings, chunks: Iterator[Anchors], batch_size: int = 4, **how: Any
) -> dict[int, SearchResult]:
    """Search, and return the result of each anchor by its id."""
    every = search(synthesize, project, MEAN, chunks, settings, **OPEN, batch_size=batch_size, **how)
    rows: dict[int, SearchResult] = {}
    for part in every:
        for row, number in enumerate(part.ids.tolist()):
            assert number not in rows, "a result of each anchor once"
            rows[number] = SearchResult(part.ids[row], part.views[row], {n: v[row] for n, v in part.metrics.items()})
    return rows


def test_the_loss_equals_a_double_loop() -> None:
    views, target = F.normalize(torch.randn(3, 4, 6), dim=2), F.normalize(torch.randn(3, 6), dim=1)
    for weight, eps2 in [(0.0, 0.5), (0.3, 1.6)]:
        expected = []
        for b in range(3):
            total = 0.0
            for k in range(4):
                total += (float((views[b, k] - target[b]).norm()) - EPS1) ** 2 / 4
                mean = sum(float((views[b, k] - views[b, j]).norm()) for j in range(4) if j != k) / 3
                total += weight * max(0.0, eps2 - mean) / 4
            expected.append(total)
        torch.testing.assert_close(search_loss(views, target, EPS1, eps2, weight), torch.tensor(expected))


def test_gradients_are_finite_where_views_coincide() -> None:
    target = F.normalize(torch.randn(2, 6), dim=1)
    views = target.unsqueeze(1).repeat(1, 3, 1).requires_grad_()
    search_loss(views, target, EPS1, EPS2, 0.01).sum().backward()
    assert views.grad is not None
    assert views.grad.isfinite().all()


def test_a_search_equals_torchs_adam() -> None:
    settings = SearchSettings(views=3, steps=20, tolerance=0.0)
    anchor = anchors(range(5, 6))
    codes = anchor.codes + settings.noise * noise(anchor.ids, settings.seed, 3, LAYERS, STYLE)[0]
    codes.requires_grad_()
    optimizer = torch.optim.Adam([codes], settings.lr)

    def loss() -> tuple[Tensor, Tensor]:
        images = synthesize(truncate(codes, MEAN, TRUNCATION)).clamp(0, 1)
        target = project(anchor.images / 255)
        return search_loss(project(images)[None], target, EPS1, EPS2, settings.uniformity), images

    for _ in range(20):
        optimizer.zero_grad()
        loss()[0].backward()
        optimizer.step()
    mine = run_search(settings, iter([anchor]))[5]
    torch.testing.assert_close(mine.metrics["loss"], loss()[0][0].detach(), rtol=1e-4, atol=1e-7)
    assert (mine.views.int() - loss()[1].mul(255).round().int()).abs().max() <= 1
    assert mine.metrics["steps"] == 20


def test_views_are_at_the_boundary_and_apart_from_each_other() -> None:
    settings = SearchSettings(views=4, steps=300, uniformity=0.1, tolerance=5e-3)
    rows = run_search(settings, iter([anchors(range(9))]))
    assert sorted(rows) == list(range(9))
    for number, row in rows.items():
        target, views = project(anchors(range(number, number + 1)).images / 255), project(row.views / 255)
        away = (views - target).norm(dim=1)
        assert row.metrics["loss"] <= settings.tolerance
        assert row.metrics["steps"] < settings.steps
        assert (away - EPS1).abs().mean() < 0.1
        torch.testing.assert_close(row.metrics["boundary"], (away - EPS1).abs().mean(), atol=0.01, rtol=0)
        apart = torch.pdist(views).mean()
        assert apart > 0.4
        torch.testing.assert_close(row.metrics["spread"], apart, atol=0.02, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_result_does_not_depend_on_the_rest_of_the_batch(batch_size: int) -> None:
    settings = SearchSettings(views=3, steps=60, tolerance=5e-3)
    alone = {i: run_search(settings, iter([anchors(range(i, i + 1))]))[i] for i in range(7)}
    assert len({float(row.metrics["steps"]) for row in alone.values()}) > 2  # they converge at different steps
    together = run_search(settings, iter([anchors(range(2)), anchors(range(2, 7))]), batch_size)
    for number, row in alone.items():
        assert row.metrics["steps"] == together[number].metrics["steps"]
        assert (row.views.int() - together[number].views.int()).abs().max() <= 1


def test_the_batch_is_kept_full() -> None:
    sizes = []

    def counting(codes: Tensor) -> Tensor:
        sizes.append(len(codes) // 3)
        return synthesize(codes)

    settings = SearchSettings(views=3, steps=60, tolerance=5e-3)
    list(
        search(
            counting, project, MEAN, iter([anchors(range(5)), anchors(range(5, 12))]), settings, **OPEN, batch_size=4
        )
    )
    begun_all = len(sizes) - next(i for i, size in enumerate(sizes[::-1]) if size == 4)
    assert set(sizes[:begun_all]) == {4}
    assert sizes[begun_all:] == sorted(sizes[begun_all:], reverse=True)


def test_other_seeds_find_other_views() -> None:
    first, second = (
        run_search(SearchSettings(views=3, steps=60, seed=seed), iter([anchors(range(1))]))[0] for seed in (0, 1)
    )
    assert not torch.equal(first.views, second.views)


def test_lower_precision_gives_similar_results() -> None:
    settings = SearchSettings(views=3, steps=60, tolerance=5e-3)
    exact = run_search(settings, iter([anchors(range(3))]))
    low = run_search(settings, iter([anchors(range(3))]), autocast=torch.bfloat16)
    for number, row in exact.items():
        assert low[number].metrics["boundary"] < 0.05
        assert (row.views.int() - low[number].views.int()).abs().float().mean() < 16


def test_a_non_finite_loss_is_an_error_that_names_the_image() -> None:
    broken = anchors(range(4))
    broken.codes[2] = torch.nan
    with pytest.raises(UserError, match="the loss of image 2 is not finite"):
        run_search(SearchSettings(views=3, steps=60), iter([broken]))
