"""The structural GAN's two losses and its queue, against sums written out by hand from the paper and its code."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_bench.data.types import Batch
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.hinge_gan import HingeGAN
from ssl_bench.methods.structural_gan import StructuralGAN
from ssl_bench.networks.mlp import MLPDiscriminator, MLPGenerator

N, P, K = 6, 3, 2


def method(kind: type[Adversarial] = StructuralGAN, **settings: Any) -> Any:
    """A method on points in the plane; averages differ from the networks, norms of e lie on both sides of 1."""
    torch.manual_seed(0)
    generator, discriminator = partial(MLPGenerator, hidden=(5, 4)), partial(MLPDiscriminator, hidden=(5, 4))
    if kind is StructuralGAN:
        settings = {"embedding_dim": P, "neighbours": K, "queue_size": 8} | settings
    gan = kind((2,), generator, discriminator, latent_dim=2, **settings)
    for parameter in gan.discriminator_ema.parameters():
        nn.init.normal_(parameter)
    return gan


def fixed_fakes(gan: Any, real: Tensor, patch: pytest.MonkeyPatch) -> Tensor:
    """Generated points, the same in every loss."""
    fake = torch.randn(len(real), 2)
    patch.setattr(gan, "fakes", lambda n: gan.generator(torch.zeros(n, 2)) * 0 + fake)
    patch.setattr(gan, "is_lazy_step", lambda every: True)
    return fake


def log_determinant(z: Tensor) -> Tensor:
    centred = z - F.normalize(z.mean(0), dim=0)
    return torch.slogdet(torch.eye(P) + 2 * P * centred.T @ centred / len(z)).logabsdet


def divergence(real: Tensor, fake: Tensor) -> Tensor:
    pooled = log_determinant(torch.cat([real, fake]))
    return 0.5 * (pooled - 0.5 * (log_determinant(real) + log_determinant(fake)))


def neighbours(gan: Any, x: Tensor, real: Tensor, z: Tensor, skip: int) -> Tensor:
    """z of the K nearest of the batch's and the queue's images, for each of x: ``(N, K, P)``."""
    keys = torch.cat([gan.discriminator_ema.features(real), gan.queue["keys"]])
    values = torch.cat([z, gan.queue["values"]])
    found = []
    for feature in gan.discriminator_ema.features(x):
        similarity = F.cosine_similarity(feature.unsqueeze(0), keys)
        found.append(values[similarity.argsort(descending=True)[skip : skip + K]])
    return torch.stack(found)


def steepness(gan: Any, x: Tensor) -> Tensor:
    """Exact spectral norms of the Jacobian, which many power iterations find."""
    return torch.stack(
        [torch.linalg.matrix_norm(torch.func.jacrev(gan.discriminator)(point).view(P, 2), 2) for point in x]
    )


@pytest.mark.parametrize("lazy", [1, 4])
@pytest.mark.parametrize("released", [False, True])
def test_the_discriminator_minimises_equation_8(lazy: int, released: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    how = "released" if released else "nearest"
    gan = method(lazy=lazy, power_iterations=200, fake_neighbours=how, lipschitz=0.7)
    real = torch.randn(N, 2)
    fake = fixed_fakes(gan, real, monkeypatch)
    e = gan.discriminator(real)
    z, z_fake = F.normalize(e), F.normalize(gan.discriminator(fake))
    # A real image is its own nearest neighbour, which is skipped.
    of_real = (z.unsqueeze(1) * neighbours(gan, real, real, z, skip=1)).sum(2).mean()
    of_fake = (z_fake.unsqueeze(1) * neighbours(gan, fake, real, z, skip=int(released))).sum(2).mean()
    jacobian = (steepness(gan, torch.cat([real, fake]).unsqueeze(1)) - 0.7).square().mean()
    norm = (1 - e.norm(dim=1)).clamp_min(0).square().mean()
    assert 0 < norm < 1
    expected = -divergence(z, z_fake) + 3 * (of_fake - of_real) + 5 * lazy * jacobian + 20 * norm
    torch.testing.assert_close(gan.discriminator_loss(gan.prepare(real)).value, expected, rtol=1e-4, atol=0.0)


def test_the_generator_minimises_the_distance_and_maximises_similarity_with_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = method()
    real = torch.randn(N, 2)
    fake = fixed_fakes(gan, real, monkeypatch)
    z, z_fake = F.normalize(gan.discriminator(real)), F.normalize(gan.discriminator(fake))
    of_fake = (z_fake.unsqueeze(1) * neighbours(gan, fake, real, z, skip=0)).sum(2).mean()
    loss = gan.generator_loss(gan.prepare(real)).value
    torch.testing.assert_close(loss, divergence(z, z_fake) - 3 * of_fake)


def test_the_hinge_gan_minimises_the_hinge_and_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    gan = method(HingeGAN, lazy=2, lipschitz=0.5)
    real = torch.randn(N, 2)
    fake = fixed_fakes(gan, real, monkeypatch)
    hinge = (1 - gan.discriminator(real)).clamp_min(0).mean() + (1 + gan.discriminator(fake)).clamp_min(0).mean()
    slopes = torch.func.vmap(torch.func.jacrev(gan.discriminator))(torch.cat([real, fake]).unsqueeze(1))
    penalty = (slopes.flatten(1).norm(dim=1) - 0.5).square().mean()
    torch.testing.assert_close(gan.discriminator_loss(gan.prepare(real)).value, hinge + 5 * 2 * penalty)


def test_the_queue_takes_keys_of_before_and_embeddings_of_after_the_discriminators_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gan = method()
    real = torch.randn(N, 2)
    before, after = gan.discriminator_ema.features(real), torch.Tensor()

    def step_optimizer(name: str, parts: list[Any], sizes: list[int]) -> tuple[dict[str, Tensor], list[Any]]:
        nonlocal after
        loss = gan.trained_networks()[name].objective(parts[0])
        if name == "discriminator":
            nn.init.normal_(gan.discriminator.head[-1].weight)  # stands for the step
            after = F.normalize(gan.discriminator(real))
        return loss.terms, [loss]

    monkeypatch.setattr(gan, "step_optimizer", step_optimizer)
    monkeypatch.setattr(gan, "lr_schedulers", lambda: None)
    gan.training_step(Batch(real.unsqueeze(0), torch.zeros(N), torch.arange(N)), 0)
    torch.testing.assert_close(gan.queue["keys"][:N], before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gan.queue["values"][:N], after, rtol=1e-5, atol=1e-6)
