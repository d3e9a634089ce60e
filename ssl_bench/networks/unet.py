"""U-Net of diffusion models: that of the library diffusers, with the features of its blocks."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import PositiveInt, UnitFloat, check_ranges


@check_ranges
class UNet(Network):
    """diffusers' UNet2DModel in the configuration of DDPM on CIFAR-10, which has 35.746 million parameters.

    Args:
        image_shape: (C, H, W) of one image.
        width: number of channels of the first stage.
        multipliers: number of channels of each stage, divided by `width`; a stage has half the resolution of the one
            before it.
        blocks: number of residual blocks of a stage on the way down; one more on the way up.
        attention: resolutions in pixels of the stages that have self-attention.
        groups: number of groups of GroupNorm; it must divide the channels of every stage.
        dropout: probability of dropout in the residual blocks.

    Attributes:
        layer_dims: number of channels of each block on the way up, the lowest resolution first.

    Raises:
        UserError: the stages do not fit the images, or the groups the channels.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: PositiveInt = 128,
        multipliers: tuple[PositiveInt, ...] = (1, 2, 2, 2),
        blocks: PositiveInt = 2,
        attention: tuple[PositiveInt, ...] = (16,),
        groups: PositiveInt = 32,
        dropout: UnitFloat = 0.1,
    ):
        super().__init__()
        from diffusers import UNet2DModel  # takes a second to import, and no other method needs it

        channels, height, breadth = image_shape
        smallest = 2 ** (len(multipliers) - 1)
        if height != breadth or height % smallest:
            raise UserError(
                f"images are {height} x {breadth} px: {len(multipliers)} stages need squares of a multiple of "
                f"{smallest} px: give other multipliers, or --data.size"
            )
        if width % groups:
            raise UserError(f"width {width}: give a multiple of the number of groups, {groups}")
        sides = [height // 2**stage for stage in range(len(multipliers))]
        kinds = ["Attn" if side in attention else "" for side in sides]
        self.unet: Any = UNet2DModel(
            sample_size=height, in_channels=channels, out_channels=channels,
            block_out_channels=tuple(width * factor for factor in multipliers), layers_per_block=blocks,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            attention_head_dim=None, norm_num_groups=groups, norm_eps=1e-6, dropout=dropout,
            downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
        )  # fmt: skip
        self.layer_dims = [width * factor for factor in reversed(multipliers) for _ in range(blocks + 1)]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predicted noise ``(N, C, H, W)`` of noisy images x of the same shape, at indices t int64 ``(N,)``."""
        noise: Tensor = self.unet(x, t, return_dict=False)[0]
        return noise

    def layers(self, x: Tensor, t: Tensor) -> list[Tensor]:
        """Features ``(N, layer_dims[l])`` of each block on the way up: means over the positions of its output."""
        pooled: list[Tensor] = []

        def keep(block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            pooled.append(output.float().mean((2, 3)))

        hooks = [block.register_forward_hook(keep) for block in self.up_blocks()]
        try:
            self(x, t)
        finally:
            for hook in hooks:
                hook.remove()
        return pooled

    def up_blocks(self) -> Iterable[nn.Module]:
        """The last module of each block on the way up: the attention, if there is one, or the residual block."""
        for stage in self.unet.up_blocks:
            yield from getattr(stage, "attentions", stage.resnets)
