"""Copies are distinguished from new images, and the neighbours shown are the nearest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest
import torch
from scipy.stats import mannwhitneyu, norm
from sklearn.neighbors import NearestNeighbors
from torch import Generator, Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.generative.sampling import sample_images
from ssl_bench.evaluation.protocols.memorisation import Memorisation, mann_whitney_z
from tests.evaluation.digits_encoder import digits_encoder
from tests.ranks import Ranks

QUICK = Memorisation(images=300)
FEATURES = digits_encoder(Path()).features
SEEN = torch.cat([FEATURES.train.features, FEATURES.validation.features]).view(-1, 1, 8, 8)
UNSEEN = FEATURES.test.features.view(-1, 1, 8, 8)
DIRECTIONS = torch.linalg.qr(torch.randn(64, 64, generator=Generator().manual_seed(0))).Q


def some(images: Tensor, noise: float = 0.0) -> Callable[[int, Generator], Tensor]:
    def sample(n: int, generator: Generator) -> Tensor:
        chosen = images[torch.randint(len(images), (n,), generator=generator)]
        return (chosen + noise * torch.randn(chosen.shape, generator=generator)).clamp(0, 1)

    return sample


def encode(images: Tensor) -> Tensor:
    return images.flatten(1)


def sampler(folder: Path, images: Tensor, noise: float = 0.0) -> EvaluatedEncoder:
    return digits_encoder(folder, sample=some(images, noise), encode=encode)


def test_copies_are_nearer_than_test_images(tmp_path: Path) -> None:
    metrics = QUICK(sampler(tmp_path, SEEN))
    assert metrics["memorisation/distance_ratio"] < 0.01
    assert metrics["memorisation/mann_whitney_z"] < -15


def test_copies_with_noise_are_still_nearer(tmp_path: Path) -> None:
    metrics = QUICK(sampler(tmp_path, SEEN, 0.05))
    assert 0.1 < metrics["memorisation/distance_ratio"] < 0.8
    assert metrics["memorisation/mann_whitney_z"] < -3


def test_new_images_are_as_far_as_test_images(tmp_path: Path) -> None:
    metrics = QUICK(sampler(tmp_path, UNSEEN))
    assert metrics["memorisation/distance_ratio"] == pytest.approx(1, abs=0.1)
    assert abs(metrics["memorisation/mann_whitney_z"]) < 3


def test_images_unlike_all_others_are_farther(tmp_path: Path) -> None:
    metrics = QUICK(sampler(tmp_path, UNSEEN, 0.5))
    assert metrics["memorisation/distance_ratio"] > 1.2
    assert metrics["memorisation/mann_whitney_z"] > 3


def test_the_ratio_is_of_median_distances_between_features_of_unit_length(tmp_path: Path) -> None:
    encoder = replace(sampler(tmp_path, UNSEEN, 0.3), encode=lambda images: 7 * images.flatten(1))
    ratio = Memorisation(images=100)(encoder)["memorisation/distance_ratio"]
    [(_, images)] = sample_images(encoder, 100, 100, 0)
    chosen = torch.randperm(300, generator=Generator().manual_seed(0))[:100]
    index = NearestNeighbors(n_neighbors=1).fit(torch.nn.functional.normalize(SEEN.flatten(1)))
    generated, real = (
        torch.from_numpy(index.kneighbors(torch.nn.functional.normalize(x.flatten(1)))[0]).median()
        for x in (images, UNSEEN[chosen])
    )
    assert ratio == pytest.approx((generated / real).item(), rel=1e-5)


def test_z_agrees_with_scipy() -> None:
    x, y = torch.randn(2, 90, generator=Generator().manual_seed(0)).mul(8).round().double()  # with ties
    x = x[:70] - 1
    expected = mannwhitneyu(x, y, alternative="less", use_continuity=False, method="asymptotic")
    z = mann_whitney_z(x, y)
    assert norm.cdf(z) == pytest.approx(expected.pvalue, rel=0.02)  # scipy's variance is less by the ties
    u = expected.statistic
    assert z == pytest.approx((u - 70 * 90 / 2) / (70 * 90 * 161 / 12) ** 0.5)


def test_the_neighbours_shown_are_the_nearest_by_pixels_and_by_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Features that rank otherwise than pixels: some directions count more.
    scale = torch.logspace(-1, 1, 64)
    parts = [FeatureSplit(part.features @ DIRECTIONS * scale, part.labels) for part in FEATURES[:3]]
    encoder = replace(
        sampler(tmp_path, UNSEEN, 0.3),
        features=FEATURES._replace(train=parts[0], validation=parts[1], test=parts[2]),
        encode=lambda images: images.flatten(1) @ DIRECTIONS * scale,
    )
    grids: list[Tensor] = []
    monkeypatch.setattr("ssl_bench.plots.primitives.show_grid", lambda images, ax: grids.append(images))
    QUICK(encoder)
    generated, by_pixels, by_features = (grid.flatten(2) for grid in grids)
    x, seen = generated[:, 0], SEEN.flatten(1)
    near = NearestNeighbors(n_neighbors=4).fit(seen).kneighbors(x)[1]
    torch.testing.assert_close(by_pixels, seen[torch.from_numpy(near)])
    index = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(seen @ DIRECTIONS * scale)
    torch.testing.assert_close(by_features, seen[torch.from_numpy(index.kneighbors(x @ DIRECTIONS * scale)[1])])
    assert not torch.equal(by_pixels, by_features)


def test_the_plot_is_an_image(tmp_path: Path) -> None:
    QUICK(sampler(tmp_path, SEEN))
    picture = matplotlib.image.imread(tmp_path / "figures" / "memorisation.png")
    assert min(picture.shape[:2]) > 600
    assert picture[..., :3].std() > 0.05


def in_a_group(folder: Path) -> dict[str, float]:
    return Memorisation(images=200)(sampler(folder, UNSEEN, 0.3))  # 2 batches: of 3 processes the first has no batch


def test_it_does_not_depend_on_the_number_of_processes(tmp_path: Path, ranks: Ranks) -> None:
    expected = in_a_group(tmp_path / "alone")
    for found in ranks(in_a_group, tmp_path / "together", size=3):
        assert found == pytest.approx(expected, rel=1e-12)
    alone, together = (tmp_path / folder / "figures" / "memorisation.png" for folder in ("alone", "together"))
    assert together.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("lacking", [{"sample": None}, {"encode": None}, {"images": None}, {"image_shape": (64,)}])
def test_it_runs_by_default_if_samples_can_be_encoded(lacking: dict[str, object], tmp_path: Path) -> None:
    assert QUICK.runs_by_default(sampler(tmp_path, SEEN))
    encoder = replace(sampler(tmp_path, SEEN), **lacking)  # type: ignore[arg-type]
    assert not QUICK.runs_by_default(encoder)
    with pytest.raises(UserError, match="memorisation needs samples, their encoder and real images"):
        QUICK(encoder)


def test_invalid_samples_and_features_are_refused(tmp_path: Path) -> None:
    encoder = sampler(tmp_path, SEEN)
    with pytest.raises(UserError, match=r"sample\(n\) must give n images of shape \(1, 8, 8\)"):
        QUICK(replace(encoder, sample=lambda n, generator: 2 + some(SEEN)(n, generator)))
    with pytest.raises(UserError, match="features of samples are not finite"):
        QUICK(replace(encoder, encode=lambda images: images.flatten(1).log()))
    copied = FEATURES._replace(test=FEATURES.train)
    with pytest.raises(UserError, match="half of the test images are those of training images"):
        QUICK(replace(encoder, features=copied))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "figures").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"memorisation: cannot plot memorisation\.png: .*File exists"):
        QUICK(replace(encoder, folder=tmp_path / "other"))
