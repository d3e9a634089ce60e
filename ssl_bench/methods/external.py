"""External encoders, which are scored without training: models of torchvision, and of your own code."""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench import trust
from ssl_bench.errors import UserError, describe, did_you_mean
from ssl_bench.methods.frozen import Frozen, fingerprint_features
from ssl_bench.networks.pretrained import loads_pretrained_weights


class Torchvision(Frozen):
    """A classifier of torchvision, scored before its last linear layer.

    Greyscale images are repeated to three channels.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        model: name of the model. With weights (``resnet50.IMAGENET1K_V2``), torchvision downloads them, and images are
            resized, cropped and normalised as it documents for them. Without weights the network is random, and images
            keep their size.

    Example:
        ``ssl-bench evaluate torchvision/resnet50.IMAGENET1K_V2 --data cifar10``
    """

    def __init__(self, image_shape: tuple[int, ...], model: str):
        from torchvision import models

        super().__init__()
        if len(image_shape) != 3 or image_shape[0] not in (1, 3):
            raise UserError(f"torchvision: {model} needs images of 1 or 3 channels, got shape {image_shape}")
        name, dot, weights = model.partition(".")
        known = models.list_models(module=models)
        if name not in known:
            raise UserError(f"torchvision/{model}: no such model: {did_you_mean(name, known)}")
        choices = {one.name: one for one in models.get_model_weights(name)}
        if weights == "DEFAULT":
            weights = models.get_model_weights(name).DEFAULT.name
        if dot and weights not in choices:
            raise UserError(f"torchvision/{model}: no such weights: {did_you_mean(weights, choices)}")
        self.pretrained = bool(dot)
        try:
            loaded = choices[weights] if dot and loads_pretrained_weights() else None
            network: nn.Module = models.get_model(name, weights=loaded)
        except Exception as error:  # errors of the download have no common base
            raise UserError(f"torchvision/{model}: {' '.join(str(error).split())[:200]}") from error
        linear = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise UserError(f"torchvision/{model} has no linear layer as its classifier: give another model")
        last, head = linear[-1]
        network.set_submodule(last, nn.Identity())
        self.network, self.feature_dim = network, head.in_features
        self.preprocess: Any = choices[weights].transforms() if dot else None
        try:
            self.register_buffer("fingerprint", fingerprint_features(self, tuple(image_shape)))
        except Exception as error:  # of any type
            why = f"torchvision/{model} does not take images of shape {tuple(image_shape)} ({describe(error)})"
            raise UserError(f"{why}: give --data.size 224 if the data have this setting, or another model") from error

    def encode(self, x: Tensor) -> Tensor:
        """The input of the classifier: ``(N, C, H, W)`` in [0, 1] to ``(N, feature_dim)``."""
        x = x.expand(-1, 3, -1, -1)
        features: Tensor = self.network(x if self.preprocess is None else self.preprocess(x))
        return features


class External(Frozen):
    """A network that a function of your own makes; it does its own preprocessing.

    Args:
        image_shape: (C, H, W) of one image; the command line takes it from the data.
        model: import path ``MODULE:FUNCTION`` of a function without arguments that returns an `nn.Module`. The module
            maps images ``(N, C, H, W)`` in [0, 1] to features ``(N, d)``.

    Example:
        ``ssl-bench evaluate my_module:make_encoder --data cifar10``
    """

    pretrained = True

    def __init__(self, image_shape: tuple[int, ...], model: str):
        super().__init__()
        try:
            network = trust.import_factory(model)()
        except UserError:
            raise
        except Exception as error:  # of the user's code
            raise UserError(f"{model}: {describe(error)}") from error
        if not isinstance(network, nn.Module):
            raise UserError(f"{model} returned {type(network).__name__}, expected a torch.nn.Module")
        self.network: nn.Module = network.eval()
        try:
            with torch.no_grad():
                features = self.network(torch.zeros(2, *image_shape))
        except Exception as error:  # of the user's code
            raise UserError(f"{model} on images of shape {(2, *image_shape)}: {describe(error)}") from error
        if not isinstance(features, Tensor) or features.ndim != 2:
            shape = f" of shape {tuple(features.shape)}" if isinstance(features, Tensor) else ""
            raise UserError(f"{model}: output is {type(features).__name__}{shape}, expected features (N, d): pool them")
        self.feature_dim = features.shape[1]
        self.register_buffer("fingerprint", fingerprint_features(self, tuple(image_shape)))

    def encode(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, feature_dim)``."""
        features: Tensor = self.network(x)
        return features
