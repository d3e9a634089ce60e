"""Losses of two views that reduce the redundancy between the components of embeddings: VICReg and Barlow Twins.

Embeddings are not normalised, ``(N, d)``: one view of this process's N images. Statistics are those of the images of
all processes: embeddings are gathered with gradients, and every process computes the same value. The mean of the
processes' gradients then equals the gradient of one process with all images. Every process must have the same number of
images, and all processes together at least two.
"""

from torch import Tensor
from torch.nn import functional as F

from ssl_bench.distributed import gather
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, check_ranges


def invariance(z: Tensor, z_prime: Tensor) -> Tensor:
    """VICReg's s(Z, Z') (Bardes et al. 2022, arXiv 2105.04906, Eq. 5), divided by d: the mean squared difference.

    The paper does not divide by d, but its weights are those of its released code, which does. There is no
    communication between processes, because the mean of their gradients is the gradient of the mean.

    Args:
        z: embeddings of the first view, ``(N, d)``.
        z_prime: embeddings of the second view, ``(N, d)``.
    """
    return F.mse_loss(z, z_prime)


@check_ranges
def variance(z: Tensor, gamma: PositiveFloat = 1.0, eps: PositiveFloat = 1e-4) -> Tensor:
    """VICReg's v(Z) (Eq. 1 and 2): mean over components of how far the standard deviation is below gamma.

    Args:
        z: embeddings of one view, ``(N, d)``.
        gamma: target of the standard deviation.
        eps: number added to the variance, so that the gradient of the square root is finite.
    """
    deviation = (gather(z).var(0) + eps).sqrt()
    return F.relu(gamma - deviation).mean()


def covariance(z: Tensor) -> Tensor:
    """VICReg's c(Z) (Eq. 3 and 4): the sum of the squared covariances of different components, divided by d.

    Args:
        z: embeddings of one view, ``(N, d)``.
    """
    z = gather(z)
    n, d = z.shape
    z = z - z.mean(0)
    c = z.T @ z / (n - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / d


@check_ranges
def barlow_twins(z_a: Tensor, z_b: Tensor, lambda_: NonNegativeFloat = 5e-3, eps: PositiveFloat = 1e-5) -> Tensor:
    """Barlow Twins' loss (Zbontar et al. 2021, arXiv 2103.03230, Eq. 1 and 2), of the cross-correlation of two views.

    Args:
        z_a: embeddings of the first view, ``(N, d)``.
        z_b: embeddings of the second view, ``(N, d)``.
        lambda_: weight of the correlations of different components.
        eps: number added to the variances, as in the BatchNorm of the released code, so that constant components do not
            divide by zero.
    """
    n = len(z_a := gather(z_a))
    z_a, z_b = (
        (z - z.mean(0)) * (z.var(0, correction=0) + eps).rsqrt() for z in (z_a, gather(z_b))
    )  # correction 0: Eq. 2 has the same number of images in numerator and denominator
    c = z_a.T @ z_b / n
    on_diagonal = (1 - c.diagonal()).square().sum()
    off_diagonal = c.square().sum() - c.diagonal().square().sum()
    return on_diagonal + lambda_ * off_diagonal
