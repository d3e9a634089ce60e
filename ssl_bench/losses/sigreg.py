"""LeJEPA's losses: the distance of views from their mean, and of embeddings from an isotropic Gaussian.

Balestriero & LeCun 2025, arXiv 2511.08544. Embeddings are not normalised, ``(N, d)``: one view of this process's N
images. The statistic is that of the images of all processes: embeddings are gathered with gradients, and every process
computes the same value. Every process must have the same number of images.
"""

import torch
from torch import Generator, Tensor, nn

from ssl_bench.distributed import gather
from ssl_bench.ranges import PositiveFloat, PositiveInt, check_ranges


def prediction(embeddings: Tensor, num_global: int) -> Tensor:
    """Mean squared difference of every view from the mean of the global views (Eq. 7), divided by d.

    As in the released code, the mean is also over the d components. There is no communication between processes,
    because the mean of their gradients is the gradient of the mean.

    Args:
        embeddings: views ``(V, N, d)``, the global views first.
        num_global: number of global views.
    """
    mu = embeddings[:num_global].mean(0)
    return (embeddings - mu).square().mean()


@check_ranges
def directions(num_directions: PositiveInt, d: PositiveInt, seed: int) -> Tensor:
    """Directions that are uniform on the sphere, ``(num_directions, d)`` of length 1; they depend on the seed only."""
    a = torch.empty(num_directions, d).normal_(generator=Generator().manual_seed(seed))
    return nn.functional.normalize(a, dim=1)


@check_ranges
def epps_pulley(z: Tensor, t_max: PositiveFloat = 5.0, knots: PositiveInt = 17) -> Tensor:
    """Epps and Pulley's statistic of N samples of each of M variables, against the standard normal distribution.

    It is ``N * integral |phi_hat(t) - phi(t)|^2 phi(t) dt`` with the characteristic function ``phi(t) = exp(-t^2 / 2)``
    and the empirical one ``phi_hat(t) = 1/N sum_n exp(i t z_n)``, by the trapezoidal rule on [-t_max, t_max], as in
    Algorithm 1. The text of the paper has another weight than phi(t), ``exp(-t^2 / sigma^2)``.

    Args:
        z: samples ``(N, M)``.
        t_max: end of the range of integration.
        knots: number of points t; an odd number.

    Returns:
        ``(M,)``; its expectation under the standard normal distribution does not depend on N.
    """
    # The integrand is even in t: half of the points are enough.
    t = torch.linspace(0, t_max, knots // 2 + 1, dtype=z.dtype, device=z.device)
    phi = torch.exp(-t.square() / 2)
    phase = z.unsqueeze(2) * t  # (N, M, T)
    error = (phase.cos().mean(0) - phi).square() + phase.sin().mean(0).square()
    return 2 * len(z) * torch.trapezoid(error * phi, t)


def sigreg(z: Tensor, a: Tensor) -> Tensor:
    """Sketched isotropic Gaussian regularisation: the mean of `epps_pulley` over projections of embeddings.

    Args:
        z: embeddings of one view, ``(N, d)``.
        a: directions ``(M, d)``, the same on every process.
    """
    return epps_pulley(gather(z) @ a.T).mean()
