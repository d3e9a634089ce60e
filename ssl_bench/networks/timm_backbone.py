"""Any model of timm as a trainable backbone."""

from typing import Any

import timm
import torch
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Backbone
from ssl_bench.networks.pretrained import loads_pretrained_weights
from ssl_bench.ranges import NonNegativeInt, check_ranges


def reason(error: Exception) -> str:
    """First line of why timm cannot create a model, without torch's advice to load files that can contain code."""
    if "weights_only" in str(error):
        return "its file of weights is damaged or contains more than tensors, which is not loaded; give other weights"
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_images(network: Any, model: str, shape: tuple[int, ...]) -> None:
    """Encode an image of zeros, so that a size that the model does not take is found before training.

    Args:
        network: the model.
        model: its name in timm, for the message.
        shape: (C, H, W) of one image.

    Raises:
        UserError: the model fails on images of this shape, or its features are not finite.
    """
    training, why = network.training, ""
    try:
        with torch.no_grad():
            if not network.eval()(torch.zeros(1, *shape)).isfinite().all():  # such as means over no pixels
                why = "its features are not finite"
    except Exception as error:  # of any type
        why = reason(error)
    network.train(training)
    if why:
        size = (network.pretrained_cfg or {}).get("input_size", (3, 224, 224))[-1]
        raise UserError(
            f"timm/{model} does not take images of shape {tuple(shape)} ({why}): give --data.size {size} if the data "
            "have this setting, or another model"
        )


@check_ranges
class TimmBackbone(Backbone):
    """A model of timm before its classifier: ``(N, C, H, W) -> (N, outputs)``.

    Most models are designed for 224 px; for 32-px images `ResNetEncoder` has a suitable stem.

    Args:
        image_shape: (C, H, W) of one input.
        outputs: length of one output. If zero, the output is the input of the classifier, `feature_dim` features.
        model: name of the model in timm. With a tag, timm downloads the weights of this tag; without a tag, the weights
            are random.

    Raises:
        UserError: timm cannot create this model, or it does not take images of this size.
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: NonNegativeInt, model: str = "resnet18"):
        super().__init__()
        self.pretrained = "." in model
        try:
            network: Any = timm.create_model(
                model,
                pretrained=self.pretrained and loads_pretrained_weights(),
                num_classes=outputs,
                in_chans=image_shape[0],
            )
        except Exception as error:  # errors of timm, of the model hub and of the network have no common base
            raise UserError(f"timm/{model}: {reason(error)}; see timm.list_models()") from error
        self.network, self.feature_dim = network, int(network.head_hidden_size)  # some models widen the features
        check_images(network, model, image_shape)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, outputs)``."""
        features: Tensor = self.network(x)
        return features
