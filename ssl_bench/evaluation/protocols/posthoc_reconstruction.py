"""MSE, PSNR and SSIM of a decoder trained on frozen features (Bizeul et al. 2024, arXiv 2402.01399, Figure 1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import CosineAnnealingLR

from ssl_bench.distributed import gather_rows, share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.points import power_of_two
from ssl_bench.evaluation.reconstruction_errors import mean_errors
from ssl_bench.networks.mlp import MLPDecoder
from ssl_bench.networks.simvae import TransposedDecoder
from ssl_bench.ranges import Interval, PositiveFloat, PositiveInt, check_ranges


@check_ranges
@dataclass(frozen=True)
class PosthocReconstruction:
    """Reconstruction of images from frozen features by a decoder that is trained for this purpose.

    The errors measure how much of an image the features retain. The decoder has the architecture of the VAEs' decoders,
    preceded by a standardisation of the features, so that their scale does not matter. It is trained by Adam on the
    mean squared error of training images, with a cosine schedule of the learning rate to 0. The paper gives the
    architecture and the loss; the number of epochs, batch size and learning rate are our choices. One process trains
    while the others wait.

    The protocol runs only if it is listed in `protocols`, since it takes as long as training a VAE. Metrics are those
    of `reconstruction`.

    Args:
        decoder: ``transposed`` convolutions, for square images whose side is a multiple of 16, or ``mlp``. If None,
            transposed convolutions are used where possible, else the MLP.
        images: maximum number of training images, randomly chosen. Every process stores them with 8 bits per value.
        epochs: number of epochs.
        batch_size: number of images per step; at least 2, because of BatchNorm.
        learning_rate: initial learning rate of Adam.
        seed: seed of the choice of images, the decoder's weights and the order of images.
    """

    decoder: Literal["transposed", "mlp"] | None = None
    images: PositiveInt = 50_000
    epochs: PositiveInt = 50
    batch_size: Annotated[int, Interval(2)] = 128
    learning_rate: PositiveFloat = 1e-3
    seed: int = 0

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """False, because the protocol runs only if it is listed in `protocols`."""
        return False

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``posthoc_reconstruction/mse``, ``.../psnr`` and ``.../ssim`` on test.

        Raises:
            UserError: there are no images ``(C, H, W)``, or the decoder does not support their size.
        """
        if encoder.images is None or len(encoder.image_shape) != 3:
            raise UserError(f"posthoc_reconstruction needs images (C, H, W); the data have shape {encoder.image_shape}")
        with torch.random.fork_rng(devices=[]):  # on the CPU, so that initial weights are the same on every device
            torch.default_generator.manual_seed(self.seed)
            network = self._network(encoder.features.train.features.shape[1], encoder.image_shape)
        images, ids = self._training_images(encoder)
        [state] = share_out([lambda: self._train(network, encoder, images, ids)])
        network.load_state_dict(state)
        network.to(encoder.device).eval()
        errors = mean_errors(_reconstructed_test_images(network, encoder), encoder)
        return {f"posthoc_reconstruction/{name}": value for name, value in errors.items()}

    def _network(self, dim: int, shape: tuple[int, ...]) -> nn.Sequential:
        fits = shape[1] == shape[2] and shape[1] % 16 == 0
        if self.decoder == "transposed" and not fits:
            raise UserError(
                "posthoc_reconstruction: decoder transposed needs square images whose side is a multiple of 16, "
                f"got {shape}; set decoder mlp"
            )
        transposed = fits if self.decoder is None else self.decoder == "transposed"
        decoder = TransposedDecoder(dim, shape) if transposed else MLPDecoder(dim, shape)
        return nn.Sequential(Standardisation(dim), decoder, nn.Sigmoid())

    def _training_images(self, encoder: EvaluatedEncoder) -> tuple[Tensor, Tensor]:
        """uint8 images ``(n, C, H, W)`` and their ids ``(n,)``, the same in every process."""
        assert encoder.images is not None
        count = len(encoder.features.train.features)
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[torch.randperm(count, generator=Generator().manual_seed(self.seed))[: self.images]] = True
        images = [torch.empty(0, *encoder.image_shape, dtype=torch.uint8, device=encoder.device)]
        ids = [torch.empty(0, dtype=torch.int64, device=encoder.device)]
        for batch in encoder.images("train"):
            here = chosen.to(batch.ids.device)[batch.ids]
            images.append((batch.images[here] * 255).round().byte())
            ids.append(batch.ids[here])
        return gather_rows(torch.cat(images)), gather_rows(torch.cat(ids))

    def _train(
        self, network: nn.Sequential, encoder: EvaluatedEncoder, images: Tensor, ids: Tensor
    ) -> dict[str, Tensor]:
        """State dict of the trained network, on the CPU."""
        device, features = encoder.device, encoder.features.train.features
        mean, variance, unit = _moments(features, ids)
        network[0].load_state_dict({"running_mean": mean, "running_var": variance, "unit": unit}, strict=False)
        network.to(device)[1].train()
        network[0].eval()  # standardise by the moments of the whole split, not of a batch
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        batch_size = min(self.batch_size, len(ids))
        steps = len(ids) // batch_size
        schedule = CosineAnnealingLR(optimizer, self.epochs * steps)
        generator = Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            order = torch.randperm(len(ids), generator=generator)[: steps * batch_size]
            for rows in order.view(steps, batch_size):
                rows = rows.to(device)
                x = features[ids[rows].to(features.device)].to(device)
                loss = mse_loss(network(x), images[rows].float() / 255)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


class Standardisation(nn.BatchNorm1d):
    """Standardisation of features by moments that are given in units of a power of two for each feature.

    Otherwise variances of features of 1e-30 or 1e30 would be outside the range of float32.

    Args:
        dim: number of features.
    """

    unit: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=0, affine=False)
        self.register_buffer("unit", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised features ``(B, d)``."""
        return super().forward(x / self.unit)


def _moments(features: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and their unit ``(d,)`` of the rows `ids`, computed in blocks.

    The variance is infinite if a feature is constant, so that it has no effect.
    """
    blocks = ids.to(features.device).split(4096)
    unit = power_of_two(torch.stack([features[rows].abs().amax(0) for rows in blocks]).amax(0))
    mean = torch.stack([(features[rows] / unit).sum(0) for rows in blocks]).sum(0) / len(ids)
    variance = torch.stack([(features[rows] / unit - mean).square().sum(0) for rows in blocks]).sum(0) / len(ids)
    return mean, variance.where(variance.sqrt() > 1e-6 * mean.abs(), torch.inf), unit


def _reconstructed_test_images(network: nn.Module, encoder: EvaluatedEncoder) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's batches of test images and their reconstructions from features."""
    assert encoder.images is not None
    features = encoder.features.test.features
    for batch in encoder.images("test"):
        yield batch.images, network(features[batch.ids.to(features.device)].to(encoder.device))
