"""Views: recipes from data, J independent views, evaluation without augmentation."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.catalogue import config_names
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
def test_every_recipe_makes_pictures_of_every_size(recipe: str, shape: tuple[int, ...]) -> None:
    make, x = views(recipe, shape, num_views=2), pictures(shape)
    made, plain = make(x), make.evaluation_input(x)
    assert made.shape == (2, *plain.shape)
    assert made.dtype == plain.dtype == torch.float32
    assert made.is_contiguous()
    for y in (made, plain):
        assert y.isfinite().all()
        torch.testing.assert_close(renormalised(make, make.to_image(y)), y, atol=1e-5, rtol=0)


def renormalised(make: Views, image: Tensor) -> Tensor:
    """What `evaluation_input` makes of pictures in [0, 1] that need no more resizing or thresholding."""
    for transform in make._deterministic:
        image = transform(image) if isinstance(transform, Normalize) else image
    return image


@pytest.mark.parametrize("recipe", [name for name in config_names("views") if name.startswith("reconstruction")])
def test_views_to_be_reconstructed_stay_in_the_unit_interval(recipe: str) -> None:
    made = views(recipe, num_views=5)(pictures((3, 32, 32)))
    assert made.min() >= 0
    assert made.max() <= 1


def test_views_for_the_discriminator_have_the_generators_range() -> None:
    made = views("crop_flip", num_views=5)(pictures((3, 32, 32)))
    assert -1 <= made.min() < -0.9
    assert 0.9 < made.max() <= 1


@pytest.mark.parametrize("recipe", config_names("views"))
def test_every_recipe_says_what_it_is_in_its_first_line(recipe: str) -> None:
    assert len(config_names("views")[recipe]) > 20


@pytest.mark.parametrize("num_views", [1, 2, 3, 7])
def test_any_number_of_views(num_views: int) -> None:
    assert views(STRONG, num_views=num_views)(pictures((3, 32, 32))).shape == (num_views, 6, 3, 32, 32)


def test_views_differ_between_views_and_between_equal_images() -> None:
    x = pictures((3, 32, 32), n=1).expand(5, -1, -1, -1)
    flat = views(STRONG, num_views=3)(x).flatten(0, 1).flatten(1)
    assert torch.pdist(flat).min() > 1


def test_the_same_seed_gives_the_same_views_and_another_seed_others() -> None:
    make, x = views(STRONG, num_views=2), pictures((3, 32, 32))
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(make(x))
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])


def test_evaluation_sees_the_image_itself() -> None:
    make, x = views(STRONG), pictures((3, 32, 32))
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    state = torch.get_rng_state()
    plain = make.evaluation_input(x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(plain, (x / 255 - mean) / std)
    torch.testing.assert_close(make.to_image(plain), x / 255)


def test_evaluation_keeps_threshold_and_center_crop() -> None:
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


def test_views_do_not_write_into_the_images() -> None:
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


def test_mixed_precision_around_the_views_does_not_reach_into_them() -> None:
    make, x = views(STRONG), pictures((3, 32, 32))
    torch.manual_seed(0)
    expected = make(x)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(make(x), expected)


@pytest.mark.parametrize("size", [1, 3 * 4 * 32 * 32 * 4])
def test_views_made_in_pieces_are_those_made_at_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make, x = views(STRONG, num_views=2), pictures((3, 32, 32))
    made = []
    for piece in (2**30, size):
        monkeypatch.setattr("ssl_bench.data.views.CHUNK_BYTES", piece)
        torch.manual_seed(0)
        made.append(make(x))
    torch.testing.assert_close(made[0], made[1], atol=1e-6, rtol=0)


def test_no_images_make_no_views() -> None:
    assert views(STRONG, num_views=2)(pictures((3, 32, 32))[:0]).shape == (2, 0, 3, 32, 32)


def test_compiled_views_are_the_same_views() -> None:
    x = pictures((3, 32, 32))
    made = []
    for compile in (False, True):
        torch.manual_seed(0)
        made.append(views(STRONG, num_views=2, compile=compile)(x))
    torch.testing.assert_close(made[0], made[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("recipe", "axis"), [("reconstruction_mnist", -1), ("reconstruction_mnist_released", -2)])
def test_the_paper_mirrors_digits_and_its_code_turns_them_upside_down(recipe: str, axis: int) -> None:
    x = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    x[..., :8, :8] = 255  # top left: a crop moves it less than half an image, a flip to the other side
    made = views(recipe, (1, 28, 28))(x)
    far, far_along_the_other = (made.narrow(a, 14, 14).sum() / made.sum() for a in (axis, -3 - axis))
    assert 0.25 < far < 0.75
    assert far_along_the_other < 0.2


def test_a_recipe_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# mine\n- center_crop: {size: 16}\n- normalize\n")
    assert views(str(file))(pictures((3, 32, 32))).shape == (1, 6, 3, 16, 16)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("simclr_symetric", "did you mean simclr_symmetric"),
        ("absent.yaml", "no recipe file absent.yaml"),
        ([{"colour_jitter": {"hue": 0.1}}], "unknown step 'colour_jitter': did you mean color_jitter"),
        ([{"horizontal_flip": {"q": 0.1}}], "horizontal_flip has no parameter 'q': known: p"),
        ([{"gaussian_blur": {"sigmas": [1, 2]}}], "no parameter 'sigmas': did you mean sigma"),
        ([{"grayscale": {"p": 2}}], "views: grayscale: p must be a number in \\[0, 1\\], got 2"),
        ([{"grayscale": {"p": "often"}}], "p must be a number in .*, got 'often'"),
        (
            [{"random_resized_crop": {"scale": [1.0, 0.2]}}],
            "random_resized_crop: scale must be two numbers, the smaller",
        ),
        ([{"random_resized_crop": {"ratio": [1.0]}}], "ratio must be a list of 2 items, got \\[1.0\\]"),
        ([{"gaussian_blur": {"sigma": [0.1, 0]}}], "sigma must be a list of items, each a number of"),
        (
            [{"random_resized_crop": {"interpolation": "cubic"}}],
            "interpolation must be one of 'bilinear', ",
        ),
        ([{"gaussian_blur": {"kernel_size": 4}}], "gaussian_blur: kernel_size must be an odd integer, got 4"),
        ([{"center_crop": {"size": None}}], "center_crop: size must be an integer of at least 1, got None"),
        (["center_crop"], "center_crop: .*size"),
        ([{"random_crop": {"size": 40}}], "size 40 is larger than an image of 32x32"),
        ([{"horizontal_flip": {"p": 0.5}, "grayscale": None}], "expected one name with its parameters"),
        ([{"horizontal_flip": 0.5}], "expected parameters by name"),
        ([{"normalize": {"mean": [0.1, 0.2]}}], "does not fit images of 3 channels"),
    ],
)
def test_a_wrong_recipe_ends_in_one_line_that_says_what_to_write(recipe: str | Steps, message: str) -> None:
    with pytest.raises(UserError) as error:
        views(recipe)
    assert re.search(message, str(error.value)), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["steps: [flip", "horizontal_flip", ""])
def test_a_file_without_a_list_of_steps_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"not YAML|expected a list of steps"):
        views(str(file))


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"images are \(3, 28, 28\), expected \(3, 32, 32\)"):
        views("normalize")(pictures((3, 28, 28)))


def test_points_need_the_identity() -> None:
    with pytest.raises(UserError, match="use identity"):
        Views("flip", image_shape=(2,), mean=(0.0,), std=(1.0,))


def sourced(num_views: int, recipe: str | Steps | None = None) -> Views:
    """Views of noise, then two of images that are as grey as their id says."""

    def source(images: Tensor, ids: Tensor) -> Tensor:
        return (ids.view(1, -1, 1, 1, 1) * 10).expand(2, -1, *images.shape[1:]).to(torch.uint8)

    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    return Views("flip", num_views, False, source, recipe, image_shape=(3, 8, 8), mean=mean, std=std)


def test_views_of_a_source_follow_the_recipes_and_are_normalised_as_those() -> None:
    made = sourced(2)(pictures((3, 8, 8)), torch.tensor([4, 0, 2, 1, 5, 3]))
    assert made.shape == (4, 6, 3, 8, 8)
    back = sourced(2).to_image(made)[2:]
    expected = torch.tensor([40.0, 0.0, 20.0, 10.0, 50.0, 30.0]).view(1, 6, 1, 1, 1).expand(2, 6, 3, 8, 8) / 255
    torch.testing.assert_close(back, expected, atol=1e-5, rtol=0)


def test_a_recipe_of_their_own_replaces_the_normalisation() -> None:
    made = sourced(1, [{"random_resized_crop": {"scale": [0.9, 1.0]}}])(pictures((3, 8, 8)), torch.arange(6))
    torch.testing.assert_close(made[1, 5], torch.full((3, 8, 8), 50 / 255))


def test_views_of_a_source_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="same size"):
        sourced(1, [{"center_crop": {"size": 4}}])
