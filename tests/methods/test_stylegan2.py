"""StyleGAN2's losses against sums written out, what is lazy, its codes, and the import of trained networks."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_bench import distributed
from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.losses.stylegan import path_lengths
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.networks.adaptive_augment import AdaptiveAugment
from ssl_bench.networks.diff_augment import DiffAugment
from ssl_bench.networks.sn_resnet import SNResNetGenerator
from ssl_bench.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from tests.methods.test_rosinality import MAPPING, SIZE, STYLE, discriminator_weights, generator_weights
from tests.ranks import Ranks

N, SHAPE = 8, (3, 8, 8)


def method(**settings: Any) -> Any:
    torch.manual_seed(0)
    return StyleGAN2(
        SHAPE,
        partial(StyleGAN2Generator, width=6, style_dim=5, mapping_layers=2),
        partial(StyleGAN2Discriminator, width=6),
        latent_dim=5,
        **settings,
    )


@pytest.fixture
def real() -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Images that every generator returns."""
    images = torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    monkeypatch.setattr(StyleGAN2, "fakes", lambda self, n: images[:n])
    return images


def test_the_discriminator_minimises_its_cross_entropy_and_lazily_half_gamma_r1(real: Tensor, fake: Tensor) -> None:
    gan = method(r1_weight=0.6, r1_every=3)
    plain = -gan.discriminator(real).sigmoid().log().mean() - (1 - gan.discriminator(fake).sigmoid()).log().mean()
    images = real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gan.discriminator(images).sum(), images)
    penalty = 3 * 0.6 / 2 * gradient.square().sum((1, 2, 3)).mean()
    for step, expected in enumerate([plain + penalty, plain, plain, plain + penalty]):
        gan.step = step
        torch.testing.assert_close(gan.discriminator_loss(gan.prepare(real)).value, expected)


def test_the_generator_minimises_its_cross_entropy_and_lazily_path_lengths_deviation(
    real: Tensor, fake: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan, seen = method(path_weight=0.7, path_every=2), []

    def measured(synthesis: Any, codes: Tensor) -> Tensor:
        seen.append(path_lengths(synthesis, codes))
        return seen[-1]

    monkeypatch.setattr("ssl_bench.methods.stylegan2.path_lengths", measured)
    plain = -gan.discriminator(fake).sigmoid().log().mean()
    average = 0.0
    for step in range(4):
        gan.step = step
        loss = gan.generator_loss(gan.prepare(real)).value
        if step % 2 == 0:
            assert len(seen[-1]) == N // 2
            average = 0.99 * average + 0.01 * seen[-1].mean().item()
            torch.testing.assert_close(loss, plain + 2 * 0.7 * ((seen[-1] - average) ** 2).mean())
        else:
            torch.testing.assert_close(loss, plain)
    assert len(seen) == 2
    assert gan.state_dict()["path_mean"].item() == pytest.approx(average)


def path_mean_on_rank() -> tuple[Tensor, Tensor]:
    gan = method()
    torch.manual_seed(distributed.rank())
    terms = gan.generator_loss(gan.prepare(torch.zeros(N, *SHAPE))).terms
    return gan.path_mean, terms["path_length"].detach()


def test_ranks_share_the_mean_of_path_lengths(ranks: Ranks) -> None:
    (mean, here), (same, there) = ranks(path_mean_on_rank)
    assert torch.equal(mean, same)
    assert here != there
    torch.testing.assert_close(mean, 0.01 * (here + there) / 2)


def path_gradient() -> Tensor:
    """Of the penalty, on this rank's share of eight codes and of the directions they are probed in."""
    gan = method()
    gan.generator.eval()  # fixed noise, no mixing
    torch.manual_seed(1)
    z, y = torch.randn(N, 5), torch.randn(N, *SHAPE)
    here, ranks = distributed.rank(), distributed.world_size()
    with (
        patch("torch.randn", lambda *shape, **_: z.chunk(ranks)[here]),
        patch("torch.randn_like", lambda images: y.chunk(ranks)[here]),
    ):
        penalty = gan.generator_loss(gan.prepare(torch.zeros(2 * N // ranks, *SHAPE))).terms["path_penalty"]
    parameters = list(gan.generator.parameters())
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_the_path_penaltys_gradient_over_ranks_is_that_of_one_process(ranks: Ranks) -> None:
    alone = path_gradient()
    assert alone.any()
    torch.testing.assert_close(torch.stack(ranks(path_gradient)).mean(0), alone, rtol=1e-4, atol=1e-6)


def test_a_code_has_one_image_and_has_gradients_where_samples_are_clamped() -> None:
    gan = method()
    for parameter in gan.generator_ema.synthesis.to_images.parameters():
        parameter.mul_(5)
    z = gan.latents(4, torch.Generator().manual_seed(0))
    codes = gan.codes_of(z).clone().requires_grad_()
    assert codes.shape == (4, gan.n_latent, gan.style_dim) == (4, 4, 5)
    images = gan.synthesize(codes)
    assert images.min() < 0
    assert images.max() > 1
    torch.testing.assert_close(gan.decode(z), images.clamp(0, 1))
    torch.testing.assert_close(images, (gan.generator_ema(z) + 1) / 2, rtol=1e-4, atol=1e-4)
    images.square().sum().backward()
    assert codes.grad is not None
    assert codes.grad.abs().sum(2).gt(0).all()


def test_the_mean_code_is_the_averaged_generators() -> None:
    gan = method()
    before = gan.mean_code()
    assert before.shape == (5,)
    for parameter in gan.generator.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(gan.mean_code(), before)


@pytest.mark.parametrize("augment", [DiffAugment, AdaptiveAugment])
def test_both_networks_losses_see_augmented_images_only(real: Tensor, augment: type[nn.Module]) -> None:
    gan = method(augment=augment())
    if isinstance(gan.augment, AdaptiveAugment):
        gan.augment.p.fill_(1)
    shown: list[Tensor] = []
    seen: list[Tensor] = []
    gan.augment.register_forward_hook(lambda module, inputs, output: shown.append(output))
    gan.discriminator.blocks.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss = gan.discriminator_loss(gan.prepare(real)).value + gan.generator_loss(gan.prepare(real)).value
    loss.backward()
    assert len(shown) == len(seen) == 3
    for images, maps in zip(shown, seen, strict=True):
        first = gan.discriminator.from_image(images)
        torch.testing.assert_close(maps, torch.where(first > 0, first, 0.2 * first) * 2**0.5)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gan.generator.parameters())


def test_augmentation_adapts_to_the_logits_of_real_images(real: Tensor) -> None:
    gan = method(augment=AdaptiveAugment(images=64, every=1))
    gan.discriminator.head.bias.data.fill_(100.0)
    terms = gan.discriminator_loss(gan.prepare(real)).terms
    assert terms["augmentation"] == gan.augment.p == N / 64


class WithoutMeanCode(SNResNetGenerator):
    """What has codes but no mean of them."""

    mapping = synthesis = codes = None


@pytest.mark.parametrize(("network", "missing"), [(SNResNetGenerator, "mapping"), (WithoutMeanCode, "mean_code")])
def test_a_generator_without_codes_or_their_mean_is_refused(network: Any, missing: str) -> None:
    with pytest.raises(UserError, match=f"{network.__name__} has no {missing}: give a StyleGAN2Generator"):
        StyleGAN2(SHAPE, partial(network, width=4), partial(StyleGAN2Discriminator, width=6), latent_dim=5)


IMPORT = [
    "fit", "--method=stylegan2", "--data=image_folder", f"--data.size={SIZE}", "--epochs=0",
    "--trainer.accelerator=cpu", "--data.batch_size=4",
    f"--method.latent_dim={STYLE}", "--method.generator.width=5", f"--method.generator.style_dim={STYLE}",
    f"--method.generator.mapping_layers={MAPPING}",
]  # fmt: skip


@pytest.fixture
def imported(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder of images, and beside it a file of weights and what that holds."""
    torch.manual_seed(0)
    for folder in (tmp_path / "data" / split / label for split in ("train", "test") for label in ("a", "b")):
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (SIZE, SIZE), (60 * i, 0, 0)).save(folder / f"{i}.png")
    held = {"g": generator_weights(), "g_ema": generator_weights(), "d": discriminator_weights()}
    torch.save(held, tmp_path / "weights.pt")
    return tmp_path, held


def test_a_run_with_imported_networks_no_longer_needs_their_file(imported: tuple[Path, dict[str, Any]]) -> None:
    folder, held = imported
    arguments = [*IMPORT, f"--data.root={folder / 'data'}", f"--method.rosinality={folder / 'weights.pt'}"]
    assert main([*arguments, "--method.discriminator.width=5", f"--out={folder / 'runs'}"]) == 0
    (folder / "weights.pt").unlink()
    (run,) = (folder / "runs").iterdir()
    gan = load_method(run)
    for network, name in {"generator": "g", "generator_ema": "g_ema"}.items():
        assert torch.equal(gan.get_submodule(network).synthesis.constant, held[name]["input.input"])  # type: ignore[arg-type,union-attr]
    for network in ("discriminator", "discriminator_ema"):
        assert torch.equal(gan.get_submodule(network).conv.weight, held["d"]["final_conv.0.weight"])  # type: ignore[arg-type,union-attr]


def test_an_import_that_does_not_fit_is_refused(
    imported: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = imported
    arguments = [*IMPORT, f"--data.root={folder / 'data'}", f"--method.rosinality={folder / 'weights.pt'}"]
    assert main([*arguments, "--method.discriminator.width=4", f"--out={folder / 'runs'}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "weights.pt" in line]
    assert "holds a discriminator of 16 px and 3 channels, widths [5, 5, 5]; the method has" in line
