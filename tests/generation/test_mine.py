"""MINE finds the information that is there: that of Gaussians is known, an image tells all of its copy."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.data.digits import Digits
from ssl_bench.data.module import ImageSet
from ssl_bench.data.views import Steps, Views
from ssl_bench.errors import UserError
from ssl_bench.generation.mine import Critic, Marginal, Pairs, information, kinds, measure, table

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


def found(pairs: Pairs, marginal: Marginal = "all_pairs", **settings: int) -> float:
    torch.manual_seed(0)
    critic = Critic(nn.Identity(), DIMS, 32, marginal)
    return information(pairs, SAMPLES, critic, **{"epochs": 8, "batch_size": 64, "lr": 1e-2} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("marginal", ["all_pairs", "shuffle"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_it_is_that_of_correlated_gaussians(rho: float, marginal: Marginal) -> None:
    assert found(gaussians(rho), marginal) == pytest.approx(-DIMS / 2 * math.log(1 - rho**2), abs=0.1)


def test_joint_and_marginal_scores_are_those_of_the_layers_one_after_the_other() -> None:
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


def test_a_seed_decides_the_figure_and_the_callers_random_numbers_go_on_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(0)
    pairs = gaussians(0.5)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        critic = Critic(nn.Identity(), DIMS, 8)
        torch.manual_seed(5)
        values.append(information(pairs, 256, critic, epochs=1, batch_size=64, seed=seed))
        assert torch.equal(torch.rand(1), expected)
    assert values[0] == values[1] != values[2]


def test_an_image_tells_all_of_its_copy_and_nothing_of_noise(few: ImageSet, views: Views) -> None:
    def plain(images: Tensor, ids: Tensor) -> Tensor:
        return views.evaluation_input(images)

    def noise(images: Tensor, ids: Tensor) -> Tensor:
        return torch.rand(len(images), *views.image_shape)

    copy, nothing = (measure(plain, other, few, width=8, epochs=8, batch_size=16, lr=3e-3) for other in (plain, noise))
    assert nothing < 0.3 < 0.5 * math.log(16) < copy <= math.log(16) + 1e-6


def test_the_table_has_every_two_kinds_and_the_ceiling(few: ImageSet, views: Views) -> None:
    def source(images: Tensor, ids: Tensor) -> Tensor:
        return images.flip(3).expand(2, *images.shape)

    figures = table(kinds(views, source), few, width=4, epochs=1, batch_size=16)
    assert list(figures) == ["original_generated", "original_expert", "generated_expert", "ceiling"]
    assert all(math.isfinite(figure) for figure in figures.values())
    assert figures["ceiling"] == pytest.approx(math.log(16))


def test_generated_views_are_normalised_and_not_augmented(few: ImageSet, views: Views) -> None:
    batch = few[torch.arange(3)]
    of = kinds(views, lambda images, ids: images.unsqueeze(0))
    torch.testing.assert_close(of["generated"](batch.images, batch.ids), of["original"](batch.images, batch.ids))
    of = kinds(views, lambda images, ids: images.unsqueeze(0) / 255)
    torch.testing.assert_close(of["generated"](batch.images, batch.ids), of["original"](batch.images, batch.ids))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="from 2 to 2048"):
        found(gaussians(0.5), batch_size=8192)
    with pytest.raises(UserError, match="not finite in epoch 1"):
        found(lambda ids: (ids.unsqueeze(1) / 0.0, ids.unsqueeze(1).float()))
