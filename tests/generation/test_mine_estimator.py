"""MINE estimates the known mutual information of Gaussians, and that of an image and its copy."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.data.contents import ImageSet
from ssl_bench.data.digits import Digits
from ssl_bench.data.recipes import Steps
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.generation.mine_estimator import (
    Critic,
    Marginal,
    Pairs,
    kinds_of_views,
    mutual_information,
    mutual_information_table,
    train_critic,
)
from ssl_bench.generation.settings import MineSettings

SAMPLES, DIMS = 2048, 1


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = Digits()
    data.setup()
    return data


@pytest.fixture
def few(digits: Digits) -> ImageSet:
    images = digits.split("test")
    return ImageSet(images.images, torch.zeros(1797, dtype=torch.int64), images.rows[:64])


@pytest.fixture
def views(digits: Digits) -> Views:
    crop: Steps = [{"random_resized_crop": {"scale": [0.2, 1.0]}}, "normalize"]
    return Views(crop, image_shape=digits.image_shape, mean=digits.mean, std=digits.std)


def gaussians(rho: float) -> Pairs:
    x, noise = torch.randn(2, SAMPLES, DIMS, generator=torch.Generator().manual_seed(0))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    return lambda ids: (x[ids], y[ids])


def estimate(pairs: Pairs, marginal: Marginal = "all_pairs", batch_size: int = 64) -> float:
    torch.manual_seed(0)
    critic = Critic(nn.Identity(), DIMS, 32, marginal)
    return train_critic(pairs, SAMPLES, critic, MineSettings(epochs=8, batch_size=batch_size, lr=1e-2))


@pytest.mark.parametrize("marginal", ["all_pairs", "shuffle"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_estimate_is_that_of_correlated_gaussians(rho: float, marginal: Marginal) -> None:
    assert estimate(gaussians(rho), marginal) == pytest.approx(-DIMS / 2 * math.log(1 - rho**2), abs=0.1)


def test_joint_and_marginal_scores_equal_those_of_the_layers_in_sequence() -> None:
    critic = Critic(nn.Linear(3, 5), 5, 8)
    first, second = torch.randn(2, 4, 3)
    joint, marginal = critic(first, second)
    for i in range(4):
        for j in range(4):
            both = torch.cat([critic.trunk(first[i]), critic.trunk(second[j])])
            expected = critic.out(critic.hidden(both).relu())[0]
            torch.testing.assert_close(marginal[i, j], expected)
            if i == j:
                torch.testing.assert_close(joint[i], expected)


def test_the_seed_determines_the_estimate_and_the_callers_random_state_is_restored() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(0)
    pairs = gaussians(0.5)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        critic = Critic(nn.Identity(), DIMS, 8)
        torch.manual_seed(5)
        values.append(train_critic(pairs, 256, critic, MineSettings(epochs=1, batch_size=64, seed=seed)))
        assert torch.equal(torch.rand(1), expected)
    assert values[0] == values[1] != values[2]


def test_an_image_has_all_information_about_its_copy_and_none_about_noise(few: ImageSet, views: Views) -> None:
    def plain(images: Tensor, ids: Tensor) -> Tensor:
        return views.evaluation_input(images)

    def noise(images: Tensor, ids: Tensor) -> Tensor:
        return torch.rand(len(images), *views.image_shape)

    settings = MineSettings(width=8, epochs=8, batch_size=16, lr=3e-3)
    copy, nothing = (mutual_information(plain, other, few, settings) for other in (plain, noise))
    assert nothing < 0.3 < 0.5 * math.log(16) < copy <= math.log(16) + 1e-6


def test_the_table_has_each_pair_of_kinds_and_the_ceiling(few: ImageSet, views: Views) -> None:
    def source(images: Tensor, ids: Tensor) -> Tensor:
        return images.flip(3).expand(2, *images.shape)

    settings = MineSettings(width=4, epochs=1, batch_size=16)
    nats = mutual_information_table(kinds_of_views(views, source), few, settings)
    assert list(nats) == ["original_generated", "original_expert", "generated_expert", "ceiling"]
    assert all(math.isfinite(value) for value in nats.values())
    assert nats["ceiling"] == pytest.approx(math.log(16))


def test_the_released_estimator_has_no_ceiling(few: ImageSet, views: Views) -> None:
    """With ``shuffle`` the settings choose other pairs, and the estimates differ."""
    kinds = kinds_of_views(views, lambda images, ids: images.unsqueeze(0))
    pairs, shuffled = (
        mutual_information_table(kinds, few, MineSettings(width=4, epochs=1, batch_size=16, marginal=marginal))
        for marginal in ("all_pairs", "shuffle")
    )
    assert "ceiling" in pairs
    assert shuffled.keys() == pairs.keys() - {"ceiling"}
    assert all(shuffled[name] != pairs[name] for name in shuffled)


def test_generated_views_are_normalised_and_not_augmented(few: ImageSet, views: Views) -> None:
    batch = few[torch.arange(3)]
    of = kinds_of_views(views, lambda images, ids: images.unsqueeze(0))
    torch.testing.assert_close(of["generated"](batch.images, batch.ids), of["original"](batch.images, batch.ids))
    of = kinds_of_views(views, lambda images, ids: images.unsqueeze(0) / 255)
    torch.testing.assert_close(of["generated"](batch.images, batch.ids), of["original"](batch.images, batch.ids))


def test_too_large_batches_and_a_non_finite_bound_are_refused() -> None:
    with pytest.raises(UserError, match="from 2 to 2048"):
        estimate(gaussians(0.5), batch_size=8192)
    with pytest.raises(UserError, match="not finite in epoch 1"):
        estimate(lambda ids: (ids.unsqueeze(1) / 0.0, ids.unsqueeze(1).float()))
