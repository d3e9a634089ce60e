"""Reconstruction by a decoder trained on frozen features (SimVAE's Figure 1, arXiv 2402.01399)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import CosineAnnealingLR

from ssl_bench.distributed import gather_rows, share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.protocols.reconstruction import errors
from ssl_bench.networks.mlp import MLPDecoder
from ssl_bench.networks.simvae import TransposedDecoder


@dataclass(frozen=True)
class PosthocReconstruction:
    """What of an image is left in its features: a decoder learns to draw it from them.

    The decoder is the VAEs', behind a standardisation of the features, so that their scale does not matter; it
    minimises the mean squared error on training images by Adam, the learning rate falling to 0 along a cosine. The
    paper names the architecture and the loss; epochs, batch and learning rate are ours. One process trains, the
    others wait. Only computed where it is asked for, as it takes as long as fitting a VAE. Figures as
    `reconstruction`'s.

    Args:
        decoder: transposed convolutions, for squares whose side is a multiple of 16, or an MLP; none takes the first
            where it fits.
        images: training images at most, a random choice; they are held in every process, 8 bits a value.
        epochs: passes over them.
        batch_size: images of one step.
        learning_rate: Adam's, at the start.
        seed: of that choice, of the decoder's weights and of the order of images.
    """

    decoder: Literal["transposed", "mlp"] | None = None
    images: int = 50_000
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "epochs", "learning_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"posthoc_reconstruction.{name} {getattr(self, name)}: it must be above 0")
        if self.batch_size < 2:
            raise UserError(f"posthoc_reconstruction.batch_size {self.batch_size}: BatchNorm needs at least 2")

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Never of itself."""
        return False

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Figures over the test split.

        Raises:
            UserError: there are no images of (C, H, W), or the decoder cannot draw their size.
        """
        if encoder.images is None or len(encoder.image_shape) != 3:
            raise UserError(f"images (C, H, W) are needed to learn to draw them; the data have {encoder.image_shape}")
        with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU, so that they are the same everywhere
            torch.default_generator.manual_seed(self.seed)
            network = self._network(encoder.features.train.features.shape[1], encoder.image_shape)
        images, ids = self._training_images(encoder)
        [state] = share_out([lambda: self._train(network, encoder, images, ids)])
        network.load_state_dict(state)
        network.to(encoder.device).eval()
        return {f"posthoc_reconstruction/{k}": v for k, v in errors(_pairs(network, encoder), encoder).items()}

    def _network(self, dim: int, shape: tuple[int, ...]) -> nn.Sequential:
        fits = shape[1] == shape[2] and shape[1] % 16 == 0
        if self.decoder == "transposed" and not fits:
            raise UserError(
                f"posthoc_reconstruction.decoder transposed draws squares whose side is a multiple of 16, not {shape}; "
                "set mlp"
            )
        transposed = fits if self.decoder is None else self.decoder == "transposed"
        decoder = TransposedDecoder(dim, shape) if transposed else MLPDecoder(dim, shape)
        return nn.Sequential(nn.BatchNorm1d(dim, eps=0, affine=False), decoder, nn.Sigmoid())

    def _training_images(self, encoder: EvaluatedEncoder) -> tuple[Tensor, Tensor]:
        """uint8 images ``(n, C, H, W)`` and their ids, the same in every process."""
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
        """The trained decoder's state, on the CPU."""
        device, features = encoder.device, encoder.features.train.features
        mean, variance = _moments(features, ids)
        network[0].load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
        network.to(device)[1].train()
        network[0].eval()  # it standardises by the whole split, never by a batch
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


def _moments(features: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(d,)`` of some rows, a block at a time; 1 for the variance where a feature is constant."""
    blocks = ids.to(features.device).split(4096)
    mean = torch.stack([features[rows].sum(0, dtype=torch.float64) for rows in blocks]).sum(0) / len(ids)
    variance = torch.stack([(features[rows] - mean).square().sum(0) for rows in blocks]).sum(0) / len(ids)
    return mean, variance.where(variance.sqrt() > 1e-6 * mean.abs(), 1)


def _pairs(network: nn.Module, encoder: EvaluatedEncoder) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's test images and what the decoder makes of their features."""
    assert encoder.images is not None
    features = encoder.features.test.features
    for batch in encoder.images("test"):
        yield batch.images, network(features[batch.ids.to(features.device)].to(encoder.device))
