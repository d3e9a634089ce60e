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
    """Real images, and the keys by which the losses of both networks find neighbours.

    Attributes:
        x: images ``(N, ...)``.
        keys: features of the averaged discriminator, ``(N, feature_dim)``; empty if Eq. 6 is omitted.
        candidates: keys of the images of the batch that can be neighbours: the images of this process or, with
            `global_batch`, those of all processes.
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
    maximises the similarity of its images with their neighbours; Eq. 7 does not depend on the generator. Defaults are
    those of the released code, except for `fake_neighbours`: the released code skips the nearest neighbour of a
    generated image.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        generator: see `Adversarial`.
        discriminator: see `Adversarial`.
        embedding_dim: p, length of z.
        distance: distance of the Gaussians: Jensen-Shannon divergence (Eq. 4) or Bhattacharyya distance (Eq. 5).
        covariance: ``full`` as in the released code, or ``diagonal`` as in the paper, see `losses.structural`.
        ridge: ridge / p is added to the variances; zero gives the paper's equations as printed.
        global_batch: if True, the Gaussians are fitted to the batch of all processes, and neighbours are searched in
            it. If False, each process uses its own batch, as in the released code. The generator's BatchNorm statistics
            are global only with ``--trainer.sync_batchnorm true``.
        neighbours: K, number of neighbours of each image. The paper does not state it; the released default is 1.
        fake_neighbours: neighbours of a generated image: ``nearest`` uses the K nearest real images, ``released`` the
            2nd to (K+1)th nearest, as the released code does.
        queue_size: number of real images of earlier batches that can also be neighbours.
        cluster_weight: lambda_c of Eq. 8, weight of Eq. 6; zero omits Eq. 6 and the queue.
        smoothness_weight: lambda_s of Eq. 8, weight of Eq. 7; zero omits Eq. 7.
        norm_weight: lambda_h of Eq. 7, weight of the penalty on the norm of e.
        norm_side: norms of e that are penalised: ``below`` 1 as in the released code, ``above`` 1 as Eq. 7 is printed.
        lipschitz: Lip of Eq. 7, target of the Jacobian's spectral norm.
        power_iterations: S, number of power iterations for the spectral norm. Before training, the estimate after one
            iteration is 0.4 to 0.5 times the norm, after two 0.9 times.
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
        """Embeddings e ``(M, p)`` of images and, on lazy steps, the spectral norm ``(M,)`` of the Jacobian at each."""
        if self.smoothness_weight and self.is_lazy_step(self.lazy):
            # `forward` is not compiled: a compiled network can be differentiated only once. It is evaluated in float32
            # at any precision, because e in lower precision would take one more pass.
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
        """Rows ``(N, ...)`` of all processes with `global_batch`, else those of this process; with gradients."""
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

        The keys are computed before the steps on this batch. z comes from the generator's loss, which is computed after
        the discriminator's step; on batches without a generator step, z comes from the discriminator's loss.
        """
        if self.queue is not None:
            for part, loss in zip(parts, losses, strict=True):
                self.queue.enqueue(keys=gather(part.keys), values=gather(loss.z_real))

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse batches that have too few neighbours or are larger than the queue."""
        super().check_inputs(inputs)
        part, dim = inputs.images // self.accumulate, self.embedding_dim
        last = inputs.last_images // self.number_of_parts(inputs.last_images)
        for images, hint in ((part, ""), (last, ", or --data.drop_last true")):
            fitted = images * inputs.processes if self.global_batch else images
            if self.ridge == 0 and self.covariance == "full" and fitted <= dim:
                raise UserError(
                    f"StructuralGAN: the {dim} x {dim} covariance of {fitted} images is singular: give "
                    f"--method.ridge 0.5, --method.covariance diagonal or more than {dim} images at a time{hint}"
                )
        if self.queue is None:
            return
        if part < self.neighbours + 1:
            raise UserError(
                f"StructuralGAN: {part} images at a time have no {self.neighbours} neighbours each: give "
                f"--data.batch_size, over --method.accumulate, of {self.neighbours + 1} or more"
            )
        self.queue.check_fits(inputs.images, inputs.processes, "StructuralGAN")


def named(determinants: LogDeterminants, prefix: str) -> dict[str, Tensor]:
    """Log determinants as terms to log, so that an error can name the one that is not finite."""
    return {f"{prefix}log_determinant_{name}": value for name, value in determinants._asdict().items()}
