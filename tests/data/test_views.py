"""Views: J independent views, evaluation inputs, views of another source."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_bench.catalogue import config_names
from ssl_bench.data.color import ColorJitter
from ssl_bench.data.recipes import Steps
from ssl_bench.data.transforms import Normalize
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
STRONG: Steps = [
    {"random_resized_crop": {"scale": [0.2, 1.0]}},
    "horizontal_flip",
    {"color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}},
    {"grayscale": {"p": 0.2}},
    "normalize",
]


def pictures(shape: tuple[int, ...], n: int = 6) -> Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def views(
    recipe: str | Steps, shape: tuple[int, ...] = (3, 32, 32), num_views: int = 1, compile: bool = False
) -> Views:
    channels = shape[0]
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    return Views(recipe, num_views, compile, image_shape=shape, mean=mean, std=std)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("recipe", config_names("views"))
def test_every_recipe_works_for_every_image_size(recipe: str, shape: tuple[int, ...]) -> None:
    make, x = views(recipe, shape, num_views=2), pictures(shape)
    made, plain = make(x), make.evaluation_input(x)
    assert made.shape == (2, *plain.shape)
    assert made.dtype == plain.dtype == torch.float32
    assert made.is_contiguous()
    for y in (made, plain):
        assert y.isfinite().all()
        torch.testing.assert_close(renormalised(make, make.to_image(y)), y, atol=1e-5, rtol=0)


def renormalised(make: Views, image: Tensor) -> Tensor:
    """Images in [0, 1], normalised like the evaluation input."""
    for transform in make._deterministic:
        image = transform(image) if isinstance(transform, Normalize) else image
    return image


@pytest.mark.parametrize("recipe", [name for name in config_names("views") if name.startswith("reconstruction")])
def test_views_of_reconstruction_recipes_are_in_the_unit_interval(recipe: str) -> None:
    made = views(recipe, num_views=5)(pictures((3, 32, 32)))
    assert made.min() >= 0
    assert made.max() <= 1


def test_views_of_crop_flip_have_the_range_of_the_generator() -> None:
    made = views("crop_flip", num_views=5)(pictures((3, 32, 32)))
    assert -1 <= made.min() < -0.9
    assert 0.9 < made.max() <= 1


@pytest.mark.parametrize("num_views", [1, 2, 3, 7])
def test_any_number_of_views(num_views: int) -> None:
    assert views(STRONG, num_views=num_views)(pictures((3, 32, 32))).shape == (num_views, 6, 3, 32, 32)


@pytest.mark.parametrize("crop", [[], [{"random_crop": {"padding": 1}}]], ids=["alone", "after a crop"])
def test_each_view_has_its_own_probability_and_the_list_is_repeated(crop: Steps) -> None:
    x = torch.zeros(5, 3, 32, 32)
    x[..., :16] = 1
    made = views([*crop, {"horizontal_flip": {"p": [0.0, 1.0]}}], num_views=3)(x)
    flipped = made[..., 16:].sum((2, 3, 4)) > made[..., :16].sum((2, 3, 4))
    assert flipped.all(1).tolist() == [False, True, False]
    assert not flipped[[0, 2]].any()


def test_views_differ_between_views_and_between_equal_images() -> None:
    x = pictures((3, 32, 32), n=1).expand(5, -1, -1, -1)
    flat = views(STRONG, num_views=3)(x).flatten(0, 1).flatten(1)
    assert torch.pdist(flat).min() > 1


def test_views_depend_on_the_seed() -> None:
    make, x = views(STRONG, num_views=2), pictures((3, 32, 32))
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(make(x))
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])


def test_the_evaluation_input_is_the_normalised_image() -> None:
    make, x = views(STRONG), pictures((3, 32, 32))
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    state = torch.get_rng_state()
    plain = make.evaluation_input(x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(plain, (x / 255 - mean) / std)
    torch.testing.assert_close(make.to_image(plain), x / 255)


def test_the_evaluation_input_has_threshold_and_center_crop_applied() -> None:
    make = views(["horizontal_flip", {"center_crop": {"size": 20}}, {"threshold": {"at": 0.3}}], (1, 28, 28))
    x = pictures((1, 28, 28))
    assert torch.equal(make.evaluation_input(x), (x[..., 4:24, 4:24] / 255 > 0.3).float())


def test_to_image_undoes_normalisation_of_a_single_view_and_of_many() -> None:
    make, x = views(["normalize"], num_views=2), pictures((3, 32, 32))
    made = make(x)
    torch.testing.assert_close(make.to_image(made), (x / 255).expand(2, *x.shape))
    torch.testing.assert_close(make.to_image(made[0, 0]), x[0] / 255)


def test_bytes_and_floats_of_the_same_images_give_the_same_views() -> None:
    make, x = views(STRONG), pictures((3, 32, 32))
    made = []
    for images in (x, x / 255, x.contiguous(memory_format=torch.channels_last)):
        torch.manual_seed(0)
        made.append(make(images))
    torch.testing.assert_close(made[0], made[1])
    torch.testing.assert_close(made[0], made[2])
    assert made[2].is_contiguous()


def test_views_do_not_modify_the_images() -> None:
    make, x = views(STRONG), pictures((3, 32, 32)) / 255
    before = x.clone()
    make(x)
    make.evaluation_input(x)
    assert torch.equal(x, before)


def test_points_pass_unchanged() -> None:
    make = Views("identity", 3, image_shape=(2,), mean=(0.0,), std=(1.0,))
    x = torch.randn(10, 2) * 15
    assert torch.equal(make(x), x.expand(3, 10, 2))
    assert torch.equal(make.evaluation_input(x), x)
    assert torch.equal(make.to_image(x), x)


def test_views_are_computed_in_float32_under_autocast() -> None:
    make, x = views(STRONG), pictures((3, 32, 32))
    torch.manual_seed(0)
    expected = make(x)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(make(x), expected)


@pytest.mark.parametrize("size", [1, 3 * 4 * 32 * 32 * 4])
def test_views_do_not_depend_on_the_chunk_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make, x = views(STRONG, num_views=2), pictures((3, 32, 32))
    made = []
    for piece in (2**30, size):
        monkeypatch.setattr("ssl_bench.data.views.CHUNK_BYTES", piece)
        torch.manual_seed(0)
        made.append(make(x))
    torch.testing.assert_close(made[0], made[1], atol=1e-6, rtol=0)


def test_an_empty_batch_gives_no_views() -> None:
    assert views(STRONG, num_views=2)(pictures((3, 32, 32))[:0]).shape == (2, 0, 3, 32, 32)


def test_compiled_views_are_the_same_views() -> None:
    x = pictures((3, 32, 32))
    made = []
    for compile in (False, True):
        torch.manual_seed(0)
        made.append(views(STRONG, num_views=2, compile=compile)(x))
    torch.testing.assert_close(made[0], made[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("recipe", "axis"), [("reconstruction_mnist", -1), ("reconstruction_mnist_released", -2)])
def test_the_papers_recipe_flips_horizontally_and_the_released_one_vertically(recipe: str, axis: int) -> None:
    x = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    x[..., :8, :8] = 255  # top left: a crop moves it less than half an image, a flip to the other side
    made = views(recipe, (1, 28, 28))(x)
    far, far_along_the_other = (made.narrow(a, 14, 14).sum() / made.sum() for a in (axis, -3 - axis))
    assert 0.25 < far < 0.75
    assert far_along_the_other < 0.2


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"images are \(3, 28, 28\), expected \(3, 32, 32\)"):
        views("normalize")(pictures((3, 28, 28)))


def test_recipes_other_than_identity_are_refused_for_points() -> None:
    with pytest.raises(UserError, match="use identity"):
        Views("flip", image_shape=(2,), mean=(0.0,), std=(1.0,))


def sourced(num_views: int, recipe: str | Steps | None = None) -> Views:
    """Views of noise, then two views of a source whose grey value is 10 times the id."""

    def source(images: Tensor, ids: Tensor) -> Tensor:
        return (ids.view(1, -1, 1, 1, 1) * 10).expand(2, -1, *images.shape[1:]).to(torch.uint8)

    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    return Views("flip", num_views, False, source, recipe, image_shape=(3, 8, 8), mean=mean, std=std)


def test_views_of_a_source_come_last_and_are_normalised() -> None:
    made = sourced(2)(pictures((3, 8, 8)), torch.tensor([4, 0, 2, 1, 5, 3]))
    assert made.shape == (4, 6, 3, 8, 8)
    back = sourced(2).to_image(made)[2:]
    expected = torch.tensor([40.0, 0.0, 20.0, 10.0, 50.0, 30.0]).view(1, 6, 1, 1, 1).expand(2, 6, 3, 8, 8) / 255
    torch.testing.assert_close(back, expected, atol=1e-5, rtol=0)


def test_generated_recipe_replaces_the_normalisation() -> None:
    made = sourced(1, [{"random_resized_crop": {"scale": [0.9, 1.0]}}])(pictures((3, 8, 8)), torch.arange(6))
    torch.testing.assert_close(made[1, 5], torch.full((3, 8, 8), 50 / 255))


def test_views_of_a_source_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="same size"):
        sourced(1, [{"center_crop": {"size": 4}}])


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_recipes_without_colour_work_for_any_number_of_channels(channels: int) -> None:
    recipe: Steps = [
        {"random_resized_crop": {"scale": [0.2, 1.0]}},
        "horizontal_flip",
        {"color_jitter": {"brightness": 0.4, "contrast": 0.4}},
        {"gaussian_blur": {"p": 1.0}},
        "solarize",
        {"normalize": {"mean": 0.5, "std": 0.5}},
    ]
    made = Views(recipe, 2, image_shape=(channels, 16, 16), mean=(0.5,) * channels, std=(0.2,) * channels)
    x = made(pictures((channels, 16, 16)))
    assert x.shape == (2, 6, channels, 16, 16)
    assert x.isfinite().all()


def test_the_contrast_of_images_that_are_not_rgb_changes_about_the_mean_of_all_channels() -> None:
    x = torch.rand(2, 4, 8, 8)
    step = ColorJitter(contrast=0.5)
    expected = (0.5 * x + 0.5 * x.mean((1, 2, 3), keepdim=True)).clamp(0, 1)
    torch.testing.assert_close(step(x, torch.ones(2), torch.full((2,), 0.5), torch.ones(2), torch.zeros(2)), expected)


@pytest.mark.parametrize("step", [{"grayscale": {"p": 0.2}}, {"color_jitter": {"hue": 0.1}}, "simclr_symmetric"])
def test_colour_steps_are_refused_for_images_of_other_channels_with_a_remedy(step: str | dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"is for images of 1 or 3 channels, these have 4: set --views\.recipe"):
        Views(step if isinstance(step, str) else [step], image_shape=(4, 8, 8), mean=(0.5,) * 4, std=(0.5,) * 4)


LOCAL: Steps = [{"random_resized_crop": {"scale": [0.05, 0.3], "size": 12}}, "normalize"]
FACTS: dict[str, Any] = {"image_shape": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.2,) * 3}


def test_local_views_are_sampled_after_the_others_which_do_not_change() -> None:
    x, makers = pictures((3, 32, 32)), [Views(STRONG, 2, **FACTS)]
    makers += [Views(STRONG, 2, num_local_views=n, local_recipe=LOCAL, **FACTS) for n in (3, 3)]
    made = []
    for make in makers:
        torch.manual_seed(5)
        made.append((make(x), make.local_views(x)))
    (plain, none), (full, local), (again, local_again) = made
    assert none is None
    assert torch.equal(plain, full)
    assert torch.equal(full, again)
    assert local is not None
    assert local_again is not None
    assert torch.equal(local, local_again)
    assert local.shape == (3, 6, 3, 12, 12)
    assert makers[1].local_shape == (3, 12, 12)
    assert torch.pdist(local.flatten(0, 1).flatten(1)).min() > 1


def test_local_views_are_parts_of_their_images() -> None:
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 32, 32) / 10
    local = Views("identity", 2, num_local_views=2, local_recipe=LOCAL[:1], **FACTS).local_views(x)
    assert local is not None
    torch.testing.assert_close(local, x[None, ..., :12, :12].expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"num_local_views": 2}, "num_local_views without local_recipe"),
        ({"local_recipe": LOCAL}, "local_recipe without num_local_views"),
    ],
)
def test_local_views_need_a_number_and_a_recipe(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Views(STRONG, 2, **given, **FACTS)
