"""Any model of timm as a backbone that is trained."""

from typing import Any

import timm
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Backbone


class TimmBackbone(Backbone):
    """A model of timm before its classifier: ``(N, C, H, W) -> (N, outputs)``.

    Most are made for 224 px; for 32-px images `ResNetEncoder` has the stem that such images need.

    Args:
        image_shape: (C, H, W) of one input.
        outputs: length of one output; 0 ends at what the classifier is given, `feature_dim` features.
        model: its name in timm; random weights, unless it has a tag of weights, which timm downloads.

    Raises:
        UserError: timm cannot make that model for such images.
    """

    def __init__(self, image_shape: tuple[int, ...], outputs: int, model: str = "resnet18"):
        super().__init__()
        try:
            network: Any = timm.create_model(
                model, pretrained="." in model, num_classes=outputs, in_chans=image_shape[0]
            )
        except Exception as error:  # timm's own, the model hub's and the network's have no common base
            raise UserError(f"timm/{model}: {str(error).splitlines()[0]}; see timm.list_models()") from error
        self.network, self.feature_dim = network, int(network.head_hidden_size)  # some widen pooled features first

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, outputs)``."""
        features: Tensor = self.network(x)
        return features
