"""An encoder with a fixed number of outputs as the backbone of a joint-embedding method."""

from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Backbone, EncoderFactory
from ssl_bench.ranges import NonNegativeInt, PositiveInt, check_ranges


@check_ranges
class EncoderBackbone(Backbone):
    """The outputs of an encoder as features: ``(N, C, H, W) -> (N, dim)``.

    The features of a method then have the length of a VAE's latents, as in Table 1 of the SimVAE paper.

    Args:
        image_shape: shape of one input.
        outputs: 0; a backbone has no further layer.
        encoder: given (image_shape, dim), returns the encoder ``(N, C, H, W) -> (N, dim)``.
        dim: length of the features.

    Raises:
        UserError: `outputs` is not 0.
    """

    def __init__(
        self, image_shape: tuple[int, ...], outputs: NonNegativeInt, encoder: EncoderFactory, dim: PositiveInt
    ):
        super().__init__()
        if outputs:
            raise UserError(f"EncoderBackbone: outputs {outputs}: a backbone has 0; give the length as dim")
        self.feature_dim = dim
        self.encoder = encoder(tuple(image_shape), dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, dim)``."""
        return self.encoder(x)
