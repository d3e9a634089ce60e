"""Structural adversarial objectives (arXiv 2310.00357): the discriminator as a self-supervised encoder."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.data.types import TrainingInputs
from ssl_bench.distributed import gather, rank
from ssl_bench.errors import UserError
from ssl_bench.losses.jacobian import jacobian_norm, jacobian_penalty
from ssl_bench.losses.structural import (
    Covariance,
    LogDeterminants,
    bhattacharyya,
    jensen_shannon,
    neighbour_indices,
    neighbour_similarity,
    norm_hinge,
)
from ssl_bench.methods.adversarial import Adversarial, Part, Terms, at_least
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory
from ssl_bench.networks.queue import FeatureQueue

DISTANCES = {"jensen_shannon": jensen_shannon, "bhattacharyya": bhattacharyya}


class StructuralGAN(Adversarial):
    """Structural adversarial objectives for self-supervised representation learning (arXiv 2310.00357, Eq. 8).

    The discriminator maps images to embeddings e, and z = e / ||e||. It maximises a distance between Gaussians fitted
    to the z of real and of generated images (Eq. 2 to 5) and the similarity of a real image to its nearest neighbours,
    and minimises that of a generated one to its nearest real images (Eq. 6), while the spectral norm of its Jacobian
    is held near a target and the norm of e above 1 (Eq. 7). The generator minimises the distance and maximises its
    images' similarity with their neighbours; it has no part in the terms of the Jacobian and of the norm. Defaults are
    what the authors released, but for a neighbour that it passes over (`fake_neighbours`).

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

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
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
        counts = {
            "neighbours": neighbours,
            "queue_size": queue_size,
            "power_iterations": power_iterations,
            "lazy": lazy,
        }
        at_least(1, type(self), embedding_dim=embedding_dim, **counts)
        weights = {"cluster_weight": cluster_weight, "smoothness_weight": smoothness_weight, "norm_weight": norm_weight}
        at_least(0, type(self), ridge=ridge, lipschitz=lipschitz, **weights)
        super().__init__(image_shape, generator, discriminator, embedding_dim, **kwargs)
        self.distance, self.embedding_dim = DISTANCES[distance], embedding_dim
        self.covariance, self.ridge, self.global_batch = covariance, ridge, global_batch
        self.neighbours, self.fake_neighbours = neighbours, fake_neighbours
        self.cluster_weight, self.smoothness_weight = cluster_weight, smoothness_weight
        self.norm_weight, self.norm_side = norm_weight, norm_side
        self.lipschitz, self.power_iterations, self.lazy = lipschitz, power_iterations, lazy
        self.queue = FeatureQueue(queue_size, keys=self.feature_dim, values=embedding_dim) if cluster_weight else None

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that have too few neighbours or are larger than the queue."""
        super().check_inputs(inputs)
        part, dim = inputs.images // self.accumulate, self.embedding_dim
        fitted = part * inputs.processes if self.global_batch else part
        if self.ridge == 0 and self.covariance == "full" and fitted <= dim:
            raise UserError(
                f"StructuralGAN: {fitted} images have no determinant of a {dim} x {dim} covariance: give "
                f"--method.ridge 0.5, --method.covariance diagonal or more than {dim} images at a time"
            )
        if self.queue is None:
            return
        batch = inputs.images * inputs.processes
        if part < self.neighbours + 1:
            raise UserError(
                f"StructuralGAN: {part} images at a time have no {self.neighbours} neighbours each: give "
                f"--data.batch_size, over --method.accumulate, of {self.neighbours + 1} or more"
            )
        if batch > self.queue.size:
            raise UserError(
                f"StructuralGAN: a queue of {self.queue.size} is shorter than the batch of {batch} images in "
                f"{inputs.processes} processes: give --method.queue_size {batch} or more, or a smaller "
                "--data.batch_size"
            )

    def all_ranks(self, x: Tensor) -> Tensor:
        """Rows of the batch that the losses look at, with gradients: every rank's or this one's."""
        return gather(x) if self.global_batch else x

    def prepare(self, real: Tensor) -> Part:
        """The images and their keys: the averaged backbone's features, the same for both networks' steps."""
        if self.queue is None:
            return {"real": real}
        keys = self.keys(real)
        return {"real": real, "keys": keys, "pool": self.all_ranks(keys)}

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """What neighbours are found by: the averaged discriminator's features, ``(N, feature_dim)``."""
        return self.encode(x)

    def pool(self, part: Part, z_real: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and z of the real images that can be neighbours: the batch's, with gradients, then the queue's."""
        assert self.queue is not None
        return torch.cat([part["pool"], self.queue["keys"]]), torch.cat([z_real, self.queue["values"]])

    def similarity_real(self, part: Part, z: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mean similarity of real images with their nearest others, Eq. 6."""
        own = torch.arange(len(z), device=z.device) + (rank() * len(z) if self.global_batch else 0)
        return neighbour_similarity(z, values, neighbour_indices(part["keys"], keys, self.neighbours, exclude=own))

    def similarity_fake(self, fake: Tensor, z: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mean similarity of generated images with their nearest real ones, Eq. 6."""
        skip = self.fake_neighbours == "released"
        return neighbour_similarity(
            z, values, neighbour_indices(self.keys(fake), keys, self.neighbours, skip_first=skip)
        )

    def discriminator_loss(self, part: Part) -> Terms:
        """Eq. 8 as the discriminator minimises it."""
        n = len(part["real"])
        x = self.with_fakes(part["real"])
        terms: Terms = {}
        smoothness = x.new_zeros(())
        if self.smoothness_weight and self.is_lazy_step(self.lazy):
            # `forward`: a compiled network can be differentiated only once. In float32 whatever the precision; as it
            # gives e with it, a pass in lower precision would be one more.
            e, sigma = jacobian_norm(self.discriminator.forward, x, self.power_iterations)
            smoothness = self.lazy * jacobian_penalty(sigma, self.lipschitz)
            terms["jacobian_norm"] = sigma.mean()
        else:
            e = self.discriminator(x).float()
        if self.smoothness_weight:
            smoothness = smoothness + self.norm_weight * norm_hinge(e[:n], self.norm_side)
        z_real, z_fake = F.normalize(e).chunk(2)
        part["values"] = z_real.detach()
        every_real = self.all_ranks(z_real)
        distance, determinants = self.distance(every_real, self.all_ranks(z_fake), self.covariance, self.ridge)
        loss = self.smoothness_weight * smoothness - distance
        if self.queue is not None:
            pool = self.pool(part, every_real)
            terms["similarity_real"] = self.similarity_real(part, z_real, *pool)
            terms["similarity_fake"] = self.similarity_fake(x[n:], z_fake, *pool)
            loss = loss + self.cluster_weight * (terms["similarity_fake"] - terms["similarity_real"])
        terms |= {"distance": distance, "norm": e[:n].norm(dim=1).mean(), "loss": loss}
        return named(determinants, "") | terms

    def generator_loss(self, part: Part) -> Terms:
        """Eq. 8 as the generator minimises it."""
        with torch.no_grad():
            z_real = F.normalize(self.discriminator(part["real"]).float())
        part["values"] = z_real
        fake = self.fakes(len(z_real))
        z_fake = F.normalize(self.discriminator(fake).float())
        every_real = self.all_ranks(z_real)
        loss, determinants = self.distance(every_real, self.all_ranks(z_fake), self.covariance, self.ridge)
        if self.queue is not None:
            loss = loss - self.cluster_weight * self.similarity_fake(fake, z_fake, *self.pool(part, every_real))
        return named(determinants, "generator_") | {"generator_loss": loss}

    def finish(self, parts: list[Part]) -> None:
        """Queue all ranks' real images: keys of the averages before this batch, z as the last loss had them.

        That is the generator's, after the discriminator's step; between the generator's turns the discriminator's.
        """
        if self.queue is not None:
            for part in parts:
                self.queue.enqueue(keys=gather(part["keys"]), values=gather(part["values"]))


def named(determinants: LogDeterminants, prefix: str) -> Terms:
    """Log determinants as terms of a loss, so that one that is not finite is named."""
    return {f"{prefix}log_determinant_{name}": value for name, value in determinants._asdict().items()}
