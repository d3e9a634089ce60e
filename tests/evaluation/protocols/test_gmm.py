"""Gaussian mixtures against scikit-learn's, where the answer is known, and on any number of processes."""

from typing import Any

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_bench.errors import UserError
from ssl_bench.evaluation.mixture import Family, Mixture, ToPoints, em
from ssl_bench.evaluation.notes import ProtocolNote
from ssl_bench.evaluation.protocols.gmm import GMM, subsample
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import CPU, gaussians, rows, split, task
from tests.ranks import Ranks

KINDS = {"full": "full", "diagonal": "diag"}
"""Covariances: our name, and scikit-learn's."""
PREFIX = {"full": "gmm", "diagonal": "gmm_diagonal"}
"""Beginning of the names of metrics."""


def start(x: Tensor, k: int, full: bool) -> Mixture:
    """Two mixtures around the first rows, with unit covariances."""
    dim = x.shape[1]
    means = torch.stack([x[:k], x[k : 2 * k]]).double()
    covariances = torch.ones(2, k, dim).double()
    return Mixture(
        torch.full((2, k), 1 / k, dtype=torch.float64), means, covariances.diag_embed() if full else covariances
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iterations", [1, 7])
def test_iterations_agree_with_scikit_learn(kind: str, iterations: int) -> None:
    x, y = gaussians(2500, 6, 3, spread=1.0)
    assert len(rows(x, y).slices()) == 3
    x = (x - x.mean(0)) / x.std(0)
    family = Family.of(6, kind == "full", CPU)
    begin = start(x, 3, kind == "full")
    fitted, likelihood = em(rows(x, y), torch.Tensor.double, family, begin, ridge=1e-3, max_iter=iterations, tol=0)
    for r in range(2):
        reference = GaussianMixture(
            3,
            covariance_type=KINDS[kind],
            tol=0,
            reg_covar=1e-3,
            max_iter=iterations,
            weights_init=begin.weights[r].numpy(),
            means_init=begin.means[r].numpy(),
            precisions_init=begin.covariances[r].numpy(),
        ).fit(x.double().numpy())
        for ours, theirs in zip(
            fitted.take(slice(r, r + 1)), (reference.weights_, reference.means_, reference.covariances_), strict=True
        ):
            torch.testing.assert_close(ours[0], torch.from_numpy(theirs), rtol=1e-8, atol=1e-8)
        assert likelihood[r].item() == pytest.approx(reference.lower_bound_, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_is_as_high_as_that_of_scikit_learn(digits: Task, kind: str) -> None:
    pixels = digits.train.features
    pixels = pixels[:, pixels.std(0) > 5.5]
    scored = task((pixels, digits.train.y), (pixels[:1], digits.train.y[:1]), (pixels, digits.train.y), 10)
    found = GMM(covariance=kind, ridge=1e-2)(scored)[0][f"{PREFIX[kind]}/log_likelihood"]  # type: ignore[arg-type]
    x = pixels.double().numpy()
    if kind == "full":  # our ridge is relative to the covariance of all, which is 1 after whitening
        values, vectors = torch.linalg.eigh(pixels.double().T.cov(correction=0))
        scale = values.sqrt()
        x = ((pixels.double() - pixels.double().mean(0)) @ vectors / scale).numpy()
    else:
        scale = pixels.double().std(0, correction=0)
        x = ((pixels.double() - pixels.double().mean(0)) / scale).numpy()
    reference = GaussianMixture(10, covariance_type=KINDS[kind], n_init=5, reg_covar=1e-2, random_state=0).fit(x)
    assert found >= reference.score(x) - scale.log().sum().item() - 0.05


def test_likelihood_never_decreases() -> None:
    x, y = gaussians(1500, 6, 3, spread=1.0)
    x = (x - x.mean(0)) / x.std(0)
    family, last = Family.of(6, True, CPU), torch.full((2,), -torch.inf)
    mixture = start(x, 3, True)
    for _ in range(20):
        mixture, likelihood = em(rows(x, y), torch.Tensor.double, family, mixture, ridge=0, max_iter=1, tol=0)
        assert (likelihood >= last - 1e-9).all()
        last = likelihood


@pytest.mark.parametrize("kind", KINDS)
def test_separated_blobs_are_found(kind: str) -> None:
    found = GMM(covariance=kind)(split(*gaussians(800, 5, 4, spread=0.05), 4))[0]  # type: ignore[arg-type]
    assert {name: found[f"{PREFIX[kind]}/{name}"] for name in ("accuracy", "nmi", "ari")} == pytest.approx(
        {"accuracy": 100, "nmi": 100, "ari": 100}
    )


def test_log_likelihood_of_one_gaussian_is_in_the_features_units() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([100.0, 1.0, 0.01])
    x = 5 + torch.randn(4000, 3, generator=generator) * scale
    y = torch.zeros(4000, dtype=torch.int64)
    found = GMM(inits=1)(task((x, y), (x, y), (x, y), 1))[0]["gmm/log_likelihood"]
    centred = x.double() - x.double().mean(0)
    truth = torch.distributions.MultivariateNormal(torch.zeros(3).double(), centred.T @ centred / 4000)
    assert found == pytest.approx(truth.log_prob(centred).mean().item(), abs=1e-3)


def test_components_with_equal_means_are_separated_by_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(3000) % 2
    long = torch.randn(3000, 2, generator=generator) * torch.tensor([10.0, 0.5])
    x = torch.where(y[:, None] == 0, long, long.flip(1)) + 100
    assert GMM()(split(x, y, 2))[0]["gmm/accuracy"] > 90
    rotated = x @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]])  # diagonal covariances cannot follow
    assert GMM()(split(rotated, y, 2))[0]["gmm/accuracy"] > 90


def test_only_the_first_principal_components_are_used() -> None:
    x, y = gaussians(1000, 4, 4, spread=0.05)
    x = (x - x.mean(0)) / x.std(0)
    noise = 1e-3 * torch.randn(1000, 30, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([noise, x], 1)
    found, expected = GMM(max_dim=4)(split(wide, y, 4))[0], GMM()(split(x, y, 4))[0]
    assert found == pytest.approx(expected, rel=1e-2)


def test_constant_and_dependent_features_change_nothing() -> None:
    x, y = gaussians(1000, 4, 3, spread=1.0)
    more = torch.cat([x, torch.full((1000, 2), 7.0)], 1)
    for settings in (GMM(inits=3), GMM(inits=3, covariance="diagonal")):
        assert settings(split(more, y, 3))[0] == pytest.approx(settings(split(x, y, 3))[0], rel=1e-6)
    apart, y = gaussians(1000, 4, 3, spread=0.05)
    assert GMM()(split(torch.cat([apart, apart[:, :2]], 1), y, 3))[0]["gmm/accuracy"] == 100


def test_principal_components_of_few_images_are_those_of_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = gaussians(200, 250, 3, spread=1.0)
    x[:, 3], x[:, 4] = 7.0, x[:, 5]
    settings = GMM(inits=2, max_dim=5)
    found = settings(split(x, y, 3))[0]
    monkeypatch.setattr(Task, "wide", False)
    assert found == pytest.approx(settings(split(x, y, 3))[0], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_matrix_of_all_pairs_of_features_is_computed_for_few_images(kind: str) -> None:
    sizes: set[int] = set()

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **kwargs or {})
            sizes.update(part.numel() for part in tree_leaves(result) if isinstance(part, Tensor))
            return result

    given = split(*gaussians(60, 5000, 3, spread=1.0), 3)
    with Sizes():  # type: ignore[no-untyped-call]
        GMM(inits=1, max_dim=8, covariance=kind)(given)  # type: ignore[arg-type]
    assert max(sizes) < 5000**2 / 10


def test_left_out_principal_components_are_noted() -> None:
    with pytest.warns(ProtocolNote, match=r"^gmm: fitted on 2 of 6 principal components, \d+ % of the variance$"):
        GMM(inits=1, max_dim=2)(split(*gaussians(300, 6, 3, spread=1.0), 3))


def test_components_with_too_few_images_are_noted() -> None:
    x, y = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2
    x[0] += 1000
    far = task((x, y), (x, y), (x, y), 2)
    with pytest.warns(ProtocolNote, match=r"^gmm: 1 of 2 components have too few images for their covariance in 3 dim"):
        GMM(inits=1)(far)


def test_too_few_different_images_are_refused_under_the_name_of_the_protocol() -> None:
    x, y = torch.eye(3).repeat(9, 1), torch.arange(27) % 4
    with pytest.raises(UserError, match=r"^gmm: fewer than 4 of 27 features differ by more than rounding errors"):
        GMM()(task((x, y), (x, y), (x, y), 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [600, 30], ids=["tall", "wide"])
def test_float32_features_far_from_the_origin_are_scored_or_refused_for_the_true_reason(kind: str, images: int) -> None:
    x, y = gaussians(images, 6 if images == 600 else 60, 3, spread=1.0)
    x = (x - x.mean(0)) / x.std(0)
    settings = GMM(inits=2, covariance=kind)  # type: ignore[arg-type]
    (near,), (far,) = (settings(split(x + offset, y, 3)) for offset in (0, 1e5))
    accuracy = f"{PREFIX[kind]}/accuracy"
    assert near[accuracy] > 60  # chance is 33
    assert far[accuracy] == pytest.approx(near[accuracy], abs=1)
    x += 3e6  # rounded to multiples of 1/4
    assert len(x.unique(dim=0)) == images
    with pytest.raises(UserError, match=r"^gmm: the features of all \d+ training images are the same up to rounding"):
        settings(split(x, y, 3))


def test_a_component_without_points_stays_finite() -> None:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    begin = start(x, 3, True)
    begin.means[0, 2] = 1e6
    fitted, likelihood = em(
        rows(x, torch.zeros(200, dtype=torch.int64)),
        torch.Tensor.double,
        Family.of(2, True, CPU),
        begin,
        ridge=1e-6,
        max_iter=5,
        tol=0,
    )
    assert likelihood.isfinite().all()
    assert all(part.isfinite().all() for part in fitted)
    assert fitted.weights[0, 2] < 1e-12


def test_a_first_em_on_a_subsample_gives_the_same_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(24_000) % 3
    x = 4 * torch.eye(3)[y] + torch.randn(24_000, 3, generator=generator)
    many = rows(x, y)
    assert len(subsample(many, 10_000)) == 10_000
    found = GMM(inits=4)(Task(many, many, many, 3))[0]
    reference = GaussianMixture(3, random_state=0).fit(x.double().numpy())
    assert found["gmm/log_likelihood"] == pytest.approx(reference.score(x.double().numpy()), abs=1e-3)


def test_a_subsample_of_indexed_rows_contains_only_these() -> None:
    x = torch.arange(100.0)[:, None]
    chosen = Rows(x, torch.arange(50)[:, None], CPU, index=torch.arange(50) * 2)
    part = subsample(chosen, 5)
    assert torch.cat([block for block, _ in part.blocks()]).flatten().tolist() == [0, 20, 40, 60, 80]
    assert part.y.flatten().tolist() == [0, 10, 20, 30, 40]


def test_each_target_is_scored_by_its_labels() -> None:
    x, y = gaussians(1000, 4, 3, spread=1.0)
    first, second = GMM(inits=3)(split(x, torch.stack([y, 2 - y], 1), 3))
    assert first == pytest.approx(second)


def test_fewer_images_than_components_are_refused() -> None:
    x, y = torch.randn(3, 2), torch.arange(3)
    with pytest.raises(UserError, match="3 training images for 4 components"):
        GMM()(task((x, y), (x, y), (x, y), 4))


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features_are_refused(kind: str) -> None:
    x, y = torch.full((50, 4), 3.7), torch.arange(50) % 2
    with pytest.raises(UserError, match="all 50 training images are the same"):
        GMM(covariance=kind)(task((x, y), (x, y), (x, y), 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_singular_covariance_without_ridge_is_refused(kind: str) -> None:
    x, y = torch.eye(4).repeat(10, 1), torch.arange(40) % 4  # each component is one point
    with pytest.raises(UserError, match="singular; give a larger ridge"):
        GMM(covariance=kind, ridge=0)(task((x, y), (x, y), (x, y), 4))  # type: ignore[arg-type]
    assert GMM(covariance=kind)(task((x, y), (x, y), (x, y), 4))[0][f"{PREFIX[kind]}/accuracy"] == 100  # type: ignore[arg-type]


def test_mixtures_that_do_not_fit_at_a_time_are_fitted_in_groups_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = split(*gaussians(1000, 6, 5, spread=1.0), 5)
    expected = GMM(inits=7)(given)[0]
    monkeypatch.setattr("ssl_bench.evaluation.protocols.gmm.MAX_GIB", 2.5 * size_of_one(5, 6, full=True))
    starts: list[int] = []

    def counted(rows: Rows, points: ToPoints, family: Family, start: Mixture, **how: float) -> tuple[Mixture, Tensor]:
        starts.append(len(start.weights))
        return em(rows, points, family, start, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("ssl_bench.evaluation.protocols.gmm.em", counted)
    assert GMM(inits=7)(given)[0] == pytest.approx(expected, rel=1e-9)
    assert starts == [2, 2, 2, 1]


def test_diagonal_covariances_replace_full_ones_that_do_not_fit_under_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = split(*gaussians(1000, 6, 5, spread=1.0), 5)
    expected = GMM(inits=3, covariance="diagonal")(given)[0]
    assert set(expected) == {f"gmm_diagonal/{name}" for name in ("accuracy", "nmi", "ari", "log_likelihood")}
    monkeypatch.setattr("ssl_bench.evaluation.protocols.gmm.MAX_GIB", 3 * size_of_one(5, 6, full=False))
    assert 3 * size_of_one(5, 6, full=False) > size_of_one(5, 6, full=True)
    assert "gmm/accuracy" in GMM(inits=3)(given)[0]
    monkeypatch.setattr("ssl_bench.evaluation.protocols.gmm.MAX_GIB", size_of_one(5, 6, full=False))
    assert GMM(inits=3)(given)[0] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(UserError, match=r"a mixture of 5 components in 6 dimensions takes .*give a smaller max_dim"):
        GMM(inits=3, covariance="full")(given)
    monkeypatch.setattr("ssl_bench.evaluation.protocols.gmm.MAX_GIB", 0)
    with pytest.raises(UserError, match=r"leave gmm out of the protocols"):
        GMM(inits=3)(given)


def size_of_one(k: int, dim: int, full: bool) -> float:
    """Size of the parameters of one mixture, in GiB."""
    return k * (1 + dim + (dim * (dim + 1) // 2 if full else dim)) * 8 / 2**30


def given(n: int) -> Task:
    return split(*gaussians(n, 6, 3, spread=1.0), 3)


def both(n: int) -> list[dict[str, float]]:
    return [GMM(inits=3)(given(n))[0], GMM(inits=3, covariance="diagonal")(given(n))[0]]


@pytest.mark.parametrize(("n", "train", "test"), [(400, 1, 1), (4500, 3, 2), (9000, 6, 3)])
def test_metrics_are_the_same_on_any_number_of_processes(ranks: Ranks, n: int, train: int, test: int) -> None:
    # Blocks of each: of 4 ranks some have none, or one has more; the most rows begin with a sample, in 5 blocks.
    assert (len(given(n).train.slices()), len(given(n).test.slices())) == (train, test)
    expected = both(n)
    for size in (2, 3, 4):
        for found in ranks(both, n, size=size):
            for one, other in zip(found, expected, strict=True):
                assert one == pytest.approx(other, rel=1e-9)
