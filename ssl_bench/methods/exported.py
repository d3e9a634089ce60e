"""Exported encoders: their files, and how they are scored on other data."""

import json
from pathlib import Path

import torch
from jsonargparse import ArgumentError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_bench.data.resizing import resize_and_crop
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.checkpoint import build_method
from ssl_bench.methods.frozen import Frozen, fingerprint_features
from ssl_bench.methods.used_weights import used_weights
from ssl_bench.networks.pretrained import without_pretrained_weights

VERSION = 1
"""Version of the format of exports; others are refused."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEY = "ssl_bench_export"
"""Key of the version in ``config.json``."""
REFUSED = ("ssl_bench.methods.exported.", "ssl_bench.methods.external.")
"""Modules of methods that load other files or code."""
DAMAGED = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError, ArgumentError
)  # fmt: skip
"""Errors of reading a damaged export."""


def read_export(folder: Path) -> tuple[Method, Views, str]:
    """The method in an exported folder, on the CPU, its views, and the terms of use of its training data.

    Raises:
        UserError: a file is missing or damaged, the export is of another version, or the weights do not fit.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        version = config[KEY]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is not an export of ssl_bench: {_line(error)}") from error
    if version != VERSION:
        ours = f"this ssl_bench reads version {VERSION}"
        raise UserError(f"{folder} is an export of version {version}, {ours}: export the run again")
    try:
        path, preprocessing = config["method"]["class_path"], config["preprocessing"]
        if path.startswith(REFUSED):
            raise UserError(f"{folder}: {path} cannot be loaded from an export")
        # Building samples or loads initial weights, which are replaced.
        with torch.random.fork_rng(devices=[]), without_pretrained_weights():
            method = build_method(config["method"]).eval()
        views = Views(
            preprocessing["recipe"],
            image_shape=tuple(preprocessing["image_shape"]),
            mean=tuple(preprocessing["mean"]),
            std=tuple(preprocessing["std"]),
        )
        load_weights(method, load_file(folder / WEIGHTS), views)
    except UserError as error:
        raise UserError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error
    except DAMAGED as error:
        raise UserError(f"{folder} is a damaged export, or of another version: {_line(error)}") from error
    return method, views, str(config.get("licence_of_the_data", ""))


def load_weights(method: Method, weights: dict[str, Tensor], views: Views) -> None:
    """Load the weights of an export, which has only those that `encode` uses.

    Raises:
        ValueError: a weight does not fit the method, or one that `encode` uses is missing.
    """
    own = method.state_dict()
    wrong = [name for name, tensor in weights.items() if name not in own or own[name].shape != tensor.shape]
    if not wrong:
        method.load_state_dict(weights, strict=False)
        used = used_weights(method, views.evaluation_input(torch.zeros(1, *views.image_shape)))
        wrong = [name for name in used if name not in weights]
    if wrong:
        raise ValueError(f"{wrong[0]} does not fit {type(method).__name__}")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class Exported(Frozen):
    """An exported encoder, scored on any data: images are resized and cropped to the size of its training images.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data. Greyscale images are repeated to
            three channels if the encoder has three.
        model: an exported folder, or a repository USER/NAME of the Hugging Face Hub, which is downloaded.

    Example:
        ``ssl-bench evaluate hub/encoder --data cifar10``
    """

    pretrained = True

    def __init__(self, image_shape: tuple[int, ...], model: str):
        super().__init__()
        self.network, self.own_views, _ = read_export(find_export(model))
        self.feature_dim = self.network.feature_dim
        ours, theirs = tuple(image_shape), self.own_views.image_shape
        if len(ours) != len(theirs) or (ours[0] != theirs[0] and (ours[0], theirs[0]) != (1, 3)):
            raise UserError(f"hub/{model}: the encoder takes images of shape {theirs}, the data have {ours}")
        self.register_buffer("fingerprint", fingerprint_features(self, ours))

    def encode(self, x: Tensor) -> Tensor:
        """Features of images ``(N, C, H, W)`` in [0, 1]: ``(N, feature_dim)``."""
        shape = self.own_views.image_shape
        x = x.expand(-1, shape[0], *x.shape[2:]) if len(shape) == 3 else x
        return self.network.encode(self.own_views.evaluation_input(resize_and_crop(x, shape)))


def find_export(model: str) -> Path:
    """The folder of an export, after a download if it is a repository.

    Raises:
        UserError: there is no such folder, and no such repository can be downloaded.
    """
    if (folder := Path(model)).is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # errors of the hub, of the network and of the name have no common base
        reason = " ".join(str(error).split())
        raise UserError(f"hub/{model}: no folder, and cannot be downloaded: {reason[:200]}") from error
