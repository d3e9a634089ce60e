"""Recipes of views: names, files, and errors that name the step and the parameter."""

import re
from pathlib import Path

import pytest
import torch

from ssl_bench.catalogue import config_names
from ssl_bench.data.recipes import Steps
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError


def views(recipe: str | Steps) -> Views:
    return Views(recipe, image_shape=(3, 32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.mark.parametrize("recipe", config_names("views"))
def test_every_recipe_describes_itself_in_its_first_line(recipe: str) -> None:
    assert len(config_names("views")[recipe]) > 20


def test_a_recipe_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# mine\n- center_crop: {size: 16}\n- normalize\n")
    assert views(str(file))(torch.zeros(6, 3, 32, 32)).shape == (1, 6, 3, 16, 16)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("simclr_symetric", "did you mean simclr_symmetric"),
        ("absent.yaml", "no recipe file absent.yaml"),
        ([{"colour_jitter": {"hue": 0.1}}], "unknown step 'colour_jitter': did you mean color_jitter"),
        ([{"horizontal_flip": {"q": 0.1}}], "horizontal_flip has no parameter 'q': known: p"),
        ([{"gaussian_blur": {"sigmas": [1, 2]}}], "no parameter 'sigmas': did you mean sigma"),
        ([{"grayscale": {"p": 2}}], "views: grayscale: p must be a number in \\[0, 1\\] or a list, got 2"),
        ([{"grayscale": {"p": [0.5, 2]}}], "grayscale: p must be a number in"),
        ([{"grayscale": {"p": []}}], "p is an empty list: give one probability"),
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
def test_an_invalid_recipe_gives_one_line_that_names_step_and_parameter(recipe: str | Steps, message: str) -> None:
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
