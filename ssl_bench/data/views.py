"""Random views of images, many at a time and on the images' own device, by recipes kept as data."""

import math
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor

from ssl_bench.catalogue import config_file
from ssl_bench.data.color import ColorJitter, Grayscale, Solarize
from ssl_bench.data.crops import CenterCrop, Crop, Pad, RandomCrop, RandomResizedCrop, Resize
from ssl_bench.data.resampling import GaussianBlur, Resample
from ssl_bench.data.transforms import Flip, HorizontalFlip, Normalize, Threshold, Transform, VerticalFlip
from ssl_bench.errors import UserError, did_you_mean

Steps = list[str | dict[str, dict[str, Any] | None]]
Step = Transform | Crop

# Bytes of float images that a thread of a CPU works on at a time, which with their temporaries stay in its cache.
PIECE = 2**19


class Source(Protocol):
    """What makes views of another kind: a generator, a cache, files of one's own.

    If it has a method ``attach(method, data)``, that is called once before training, with the method on its device and
    the data module set up. It may raise a UserError for unsuitable data, and keep a reference to the encoder.
    """

    # Not Tensor: jsonargparse would take the class of a source for a factory of tensors, and refuse it.
    def __call__(self, images: Tensor, ids: Tensor) -> Any:
        """Images ``(N, C, H, W)`` and their ids ``(N,)`` to ``(J, N, C, H, W)``, uint8 or float in [0, 1]."""
        ...


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
    """The steps of a recipe given by its name, by a YAML file or by themselves.

    Raises:
        UserError: there is no such recipe or file, or the file holds no list of steps.
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
    """One step of a recipe: its name, or ``{name: {parameter: value}}``.

    Raises:
        UserError: unknown step or parameter (with the nearest known ones), or a value out of range.
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
    except (TypeError, ValueError) as error:
        raise UserError(f"views: {name}: {error}") from error


def fuse(steps: list[Step], height: int, width: int) -> list[Transform]:
    """The steps as operations on images of this size: a crop takes the flips after it, idle crops go."""
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


class Views:
    """J random views of each image, each view of each image with its own random parameters.

    Everything happens in batches on the images' device, with that device's global generator. Views of another source,
    such as a cache of generated ones or a diffusion model, follow the recipe's (Han et al., "Constructive
    Assimilation": its A1 is one view of each, A2 two of the recipe and one generated).
    """

    def __init__(
        self,
        recipe: str | Steps,
        num_views: int = 1,
        compile: bool = False,
        generated: Source | None = None,
        generated_recipe: str | Steps | None = None,
        *,
        image_shape: tuple[int, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        """Build the operations.

        Args:
            recipe: a name under configs/views, the path of a YAML file, or the list of steps itself.
            num_views: J, how many views of each image.
            compile: apply the recipe through torch.compile: seconds at the first batch, then about twice as
                fast. On a CPU it needs a C++ compiler.
            generated: makes further views of the images and their ids: see `Source`.
            generated_recipe: applied to each of those; by default the recipe's normalisation alone.
            image_shape: ``(C, H, W)`` of the images, or ``(D,)`` of points.
            mean: of each channel of the data set, in [0, 1].
            std: of each channel of the data set.

        Raises:
            UserError: unknown recipe, step or parameter, or a recipe that does not suit the images.
        """
        if num_views < 1:
            raise UserError(f"views: num_views is {num_views}, expected at least 1 view of each image")
        self.num_views = num_views
        self.image_shape = tuple(image_shape)
        steps = [build_step(entry) for entry in read_recipe(recipe)]
        if steps and len(self.image_shape) != 3:
            raise UserError(
                f"views: recipe {recipe} is for images, the data have shape {self.image_shape}: use identity"
            )
        channels = self.image_shape[0]
        if steps and channels not in (1, 3):
            raise UserError(f"views: images have {channels} channels, recipes need 1 or 3")
        steps = [step.with_statistics(mean, std) if isinstance(step, Normalize) else step for step in steps]
        for step in steps:
            if isinstance(step, Normalize) and not step.fits_channels(channels):
                raise UserError(
                    f"views: {step} is not for images of {channels} channels: give one number or {channels}"
                )
        size = self.image_shape[-2:]
        self._random = fuse(steps, *size) if steps else []
        self._deterministic = fuse([step for step in steps if not step.random], *size) if steps else []
        for transform in self._random:
            size = transform.output_size(*size)
        self.output_shape = (*self.image_shape[:-2], *size) if self._random else self.image_shape
        self._apply = torch.compile(_apply, fullgraph=True) if compile else _apply
        self.generated = generated
        if generated is None and generated_recipe is not None:
            raise UserError("views: generated_recipe without generated: give a source of generated views too")
        normalize = [entry for entry in read_recipe(recipe) if "normalize" in entry]
        self._finish = (
            Views(
                normalize if generated_recipe is None else generated_recipe,
                compile=compile,
                image_shape=image_shape,
                mean=mean,
                std=std,
            )
            if generated
            else None
        )
        if self._finish and self._finish.output_shape != self.output_shape:
            raise UserError(
                f"views: generated_recipe makes {self._finish.output_shape}, recipe {self.output_shape}: let both end "
                "with the same size"
            )

    def __call__(self, images: Tensor, ids: Tensor | None = None) -> Tensor:
        """Random views.

        Args:
            images: uint8 ``(N, C, H, W)``, float ``(N, C, H, W)`` in [0, 1], or float ``(N, D)`` points.
            ids: the images' positions in their split; the recipe does not need them, and generated views are made
                of images that have them only.

        Returns:
            float32 ``(J, N, C, h, w)`` or ``(J, N, D)``; generated views come last.

        Raises:
            UserError: the images are not of `image_shape`.
        """
        repeated = images.expand(self.num_views, *images.shape).flatten(0, 1)
        views = self._run(repeated, self._random, self._apply)
        views = views.view(self.num_views, len(images), *views.shape[1:])
        if not self.generated or not self._finish or ids is None:
            return views
        made = self.generated(images, ids)
        finished = self._finish(made.flatten(0, 1))[0]
        return torch.cat([views, finished.view(*made.shape[:2], *finished.shape[1:])])

    def attach(self, method: Any, data: Any) -> None:
        """Before training: attach the source of generated views to the method and the data module, see `Source`."""
        attach = getattr(self.generated, "attach", None)
        if attach is not None:
            attach(method, data)

    def evaluation_input(self, images: Tensor) -> Tensor:
        """The input for evaluation: the recipe's deterministic steps only.

        Args:
            images: as for a call.

        Returns:
            float32 ``(N, C, h, w)`` or ``(N, D)``.
        """
        return self._run(images, self._deterministic, _apply)

    def to_image(self, x: Tensor) -> Tensor:
        """Pictures ``(..., C, h, w)`` in [0, 1] of what a call or `evaluation_input` gave: normalisation undone."""
        if len(self.image_shape) != 3:
            return x
        for transform in reversed(self._deterministic):
            if isinstance(transform, Normalize):
                x = transform.undo(x)
        return x.clamp(0, 1)

    def from_image(self, images: Tensor) -> Tensor:
        """The inverse of `to_image`: pictures ``(N, C, h, w)`` in [0, 1] normalised as a method is given them."""
        for transform in self._deterministic:
            if isinstance(transform, Normalize):
                images = transform(images)
        return images

    def _run(self, images: Tensor, transforms: list[Transform], apply: Callable[..., Tensor]) -> Tensor:
        if images.shape[1:] != self.image_shape:
            raise UserError(f"views: images are {tuple(images.shape[1:])}, expected {self.image_shape}")
        drawn = []
        height, width = self.image_shape[-2:] if transforms else (0, 0)
        # A crop in bfloat16 would lose the last bits of a pixel, so a training loop's autocast ends here.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            for transform in transforms:
                drawn.append(transform.sample_parameters(len(images), height, width, images.device))
                height, width = transform.output_size(height, width)
            if images.device.type != "cpu":
                return apply(images, transforms, drawn).contiguous()
            step = max(1, torch.get_num_threads() * PIECE // (4 * math.prod(self.image_shape)))
            pieces = [slice(start, start + step) for start in range(0, max(len(images), 1), step)]
            return torch.cat([apply(images[p], transforms, [tuple(d[p] for d in ds) for ds in drawn]) for p in pieces])


def _apply(images: Tensor, transforms: list[Transform], drawn: list[tuple[Tensor, ...]]) -> Tensor:
    x = images.float() if images.is_floating_point() else images.float().div_(255)
    for transform, parameters in zip(transforms, drawn, strict=True):
        x = transform(x, *parameters)
    return x
