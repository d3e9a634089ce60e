"""Masked autoencoder: pixels of masked patches are predicted from the visible patches."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.hashing import random_order
from ssl_bench.losses.masked import masked_error, normalize_patches, patchify, unpatchify
from ssl_bench.methods.adversarial import check_pixel_range
from ssl_bench.methods.base import Method
from ssl_bench.networks.vit import PatchDecoder, PatchEncoder
from ssl_bench.ranges import UnitFloat, check_ranges


@check_ranges
class MAE(Method):
    """MAE (He et al. 2022, arXiv 2111.06377), on timm's vision transformer.

    A random part of the patches of an image is masked. The encoder processes the visible patches only; the decoder
    predicts the pixels of all patches, and the loss is of the masked ones. Masks depend on the id of the image and the
    step only. Each view is an image. Views lie in [-1, 1], which differs from the channel normalisation of the paper by
    a linear map of the pixels, and by nothing in the loss if patches are normalised.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        encoder: given image_shape, returns the encoder of patches.
        decoder: given (width of the encoder, grid of patches, values of a patch), returns the decoder.
        mask_ratio: share of the patches that are masked.
        normalize_targets: if True, the mean and variance of each target patch are 0 and 1.
        features: the encoder's features of an image without masks: the mean of the tokens of patches, or the class
            token.
        **kwargs: optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method mae --data digits``
    """

    family = "masked"

    def __init__(
        self,
        image_shape: tuple[int, ...],
        encoder: Callable[[tuple[int, ...]], PatchEncoder],
        decoder: Callable[[int, tuple[int, int], int], PatchDecoder],
        mask_ratio: UnitFloat = 0.75,
        normalize_targets: bool = True,
        features: Literal["patches", "class"] = "patches",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder(tuple(image_shape))
        self.grid, self.patch_size, self.feature_dim = self.encoder.grid, self.encoder.patch_size, self.encoder.width
        self.decoder = decoder(self.feature_dim, self.grid, self.patch_size**2 * image_shape[0])
        self.normalize_targets, self.features = normalize_targets, features
        self.patches = self.grid[0] * self.grid[1]
        self.visible = self.patches - round(mask_ratio * self.patches)
        if normalize_targets and self.patch_size**2 * image_shape[0] < 2:
            raise UserError("MAE: patches of one value cannot be normalised: give a larger patch_size")
        if not 0 < self.visible < self.patches:
            raise UserError(
                f"MAE: mask_ratio {mask_ratio} of {self.patches} patches masks {self.patches - self.visible}: give a "
                "ratio that masks some patches and not all, or a smaller patch_size"
            )

    def encode(self, x: Tensor) -> Tensor:
        """Features of all patches: ``(N, C, H, W)`` in [-1, 1] to ``(N, feature_dim)``."""
        tokens = self.encoder(x).float()
        return tokens[:, 0] if self.features == "class" else tokens[:, 1:].mean(1)

    def predict(self, x: Tensor, order: Tensor) -> Tensor:
        """Predicted values ``(N, L, P)`` of all patches from the first ones in `order`, int64 ``(N, L)``."""
        visible = order[:, : self.visible]
        return self.decoder(self.encoder(x, visible), visible).float()

    def objective(self, x: Tensor, order: Tensor) -> Tensor:
        """The mean squared error of the masked patches of images ``(N, C, H, W)``: the last ones in `order`."""
        target = patchify(x.float(), self.patch_size)
        if self.normalize_targets:
            target = normalize_patches(target)
        return masked_error(self.predict(x, order), target, order[:, self.visible :])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        views = len(batch.images)
        # Views of an image have different masks: one order for each.
        ids = torch.cat([batch.ids * views + view for view in range(views)])
        loss = self.objective(batch.images.flatten(0, 1), random_order(ids, self.global_step, self.patches))
        self.log_metrics({"loss": loss})
        return loss

    def example_order(self, x: Tensor) -> Tensor:
        """The order of patches that `masked` and `reconstruct` use, the same for every image: int64 ``(N, L)``."""
        return random_order(torch.zeros(1, dtype=torch.int64, device=x.device), 0, self.patches).expand(len(x), -1)

    def masked(self, x: Tensor) -> Tensor:
        """Images in [0, 1], same shape as x, whose masked patches are grey."""
        patches = patchify((x.float() + 1) / 2, self.patch_size)
        hidden = self.example_order(x)[:, self.visible :, None].expand(-1, -1, patches.shape[2])
        return unpatchify(patches.scatter(1, hidden, 0.5), self.grid, self.patch_size)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Predictions of the masked patches beside the visible ones, in [0, 1], same shape as x; see `masked`.

        With normalised targets, a predicted patch is given the mean and variance of the original one, as in the figures
        of the paper, so that reconstructions are not predictions alone.
        """
        order = self.example_order(x)
        patches, predicted = patchify(x.float(), self.patch_size), self.predict(x, order)
        if self.normalize_targets:
            predicted = predicted * (patches.var(2, keepdim=True) + 1e-6).sqrt() + patches.mean(2, keepdim=True)
        seen = order[:, : self.visible, None].expand(-1, -1, patches.shape[2])
        images = predicted.scatter(1, seen, patches.gather(1, seen))
        return (unpatchify(images, self.grid, self.patch_size) / 2 + 0.5).clamp(0, 1)

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse views whose range is not [-1, 1]."""
        super().check_inputs(inputs)
        check_pixel_range(self, inputs)
