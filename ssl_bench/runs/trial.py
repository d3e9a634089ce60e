"""A trial of a method from outside the package, and of views: mistakes are found before the first epoch."""

import io
from numbers import Integral
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
from ssl_bench.config.schema import Run
from ssl_bench.errors import UserError, describe
from ssl_bench.methods.base import Method, NoisyLayered
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.trust import import_class

IMAGES = 4
"""Number of images that the trials encode."""


def try_method(run: Run) -> None:
    """Encode a few random images, and save and load a checkpoint in memory.

    Modes, buffers and the state of random numbers are restored. The method is not copied, because not every network can
    be, such as one with `torch.nn.utils.weight_norm`. The methods of this package are not tried, because the
    contract tests cover them.

    Raises:
        UserError: one line that says what is wrong with the class.
    """
    method = run.method
    if type(method).__module__.startswith("ssl_bench."):
        return
    name = type(method).__name__
    check_definition(method, name)
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, *run.data.image_shape)
    images = torch.rand(shape, generator=generator)
    if len(shape) == 4:
        images = (255 * images).to(torch.uint8)
    with evaluation_mode(method):
        check_features(method, run.views.evaluation_input(images), name)
        check_checkpoint(method, name)


def try_views(run: Run) -> None:
    """Encode a few random images of the size of the views, and of the local views if there are any.

    Only methods with a backbone of any class are tried. The networks of the others are made for the size of the views.

    Raises:
        UserError: the encoder does not take images of one of these sizes.
    """
    if not isinstance(run.method, MultiView):
        return
    advice = {"views": (run.views.output_shape, "--data.size or a recipe with a crop of another size than")}
    if (local := run.views.local_shape) is not None and run.method.accepts_local_views:
        advice["local views"] = local, "--views.local_recipe a crop of another size than"
    with evaluation_mode(run.method):
        for kind, (shape, remedy) in advice.items():
            try:
                check_features(run.method, torch.rand(IMAGES, *shape), type(run.method).__name__)
            except UserError as error:
                size = "x".join(map(str, shape[1:]))
                raise UserError(f"{error}; {kind} have this size: give {remedy} {size}, or another backbone") from error


def try_noise(run: Run) -> None:
    """Encode a few random images with the most noise that `noise_probe` scores.

    Raises:
        UserError: a diffusion model has fewer steps of noise.
    """
    if isinstance(run.method, NoisyLayered) and run.evaluation.noise:
        with evaluation_mode(run.method):
            run.method.encode_noisy_layers(torch.rand(IMAGES, *run.views.output_shape), max(run.evaluation.noise))


def check_definition(method: Method, name: str) -> None:
    """Check that the class defines what the contract of a method needs.

    Raises:
        UserError: something is missing.
    """
    if type(method).encode is Method.encode:
        raise UserError(f"{name} must define encode(x), from images (N, C, H, W) to features (N, feature_dim)")
    if type(method).training_step is LightningModule.training_step:
        raise UserError(f"{name} must define training_step(batch, batch_idx), which returns the loss")
    dim = getattr(method, "feature_dim", None)
    if not isinstance(dim, Integral) or isinstance(dim, bool) or dim < 1:
        given = "does not set it" if dim is None else f"sets {dim!r}"
        raise UserError(f"{name} must set feature_dim, the number of features, to an integer of at least 1; it {given}")
    registered = set(method.modules())
    for attribute, value in vars(method).items():
        items = list(value.values()) if isinstance(value, dict) else value
        networks = [i for i in items if isinstance(i, nn.Module)] if isinstance(items, list | tuple) else []
        if attribute != "_modules" and not registered.issuperset(networks):
            raise UserError(
                f"{name}.{attribute} is a {type(value).__name__} of networks, which are neither trained nor saved: use "
                f"nn.Module{'Dict' if isinstance(value, dict) else 'List'}"
            )
    try:
        found = import_class(f"{type(method).__module__}.{type(method).__qualname__}")
    except (ImportError, AttributeError):  # of a class in a function or in another class
        found = None
    if found is not type(method):
        raise UserError(f"{name} is not the class at its import path: define it at the top level of its module")


def check_features(method: Method, x: Tensor, name: str) -> None:
    """Encode images twice and check the features.

    Raises:
        UserError: encode fails, or its result is not a tensor of the right shape, not finite or not deterministic.
    """
    try:
        features: Any = method.encode(x)
        again: Any = method.encode(x)
    except Exception as error:  # the code of a user may raise any
        raise UserError(f"{name}.encode fails on images of shape {tuple(x.shape)}: {describe(error)}") from error
    expected = f"a tensor of shape ({len(x)}, {method.feature_dim}), (N, feature_dim)"
    if not isinstance(features, Tensor):
        raise UserError(f"{name}.encode must return {expected}, got {type(features).__name__}")
    if tuple(features.shape) != (len(x), method.feature_dim):
        raise UserError(f"{name}.encode must return {expected}, got shape {tuple(features.shape)}")
    if not features.isfinite().all():
        raise UserError(f"{name}.encode returns NaN or infinite features for images of shape {tuple(x.shape)}")
    if not torch.equal(features, again):
        raise UserError(f"{name}.encode returns other features for the same images: use no random numbers in it")


def check_checkpoint(method: Method, name: str) -> None:
    """Save a checkpoint to memory and load it.

    Raises:
        UserError: it cannot be saved, or contains objects of other types than tensors and plain values.
    """
    file, checkpoint = io.BytesIO(), {"state_dict": method.state_dict()}
    try:
        method.on_save_checkpoint(checkpoint)
        torch.save(checkpoint, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
    except Exception as error:
        raise UserError(
            f"{name}: its checkpoint cannot be saved and loaded again: on_save_checkpoint must add tensors, numbers, "
            "strings, lists and dicts only"
        ) from error
    if "method" not in loaded or loaded["method"] != method.config:
        raise UserError(f"{name}.on_save_checkpoint must call super().on_save_checkpoint(checkpoint)")
    try:
        method.on_load_checkpoint(loaded)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}.on_load_checkpoint fails: {describe(error)}") from error
