"""W-perturb: noise has the stated standard deviation and depends on the id and the seed only."""

import itertools

import torch

from ssl_bench.generation.w_perturb import first_seed, noise, perturb


def test_noise_reaches_the_generator_with_standard_deviation_truncation_times_sigma() -> None:
    codes, mean = torch.randn(4, 6, 32), torch.randn(32)
    sampled = noise(torch.arange(4), 0, 500, 6, 32)
    perturbed = perturb(codes.unsqueeze(1), sampled, mean, sigma=0.2, truncation=0.7)
    torch.testing.assert_close(perturbed.mean(1), mean + 0.7 * (codes - mean), atol=0.05, rtol=0)
    torch.testing.assert_close(perturbed.std(1).mean(), torch.tensor(0.14), atol=1e-3, rtol=0)
    layers = sampled.flatten(0, 1).transpose(0, 1).flatten(1)
    assert (torch.corrcoef(layers) - torch.eye(6)).abs().max() < 0.02  # independent for each layer


def test_codes_are_unchanged_without_noise_and_truncation() -> None:
    codes = torch.randn(2, 3, 5)
    torch.testing.assert_close(perturb(codes, torch.randn(2, 3, 5), torch.randn(5), 0.0, 1.0), codes)


def test_noise_depends_on_its_id_and_seed_only() -> None:
    together, alone = noise(torch.tensor([3, 8]), 0, 4), noise(torch.tensor([8]), 0, 4)
    assert torch.equal(together[1:], alone)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(alone, noise(torch.tensor([8]), 1, 4))


def test_sampled_latents_differ_from_the_noise_on_their_codes() -> None:
    ids = torch.arange(4)
    assert not torch.equal(noise(ids, 0, 32), noise(ids, 0, 32, use="latents"))
    first = sorted(first_seed(seed, use) for use in ("views", "latents") for seed in range(5))
    assert min(after - before for before, after in itertools.pairwise(first)) > 5_000_000
