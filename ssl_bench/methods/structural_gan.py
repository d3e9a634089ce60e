"""Structural adversarial objectives (arXiv 2310.00357): the discriminator as a self-supervised encoder."""

from dataclasses import dataclass
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
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.alternating import Loss
from ssl_bench.networks.interfaces import DiscriminatorFactory, GeneratorFactory
from ssl_bench.networks.queue import FeatureQueue
from ssl_bench.ranges import NonNegativeFloat, PositiveInt, check_ranges

DISTANCES = {"jensen_shannon": jensen_shannon, "bhattacharyya": bhattacharyya}


@dataclass(frozen=True)
class RealImages:
    """Real images and the keys by which neighbours are found, the same for both networks' losses.

    Attributes:
        x: images ``(N, ...)``.
        keys: features of the averaged discriminator, ``(N, feature_dim)``; empty without Eq. 6.
        candidates: keys of the images of the batch that can be neighbours: these, or with `global_batch` those of all
            processes.
    """

    x: Tensor
    keys: Tensor
    candidates: Tensor


@dataclass(frozen=True, kw_only=True)
class StructuralLoss(Loss):
    """A loss and the embeddings that enter the queue after it.

    Attributes:
        z_real: z of the real images ``(N, p)``, without gradients.
    """

    z_real: Tensor


@check_ranges
class StructuralGAN(Adversarial):
    """Structural adversarial objectives for self-supervised representation learning (arXiv 2310.00357, Eq. 8).

    The discriminator maps images to embeddings e, and z = e / ||e||. It maximises a distance between Gaussians fitted
    to the z of real and of generated images (Eq. 2 to 5). It maximises the similarity of real images with their nearest
    neighbours and minimises that of generated images with their nearest real images (Eq. 6). The spectral norm of its
    Jacobian is kept near a target, and the norm of e above 1 (Eq. 7). The generator minimises the distance and
    maximises the similarity of its images with their neighbours; Eq. 7 does not depend on it. Defaults are those of the
    released code, except for `fake_neighbours`: that code skips the nearest neighbour of a generated image.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`.
        embedding_dim: p, length of z.
        distance: distance of the Gaussians: Jensen-Shannon divergence (Eq. 4) or Bhattacharyya distance (Eq. 5).
        covariance: ``full`` as in the released code, or ``diagonal`` as in the paper, see `losses.structural`.
        ridge: added to the covariance, times 1 / p; 0 gives the paper's equations as printed.
        global_batch: fit the Gaussians to, and find neighbours in, the batch of all processes. Otherwise each process
            uses its own, as in the released code. BatchNorm of the generator is then global with
            ``--trainer.sync_batchnorm true``.
        neighbours: K, neighbours of each image. The paper does not give it; the released default is 1.
        fake_neighbours: neighbours of a generated image: the ``nearest`` real images, or as ``released`` the 2nd to
            (K+1)th.
        queue_size: number of real images of earlier batches that can be neighbours too.
        cluster_weight: lambda_c of Eq. 8, weight of Eq. 6; 0 leaves out Eq. 6 and the queue.
        smoothness_weight: lambda_s of Eq. 8, weight of Eq. 7; 0 leaves out Eq. 7.
        norm_weight: lambda_h of Eq. 7, weight of the norm of e.
        norm_side: norms of e that are penalised: ``below`` 1 as in the released code, ``above`` 1 as Eq. 7 is printed.
        lipschitz: Lip of Eq. 7, target of the Jacobian's spectral norm.
        power_iterations: S, power iterations for the spectral norm. Before training one iteration finds 0.4 to 0.5 of
            the norm, two find 0.9.
        lazy: evaluate the Jacobian's term on every lazy-th batch only, with lazy times its weight.
        **kwargs: see `Adversarial`.

    Example:
        ``ssl-bench bench --method structural_gan --data digits``
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: GeneratorFactory,
        discriminator: DiscriminatorFactory,
        embedding_dim: PositiveInt = 128,
        distance: Literal["jensen_shannon", "bhattacharyya"] = "jensen_shannon",
        covariance: Covariance = "full",
        ridge: NonNegativeFloat = 0.5,
        global_batch: bool = False,
        neighbours: PositiveInt = 1,
        fake_neighbours: Literal["nearest", "released"] = "nearest",
        queue_size: PositiveInt = 10240,
        cluster_weight: NonNegativeFloat = 3.0,
        smoothness_weight: NonNegativeFloat = 5.0,
        norm_weight: NonNegativeFloat = 4.0,
        norm_side: Literal["below", "above"] = "below",
        lipschitz: NonNegativeFloat = 1.0,
        power_iterations: PositiveInt = 1,
        lazy: PositiveInt = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, generator, discriminator, embedding_dim, **kwargs)
        self.distance, self.embedding_dim = DISTANCES[distance], embedding_dim
        self.covariance, self.ridge, self.global_batch = covariance, ridge, global_batch
        self.neighbours, self.fake_neighbours = neighbours, fake_neighbours
        self.cluster_weight, self.smoothness_weight = cluster_weight, smoothness_weight
        self.norm_weight, self.norm_side = norm_weight, norm_side
        self.lipschitz, self.power_iterations, self.lazy = lipschitz, power_iterations, lazy
        self.queue = FeatureQueue(queue_size, keys=self.feature_dim, values=embedding_dim) if cluster_weight else None

    def discriminator_loss(self, real: RealImages) -> StructuralLoss:
        """Eq. 8 as the discriminator minimises it."""
        n = len(real.x)
        x = self.with_fakes(real.x)
        e, sigma = self.embed(x)
        e_real = e[:n]
        z_real, z_fake = F.normalize(e).chunk(2)
        zero = e.new_zeros(())
        terms: dict[str, Tensor] = {}

        # Eq. 2, by Eq. 4 or 5
        all_real = self.all_ranks(z_real)
        gaussian, determinants = self.distance(all_real, self.all_ranks(z_fake), self.covariance, self.ridge)

        # Eq. 6
        similarity_real = similarity_fake = zero
        if self.queue is not None:
            keys, values = self.candidates(real, all_real, self.queue)
            terms["similarity_real"] = similarity_real = self.similarity_real(real, z_real, keys, values)
            terms["similarity_fake"] = similarity_fake = self.similarity_fake(x[n:], z_fake, keys, values)
        cluster = similarity_fake - similarity_real

        # Eq. 7
        jacobian = norm = zero
        if sigma is not None:
            jacobian = self.lazy * jacobian_penalty(sigma, self.lipschitz)
            terms["jacobian_norm"] = sigma.mean()
        if self.smoothness_weight:
            norm = norm_hinge(e_real, self.norm_side)
        smoothness = jacobian + self.norm_weight * norm

        # Eq. 8
        loss = self.smoothness_weight * smoothness - gaussian + self.cluster_weight * cluster

        terms |= {"distance": gaussian, "norm": e_real.norm(dim=1).mean()}
        return StructuralLoss(loss, named(determinants, "") | terms, z_real=z_real.detach())

    def generator_loss(self, real: RealImages) -> StructuralLoss:
        """Eq. 8 as the generator minimises it."""
        with torch.no_grad():
            z_real = F.normalize(self.discriminator(real.x).float())
        fake = self.fakes(len(z_real))
        z_fake = F.normalize(self.discriminator(fake).float())

        # Eq. 2, by Eq. 4 or 5
        all_real = self.all_ranks(z_real)
        gaussian, determinants = self.distance(all_real, self.all_ranks(z_fake), self.covariance, self.ridge)

        # Eq. 6; Eq. 7 does not depend on the generator's parameters
        similarity_fake = z_fake.new_zeros(())
        if self.queue is not None:
            similarity_fake = self.similarity_fake(fake, z_fake, *self.candidates(real, all_real, self.queue))

        # Eq. 8
        loss = gaussian - self.cluster_weight * similarity_fake

        return StructuralLoss(loss, named(determinants, "generator_"), z_real=z_real)

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """e of images ``(M, p)``, and on lazy steps the spectral norm of the Jacobian at each ``(M,)``."""
        if self.smoothness_weight and self.is_lazy_step(self.lazy):
            # `forward`, because a compiled network can be differentiated only once. It is evaluated in float32 whatever
            # the precision; e in lower precision would take one more pass.
            return jacobian_norm(self.discriminator.forward, x, self.power_iterations)
        return self.discriminator(x).float(), None

    def prepare(self, real: Tensor) -> RealImages:
        """The images and their keys, which are the same for both networks' steps."""
        if self.queue is None:
            return RealImages(real, real.new_empty(0), real.new_empty(0))
        keys = self.keys(real)
        return RealImages(real, keys, self.all_ranks(keys))

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Keys by which neighbours are found: features of the averaged discriminator, ``(N, feature_dim)``."""
        return self.encode(x)

    def all_ranks(self, x: Tensor) -> Tensor:
        """Rows of the batch that the losses compare, with gradients: of all processes or of this one."""
        return gather(x) if self.global_batch else x

    def candidates(self, real: RealImages, z_real: Tensor, queue: FeatureQueue) -> tuple[Tensor, Tensor]:
        """Keys and z of the real images that can be neighbours: those of the batch, with gradients, then the queue."""
        return torch.cat([real.candidates, queue["keys"]]), torch.cat([z_real, queue["values"]])

    def similarity_real(self, real: RealImages, z: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mean similarity of real images with their nearest other real images, first term of Eq. 6."""
        own = torch.arange(len(z), device=z.device) + (rank() * len(z) if self.global_batch else 0)
        return neighbour_similarity(z, values, neighbour_indices(real.keys, keys, self.neighbours, exclude=own))

    def similarity_fake(self, fake: Tensor, z: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mean similarity of generated images with their nearest real images, second term of Eq. 6."""
        skip = self.fake_neighbours == "released"
        index = neighbour_indices(self.keys(fake), keys, self.neighbours, skip_first=skip)
        return neighbour_similarity(z, values, index)

    def finish(self, parts: list[RealImages], losses: list[StructuralLoss]) -> None:
        """Enqueue the real images of all processes.

        Keys are those of the averages before this batch. z are those of the generator's loss, that is after the
        discriminator's step; on batches without a step of the generator they are those of the discriminator's loss.
        """
        if self.queue is not None:
            for part, loss in zip(parts, losses, strict=True):
                self.queue.enqueue(keys=gather(part.keys), values=gather(loss.z_real))

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


def named(determinants: LogDeterminants, prefix: str) -> dict[str, Tensor]:
    """Log determinants as terms to log, so that an error can name the one that is not finite."""
    return {f"{prefix}log_determinant_{name}": value for name, value in determinants._asdict().items()}
