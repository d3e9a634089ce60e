"""Random views of images, computed in batches on the device of the images."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ssl_bench.data.recipes import Steps, build_step, for_views, fuse, read_recipe
from ssl_bench.data.transforms import Normalize, Transform
from ssl_bench.errors import UserError
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges

CHUNK_BYTES = 2**19
"""Bytes of float images that each CPU thread processes at a time; with temporaries they fit into its cache."""


class ViewSource(Protocol):
    """Interface of a source of additional views, such as a generator, a cache or your own files.

    If the source has a method ``attach(method, data)``, it is called once before training, after the method was moved
    to its device and the data module was set up. ``attach`` may raise a UserError for unsuitable data, and may keep a
    reference to the encoder.
    """

    # Any instead of Tensor: jsonargparse would mistake the class of a source for a factory of tensors and refuse it.
    def __call__(self, images: Tensor, ids: Tensor) -> Any:
        """Views ``(J, N, C, H, W)``, uint8 or float in [0, 1], of images ``(N, C, H, W)`` with ids ``(N,)``."""
        ...


@check_ranges
class Views:
    """J random views of each image; each view of each image has its own random parameters.

    Views are computed in batches on the device of the images, with the default random generator of that device. If a
    source of views is given, such as a cache of synthetic images or a diffusion model, the views of the source are
    appended to those of the recipe. "Constructive Assimilation" (Han et al.) has two schemes: A1 has one view of the
    recipe and one of the source; A2 has two views of the recipe and one of the source.

    Local views are additional views with a recipe of their own, usually small crops (multi-crop; SwAV, Caron et al.
    2020, arXiv 2006.09882). They are sampled after the views of `recipe`, which are the same with and without them.

    Example:
        >>> import ssl_bench, torch
        >>> views = ssl_bench.Views("flip", num_views=2, image_shape=(1, 8, 8), mean=(0.5,), std=(0.5,))
        >>> views(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([2, 3, 1, 8, 8])
    """

    def __init__(
        self,
        recipe: str | Steps,
        num_views: PositiveInt = 1,
        compile: bool = False,
        generated: ViewSource | None = None,
        generated_recipe: str | Steps | None = None,
        num_local_views: NonNegativeInt = 0,
        local_recipe: str | Steps | None = None,
        *,
        image_shape: tuple[int, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        """Build the operations.

        Args:
            recipe: a name under configs/views, the path of a YAML file, or the list of steps itself.
            num_views: number of views that the recipe makes of each image.
            compile: whether to compile the recipe with torch.compile. The first batch then takes some seconds; later
                batches take about half as long as without compilation. Compilation on a CPU needs a C++ compiler.
            generated: source of additional views, called with the images and their ids; see `ViewSource`.
            generated_recipe: recipe that is applied to the views of the source; default the normalisation of `recipe`.
            num_local_views: number of local views of each image, for methods that accept them.
            local_recipe: recipe of the local views; the `size` of its crop may be smaller than that of `recipe`.
            image_shape: ``(C, H, W)`` of the images, or ``(D,)`` of points.
            mean: mean of each channel over the data set, for images in [0, 1].
            std: standard deviation of each channel over the data set, for images in [0, 1].

        Raises:
            UserError: unknown recipe, step or parameter, or a recipe that does not fit the images.
        """
        self.num_views = num_views
        self.image_shape, self.mean, self.std = tuple(image_shape), tuple(mean), tuple(std)
        self.recipe = read_recipe(recipe)
        steps = [for_views(build_step(entry), num_views) for entry in self.recipe]
        if steps and len(self.image_shape) != 3:
            raise UserError(
                f"views: recipe {recipe} is for images, the data have shape {self.image_shape}: use identity"
            )
        channels = self.image_shape[0]
        for step in steps if channels not in (1, 3) else ():
            if isinstance(step, Transform) and step.needs_colour:
                raise UserError(
                    f"views: {step} is for images of 1 or 3 channels, these have {channels}: set --views.recipe to one "
                    "without grayscale, saturation and hue, such as crop_flip or flip"
                )
        steps = [step.with_statistics(mean, std) if isinstance(step, Normalize) else step for step in steps]
        for step in steps:
            if isinstance(step, Normalize) and not step.fits_channels(channels):
                raise UserError(
                    f"views: {step} does not fit images of {channels} channels: give one number or {channels}"
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
            raise UserError("views: generated_recipe without generated: give a source of views, or no generated_recipe")
        normalize = [entry for entry in read_recipe(recipe) if "normalize" in entry]
        self._generated_views = (
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
        if self._generated_views and self._generated_views.output_shape != self.output_shape:
            raise UserError(
                f"views: generated_recipe has the output shape {self._generated_views.output_shape}, recipe "
                f"{self.output_shape}: let both end with the same size"
            )

        if bool(num_local_views) != (local_recipe is not None):
            given, missing = ("num_local_views", "local_recipe")[:: 1 if num_local_views else -1]
            raise UserError(f"views: {given} without {missing}: give both or none")
        self.num_local_views = num_local_views
        self._local = (
            Views(local_recipe, num_local_views, compile, image_shape=image_shape, mean=mean, std=std)
            if local_recipe is not None
            else None
        )

    def __call__(self, images: Tensor, ids: Tensor | None = None) -> Tensor:
        """Random views.

        Args:
            images: uint8 ``(N, C, H, W)``, float ``(N, C, H, W)`` in [0, 1], or float ``(N, D)`` points.
            ids: positions of the images in their split, ``(N,)``. If None, the source of views is not called.

        Returns:
            float32 ``(J, N, C, h, w)`` or ``(J, N, D)``; views of the source come last.

        Raises:
            UserError: the images do not have the shape `image_shape`.
        """
        repeated = images.expand(self.num_views, *images.shape).flatten(0, 1)
        views = self._run(repeated, self._random, self._apply)
        views = views.view(self.num_views, len(images), *views.shape[1:])
        if not self.generated or not self._generated_views or ids is None:
            return views
        generated = self.generated(images, ids)
        transformed = self._generated_views(generated.flatten(0, 1))[0]
        return torch.cat([views, transformed.view(*generated.shape[:2], *transformed.shape[1:])])

    def local_views(self, images: Tensor) -> Tensor | None:
        """Random local views, float32 ``(L, N, C, h, w)``, of images as for a call; None if there are none."""
        return self._local(images) if self._local else None

    @property
    def local_shape(self) -> tuple[int, ...] | None:
        """Shape of a local view; None if there are none."""
        return self._local.output_shape if self._local else None

    def attach(self, method: Any, data: Any) -> None:
        """Attach the source of views to the method and the data module before training; see `ViewSource`."""
        attach = getattr(self.generated, "attach", None)
        if attach is not None:
            attach(method, data)

    def evaluation_input(self, images: Tensor) -> Tensor:
        """The input of the encoder in evaluation: only the recipe's deterministic steps are applied.

        Args:
            images: as for a call.

        Returns:
            float32 ``(N, C, h, w)`` or ``(N, D)``.
        """
        return self._run(images, self._deterministic, _apply)

    def deterministic(self, x: Tensor) -> Tensor:
        """The deterministic steps on float images, as `evaluation_input`, but all at once: they can be traced."""
        for transform in self._deterministic:
            x = transform(x, *transform.sample_parameters(x.shape[0], x.shape[-2], x.shape[-1], x.device))
        return x

    def to_image(self, x: Tensor) -> Tensor:
        """Undo the normalisation of views or evaluation inputs: images ``(..., C, h, w)`` in [0, 1]."""
        if len(self.image_shape) != 3:
            return x
        for transform in reversed(self._deterministic):
            if isinstance(transform, Normalize):
                x = transform.undo(x)
        return x.clamp(0, 1)

    def from_image(self, images: Tensor) -> Tensor:
        """The inverse of `to_image`: images ``(N, C, h, w)`` in [0, 1], normalised."""
        for transform in self._deterministic:
            if isinstance(transform, Normalize):
                images = transform(images)
        return images

    def _run(self, images: Tensor, transforms: list[Transform], apply: Callable[..., Tensor]) -> Tensor:
        if images.shape[1:] != self.image_shape:
            raise UserError(f"views: images are {tuple(images.shape[1:])}, expected {self.image_shape}")
        parameters = []
        height, width = self.image_shape[-2:] if transforms else (0, 0)
        # A crop in bfloat16 would lose the last bits of a pixel, so the autocast of a training loop ends here.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            for transform in transforms:
                parameters.append(transform.sample_parameters(len(images), height, width, images.device))
                height, width = transform.output_size(height, width)
            if images.device.type != "cpu":
                return apply(images, transforms, parameters).contiguous()
            step = max(1, torch.get_num_threads() * CHUNK_BYTES // (4 * math.prod(self.image_shape)))
            chunks = [slice(start, start + step) for start in range(0, max(len(images), 1), step)]
            return torch.cat(
                [apply(images[c], transforms, [tuple(p[c] for p in ps) for ps in parameters]) for c in chunks]
            )


def _apply(images: Tensor, transforms: list[Transform], parameters: list[tuple[Tensor, ...]]) -> Tensor:
    x = images.float() if images.is_floating_point() else images.float().div_(255)
    for transform, sampled in zip(transforms, parameters, strict=True):
        x = transform(x, *sampled)
    return x
