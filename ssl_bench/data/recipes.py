"""Recipes of views: lists of named steps, read from YAML and built as transforms."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, cast

import yaml

from ssl_bench.catalogue import config_file
from ssl_bench.data.color import ColorJitter, Grayscale, Solarize
from ssl_bench.data.crops import CenterCrop, Crop, Pad, RandomCrop, RandomResizedCrop, Resize
from ssl_bench.data.resampling import GaussianBlur, Resample
from ssl_bench.data.transforms import Flip, HorizontalFlip, Normalize, Threshold, Transform, VerticalFlip
from ssl_bench.errors import UserError, did_you_mean

Steps = list[str | dict[str, dict[str, Any] | None]]
Step = Transform | Crop

STEPS: dict[str, type[Step]] = {
    "random_resized_crop": RandomResizedCrop,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "resize": Resize,
    "pad": Pad,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "color_jitter": ColorJitter,
    "grayscale": Grayscale,
    "gaussian_blur": GaussianBlur,
    "solarize": Solarize,
    "threshold": Threshold,
    "normalize": Normalize,
}


def read_recipe(recipe: str | Steps) -> Steps:
    """The steps of a recipe.

    Args:
        recipe: a name under configs/views, the path of a YAML file, or the steps themselves.

    Raises:
        UserError: the recipe or file does not exist, or the file does not contain a list of steps.
    """
    if not isinstance(recipe, str):
        return recipe
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else config_file("views", recipe)
    if not path.is_file():
        raise UserError(f"no recipe file {recipe}: give an existing YAML file or a name under configs/views")
    try:
        steps = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {recipe}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(steps, list):
        raise UserError(f"recipe {recipe}: expected a list of steps, found {type(steps).__name__}")
    return steps


def build_step(entry: object) -> Step:
    """One step of a recipe.

    Args:
        entry: the name of a step, or ``{name: {parameter: value}}``.

    Raises:
        UserError: unknown step or parameter (the message gives the nearest names), or a value out of range.
    """
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UserError(f"views: step {entry!r}: expected one name with its parameters below it")
    name, parameters = next(iter(entry.items()))
    if name not in STEPS:
        raise UserError(f"views: unknown step {name!r}: {did_you_mean(str(name), STEPS)}")
    if not isinstance(parameters := parameters or {}, dict):
        raise UserError(f"views: {name}: expected parameters by name, got {parameters!r}")
    known = list(signature(STEPS[name]).parameters)
    for key in parameters:
        if key not in known:
            raise UserError(f"views: {name} has no parameter {key!r}: {did_you_mean(str(key), known)}")
    try:
        return STEPS[name](**parameters)
    except UserError as error:  # the message begins with the class name; recipes use the name of the step
        raise UserError(f"views: {name}: {str(error).partition(': ')[2]}") from error
    except TypeError as error:
        raise UserError(f"views: {name}: {error}") from error


def for_views(step: Step, num_views: int) -> Step:
    """A step with one probability for each view, if its `p` is a list: view v has the item v modulo its length.

    Raises:
        UserError: the list is empty.
    """
    p = getattr(step, "p", None)
    if not isinstance(p, Sequence):
        return step
    if not p:
        raise UserError(f"views: {step}: p is an empty list: give one probability, or one for each view")
    changed: Step = replace(cast("Any", step), p=tuple(p[view % len(p)] for view in range(num_views)))
    return changed


def fuse(steps: list[Step], height: int, width: int) -> list[Transform]:
    """Combine the steps of a recipe for images of this size.

    A crop and the flips that directly follow it become one `Resample`. Crops without effect are removed.
    """
    fused: list[Transform] = []
    for step in steps:
        if isinstance(step, Crop):
            out = step.output_size(height, width)
            if step.random or out != (height, width):
                fused.append(Resample(step))
            height, width = out
        elif isinstance(step, Flip) and fused and isinstance(crop := fused[-1], Resample):
            fused[-1] = replace(crop, flips=(*crop.flips, step))
        else:
            fused.append(step)
    return fused
