"""Structural adversarial objectives (arXiv 2310.00357): the discriminator as a self-supervised encoder."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_bench.data.module import DataModule
from ssl_bench.distributed import gather, rank, world_size
from ssl_bench.errors import UserError
from ssl_bench.losses.jacobian import jacobian_norm, jacobian_penalty
from ssl_bench.losses.structural import (
    Covariance,
    bhattacharyya,
    jensen_shannon,
    nearest,
    neighbour_similarity,
    norm_hinge,
)
from ssl_bench.methods.adversarial import Adversarial, DiscriminatorNetwork, GeneratorNetwork, Part, Terms
from ssl_bench.networks.queue import FeatureQueue

DISTANCES = {"jensen_shannon": jensen_shannon, "bhattacharyya": bhattacharyya}


def with_jacobian(network: nn.Module, x: Tensor, power_iterations: int) -> tuple[Tensor, Tensor]:
    """Outputs ``(N, p)`` of a network and its Jacobian's spectral norm ``(N,)`` at each x, both with gradients.

    The norm is computed in float32; in mixed precision that takes a pass of its own, else the outputs come with it.
    """
    outputs, sigma = jacobian_norm(network, x, power_iterations)
    return (network(x).float() if torch.is_autocast_enabled(x.device.type) else outputs), sigma


class StructuralGAN(Adversarial):
    """Structural adversarial objectives for self-supervised representation learning (arXiv 2310.00357, Eq. 8).

    The discriminator maps images to embeddings e, and z = e / ||e||. It maximises a distance between Gaussians fitted
    to the z of real and of generated images (Eq. 2 to 5) and the similarity of a real image to its nearest neighbours,
    and minimises that of a generated one to its nearest real images (Eq. 6), while the spectral norm of its Jacobian
    is held near a target and the norm of e above 1 (Eq. 7). The generator plays against it in the first and in the
    last but one. Defaults are what the authors released where that is not wrong; the options below name the rest.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`.
        embedding_dim: p, length of z.
        distance: between the Gaussians: Jensen-Shannon divergence (Eq. 4) or Bhattacharyya distance (Eq. 5).
        covariance: ``full`` as released or ``diagonal`` as the paper says, see `losses.structural`.
        ridge: added to the covariance, times 1 / p; 0 for the paper's equations as printed.
        global_batch: fit the Gaussians to, and find neighbours in, the batch of all processes; else each in its own, as
            released. BatchNorm of the generator is then global with ``--trainer.sync_batchnorm true``.
        neighbours: K, of each image; the released default, which the paper does not give, is 1.
        fake_neighbours: of a generated image the ``nearest`` real ones, or as ``released`` the 2nd to (K+1)th.
        queue_size: real images of earlier batches among which neighbours are found too.
        cluster_weight: lambda_c of Eq. 8, of the neighbours' term; 0 leaves it and the queue out.
        smoothness_weight: lambda_s of Eq. 8, of the Jacobian's term and the norm's; 0 leaves both out.
        norm_weight: lambda_h of Eq. 7, of the norm's term within those.
        norm_side: the norm of e that is penalised: ``below`` 1 as released, ``above`` 1 as Eq. 7 is printed.
        lipschitz: target of the Jacobian's spectral norm.
        power_iterations: S, for the spectral norm. One finds 0.4 to 0.5 of it at the start, two 0.9.
        lazy: evaluate the Jacobian's term on every lazy-th batch only, with lazy times its weight.
        **kwargs: see `Adversarial`.
    """

    jacobian_norm: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorNetwork,
        discriminator: DiscriminatorNetwork,
        embedding_dim: int = 128,
        distance: Literal["jensen_shannon", "bhattacharyya"] = "jensen_shannon",
        covariance: Covariance = "full",
        ridge: float = 0.5,
        global_batch: bool = False,
        neighbours: int = 1,
        fake_neighbours: Literal["nearest", "released"] = "nearest",
        queue_size: int = 10240,
        cluster_weight: float = 3.0,
        smoothness_weight: float = 5.0,
        norm_weight: float = 4.0,
        norm_side: Literal["below", "above"] = "below",
        lipschitz: float = 1.0,
        power_iterations: int = 1,
        lazy: int = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, generator, discriminator, embedding_dim, **kwargs)
        if min(neighbours, power_iterations, lazy, queue_size) < 1 or min(cluster_weight, smoothness_weight, ridge) < 0:
            raise UserError(
                f"StructuralGAN: neighbours {neighbours}, power_iterations {power_iterations}, lazy {lazy}, queue_size "
                f"{queue_size}, weights {cluster_weight}, {smoothness_weight}, ridge {ridge}: expected whole numbers "
                "above 0, and weights and ridge of 0 or more"
            )
        self.distance = DISTANCES[distance]
        self.covariance, self.ridge, self.global_batch = covariance, ridge, global_batch
        self.neighbours, self.fake_neighbours = neighbours, fake_neighbours
        self.cluster_weight, self.smoothness_weight = cluster_weight, smoothness_weight
        self.norm_weight, self.norm_side = norm_weight, norm_side
        self.lipschitz, self.power_iterations, self.lazy = lipschitz, power_iterations, lazy
        self.register_buffer("jacobian_norm", torch.zeros(()))
        self.queue = FeatureQueue(queue_size, keys=self.feature_dim, values=embedding_dim) if cluster_weight else None

    def on_fit_start(self) -> None:
        """Refuse batches that have too few neighbours or do not fit into the queue, before training starts."""
        super().on_fit_start()
        if self.queue is None or not isinstance(data := self.trainer.datamodule, DataModule):  # type: ignore[attr-defined]
            return
        number = getattr(self.views, "number", 1)
        part, batch = data.batch_size * number // self.accumulate, data.batch_size * number * world_size()
        if part < self.neighbours + 1:
            raise UserError(
                f"structural_gan: {part} images at a time have no {self.neighbours} neighbours each: give "
                f"--data.batch_size, over --method.accumulate, of {self.neighbours + 1} or more"
            )
        if batch > self.queue.size:
            raise UserError(
                f"structural_gan: a queue of {self.queue.size} is shorter than the batch of {batch} images in "
                f"{world_size()} processes: give --method.queue_size {batch} or more, or a smaller --data.batch_size"
            )

    def all_ranks(self, x: Tensor) -> Tensor:
        """Rows of the batch that the losses look at, with gradients: every rank's or this one's."""
        return gather(x) if self.global_batch else x

    def prepare(self, real: Tensor) -> Part:
        """The images and their keys: the averaged backbone's features, the same for both networks' steps."""
        return {"real": real} | ({} if self.queue is None else {"keys": self.keys(real)})

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """What neighbours are found by: the averaged discriminator's features, ``(N, feature_dim)``."""
        return self.encode(x)

    def pool(self, part: Part, z_real: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the real images that can be neighbours: the batch's, with gradients, then the queue's."""
        assert self.queue is not None
        keys = torch.cat([self.all_ranks(part["keys"]), self.queue["keys"]])
        return keys, torch.cat([self.all_ranks(z_real), self.queue["values"]])

    def similarity_real(self, part: Part, z_real: Tensor) -> Tensor:
        """Mean similarity of real images with their nearest others, Eq. 6."""
        keys, values = self.pool(part, z_real)
        own = torch.arange(len(z_real), device=z_real.device) + (rank() * len(z_real) if self.global_batch else 0)
        return neighbour_similarity(z_real, values, nearest(part["keys"], keys, self.neighbours, exclude=own))

    def similarity_fake(self, part: Part, z_real: Tensor, z_fake: Tensor, fake: Tensor) -> Tensor:
        """Mean similarity of generated images with their nearest real ones, Eq. 6."""
        keys, values = self.pool(part, z_real)
        skip = self.fake_neighbours == "released"
        return neighbour_similarity(z_fake, values, nearest(self.keys(fake), keys, self.neighbours, skip_first=skip))

    def gaussian(self, z_real: Tensor, z_fake: Tensor) -> tuple[Tensor, Terms]:
        """The distance between the Gaussians, and the log determinants it is made of."""
        distance, determinants = self.distance(
            self.all_ranks(z_real), self.all_ranks(z_fake), self.covariance, self.ridge
        )
        return distance, {f"log_determinant_{name}": value for name, value in determinants._asdict().items()}

    def discriminator_loss(self, part: Part) -> Terms:
        """Eq. 8 as the discriminator minimises it."""
        real = part["real"]
        with torch.no_grad():
            fake = self.fakes(len(real))
        x = torch.cat([real, fake.to(real.dtype)])
        terms: Terms = {}
        smoothness = x.new_zeros(())
        if self.smoothness_weight and self.due(self.lazy):
            e, sigma = with_jacobian(self.discriminator, x, self.power_iterations)
            smoothness = self.lazy * jacobian_penalty(sigma, self.lipschitz)
            self.jacobian_norm.copy_(sigma.detach().mean())
        else:
            e = self.discriminator(x).float()
        if self.smoothness_weight:
            terms["jacobian_norm"] = self.jacobian_norm.clone()  # between lazy steps the last one
            smoothness = smoothness + self.norm_weight * norm_hinge(e[: len(real)], self.norm_side)
        z_real, z_fake = F.normalize(e).chunk(2)
        part["values"] = z_real.detach()
        distance, determinants = self.gaussian(z_real, z_fake)
        loss = self.smoothness_weight * smoothness - distance
        if self.queue is not None:
            terms["similarity_real"] = self.similarity_real(part, z_real)
            terms["similarity_fake"] = self.similarity_fake(part, z_real, z_fake, fake)
            loss = loss + self.cluster_weight * (terms["similarity_fake"] - terms["similarity_real"])
        norm = e[: len(real)].norm(dim=1).mean()
        return determinants | terms | {"distance": distance, "norm": norm, "loss": loss}

    def generator_loss(self, part: Part) -> Terms:
        """Eq. 8 as the generator minimises it: the distance, and from its images' real neighbours."""
        real = part["real"]
        with torch.no_grad():
            z_real = F.normalize(self.discriminator(real).float())
        part["values"] = z_real
        fake = self.fakes(len(real))
        z_fake = F.normalize(self.discriminator(fake).float())
        loss, _ = self.gaussian(z_real, z_fake)
        if self.queue is not None:
            loss = loss - self.cluster_weight * self.similarity_fake(part, z_real, z_fake, fake)
        return {"generator_loss": loss}

    def finish(self, parts: list[Part]) -> None:
        """Queue the real images of all ranks: keys of before this batch's steps, embeddings of after them."""
        if self.queue is not None:
            for part in parts:
                self.queue.enqueue(keys=gather(part["keys"]), values=gather(part["values"]))
