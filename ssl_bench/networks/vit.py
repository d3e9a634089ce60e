"""Vision transformer of timm that encodes some patches of an image, and the decoder of a masked autoencoder."""

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.networks.interfaces import Network
from ssl_bench.ranges import PositiveInt, check_ranges


def positions(grid: tuple[int, int], width: int) -> nn.Parameter:
    """Sine and cosine embeddings of the positions of patches, ``(1, L, width)``; not trained."""
    return nn.Parameter(build_sincos2d_pos_embed(list(grid), width)[None], requires_grad=False)


@check_ranges
class PatchEncoder(Network):
    """timm's vision transformer with a class token, for all patches of an image or some of them.

    The default is ViT-S with patches of 4 px, which has 21.34 million parameters at 32 px.

    Args:
        image_shape: (C, H, W) of one image.
        patch_size: side of a patch in pixels; it must divide H and W.
        width: length of a token; a multiple of 4 and of `heads`.
        depth: number of blocks.
        heads: number of attention heads.

    Attributes:
        grid: number of patches of an image, vertically and horizontally.

    Raises:
        UserError: patches do not divide the image, or heads the width.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        patch_size: PositiveInt = 4,
        width: PositiveInt = 384,
        depth: PositiveInt = 12,
        heads: PositiveInt = 6,
    ):
        super().__init__()
        channels, height, breadth = image_shape
        if height % patch_size or breadth % patch_size:
            raise UserError(
                f"images are {height} x {breadth} px: give a patch_size that divides both, not {patch_size}"
            )
        check_width(width, heads)
        self.grid, self.patch_size, self.width = (height // patch_size, breadth // patch_size), patch_size, width
        self.transformer = VisionTransformer(
            img_size=(height, breadth), patch_size=patch_size, in_chans=channels, num_classes=0,
            embed_dim=width, depth=depth, num_heads=heads, pos_embed="none",
        )  # fmt: skip
        self.positions = positions(self.grid, width)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens ``(N, 1 + K, width)`` of images ``(N, C, H, W)``, the class token first.

        Args:
            x: the images.
            visible: indices int64 ``(N, K)`` of the patches that are encoded; all by default.
        """
        tokens = self.transformer.patch_embed(x) + self.positions
        if visible is not None:
            tokens = take(tokens, visible)
        class_token = self.transformer.cls_token
        assert isinstance(class_token, Tensor)
        tokens = torch.cat([class_token.expand(x.shape[0], -1, -1), tokens], 1)
        encoded: Tensor = self.transformer.norm(self.transformer.blocks(tokens))
        return encoded


@check_ranges
class PatchDecoder(Network):
    """Decoder of a masked autoencoder (He et al. 2022): blocks of a transformer on all patches, then a linear layer.

    Args:
        inputs: length of the encoder's tokens.
        grid: number of patches of an image, vertically and horizontally.
        outputs: number of values that are predicted for a patch.
        width: length of a token; a multiple of 4 and of `heads`.
        depth: number of blocks.
        heads: number of attention heads.
    """

    def __init__(
        self,
        inputs: PositiveInt,
        grid: tuple[int, int],
        outputs: PositiveInt,
        width: PositiveInt = 512,
        depth: PositiveInt = 8,
        heads: PositiveInt = 16,
    ):
        super().__init__()
        check_width(width, heads)
        self.embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.positions = positions(grid, width)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Values ``(N, L, outputs)`` of all L patches.

        Args:
            tokens: the encoder's tokens ``(N, 1 + K, inputs)``.
            visible: indices int64 ``(N, K)`` of the patches of the tokens.
        """
        class_token, seen = self.embed(tokens).split([1, visible.shape[1]], 1)
        patches = self.mask_token.to(seen.dtype).expand(len(seen), self.positions.shape[1], -1)
        patches = patches.scatter(1, visible[:, :, None].expand_as(seen), seen) + self.positions
        decoded = self.blocks(torch.cat([class_token, patches], 1))
        values: Tensor = self.head(self.norm(decoded[:, 1:]))
        return values


def take(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows ``(N, K, d)`` of tokens ``(N, L, d)`` at indices int64 ``(N, K)``."""
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]))


def check_width(width: int, heads: int) -> None:
    """Refuse widths that the heads or the embeddings of positions cannot divide."""
    if width % heads or width % 4:
        raise UserError(f"width {width}: give a multiple of 4 and of the number of heads, {heads}")
