"""SSGAN's two losses, against sums written out by hand from the paper's equations with corrected signs."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.losses.adversarial import DISCRIMINATOR_LOSSES, AdversarialLoss
from ssl_bench.losses.rotation import Orientations
from ssl_bench.methods.ssgan import SSGAN, RotationDiscriminator
from ssl_bench.networks.discriminator import GroupNormResNet
from ssl_bench.networks.mlp import MLPDiscriminator
from ssl_bench.networks.sn_resnet import Norm, SNResNetDiscriminator, SNResNetGenerator
from ssl_bench.optim.schedule import Schedule

N, SHAPE = 8, (1, 8, 8)


def method(discriminator: Any = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    return SSGAN(
        SHAPE,
        partial(SNResNetGenerator, width=4),
        discriminator or partial(SNResNetDiscriminator, width=4, norm="none"),
        latent_dim=3,
        **settings,
    )


def logits(gan: Any, x: Tensor) -> Tensor:
    outputs: Tensor = gan.discriminator(x)
    return outputs[:, 0]


def rotation_by_hand(gan: Any, images: Tensor, orientations: Orientations) -> Tensor:
    """-mean log Q(R = r | x^r), image by image."""
    every = orientations == "all"
    rotated = [
        (x.rot90(r, (1, 2)), r) for i, x in enumerate(images) for r in range(4) if (i if every else i - r) % 4 == 0
    ]
    return -torch.stack([gan.discriminator(x.unsqueeze(0))[0, 1:].log_softmax(0)[r] for x, r in rotated]).mean()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Images that every generator returns."""
    images = torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    monkeypatch.setattr(SSGAN, "fakes", lambda self, n: images[:n])
    return images


@pytest.fixture
def real() -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def expected_of_discriminator(loss: AdversarialLoss, on_real: Tensor, on_fake: Tensor) -> Tensor:
    match loss:
        case "non_saturating":
            return -on_real.sigmoid().log().mean() - (1 - on_fake.sigmoid()).log().mean()
        case "hinge":
            return (1 - on_real).clamp_min(0).mean() + (1 + on_fake).clamp_min(0).mean()
        case "wasserstein":
            return on_fake.mean() - on_real.mean()


@pytest.mark.parametrize("loss", DISCRIMINATOR_LOSSES)
@pytest.mark.parametrize("orientations", ["all", "one"])
def test_each_network_minimises_what_the_paper_means(
    loss: AdversarialLoss, orientations: Orientations, real: Tensor, fake: Tensor
) -> None:
    gan = method(loss=loss, orientations=orientations, alpha=0.3, beta=0.7)
    part = gan.prepare(real)
    expected = expected_of_discriminator(loss, logits(gan, real), logits(gan, fake))
    expected = expected + 0.7 * rotation_by_hand(gan, real, orientations)
    torch.testing.assert_close(gan.discriminator_loss(part).value, expected)
    on_fake = logits(gan, fake)
    expected = -on_fake.sigmoid().log().mean() if loss == "non_saturating" else -on_fake.mean()
    expected = expected + 0.3 * rotation_by_hand(gan, fake, orientations)
    torch.testing.assert_close(gan.generator_loss(part).value, expected)


def test_real_rotations_train_the_discriminator_and_generated_ones_the_generator(real: Tensor) -> None:
    gan = method()
    part = gan.prepare(real)
    assert set(gan.discriminator_loss(part).terms) >= {"rotation_real", "rotation_accuracy_real"}
    assert set(gan.generator_loss(part).terms) >= {"rotation_fake", "rotation_accuracy_fake"}
    gan.discriminator_loss(part).terms["rotation_real"].backward()
    assert all(p.grad is None for p in gan.generator.parameters())
    assert gan.discriminator.rotation.weight.grad.any()
    gan.generator_loss(part).terms["rotation_fake"].backward()
    assert all(p.grad is not None and p.grad.any() for p in gan.generator.layers[-1].parameters())


def test_without_the_task_it_is_sngan_and_rotates_no_image(real: Tensor, fake: Tensor) -> None:
    gan = method(alpha=0.0, beta=0.0)
    seen: list[int] = []
    gan.discriminator.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    part = gan.prepare(real)
    loss = gan.discriminator_loss(part).value
    torch.testing.assert_close(loss, expected_of_discriminator("non_saturating", logits(gan, real), logits(gan, fake)))
    gan.generator_loss(part)
    assert seen[0] == 2 * N
    assert seen[-1] == N


def test_the_task_adds_three_quarters_of_a_batch_to_one_pass(real: Tensor) -> None:
    gan = method()
    seen: list[int] = []
    gan.discriminator.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    gan.discriminator_loss(gan.prepare(real))
    gan.generator_loss(gan.prepare(real))
    assert seen == [2 * N + 3 * N // 4, N + 3 * N // 4]


def test_alpha_is_annealed_over_the_run(real: Tensor, fake: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    gan = method(alpha=0.5, alpha_schedule=Schedule("linear"))
    monkeypatch.setattr(gan, "run_length", lambda: {"steps": 100, "steps_per_epoch": 100})
    part = gan.prepare(real)
    for step, factor in {0: 1.0, 40: 0.6, 100: 0.0}.items():
        gan.step = step
        loss = gan.generator_loss(part)
        adversarial = F.softplus(-logits(gan, fake)).mean()
        torch.testing.assert_close(loss.value, adversarial + 0.5 * factor * loss.terms["rotation_fake"])


def test_the_penalty_is_added_with_its_weight(real: Tensor, fake: Tensor) -> None:
    gan = method(loss="wasserstein", penalty_weight=10.0)
    loss = gan.discriminator_loss(gan.prepare(real))
    terms = loss.terms
    torch.testing.assert_close(
        loss.value, terms["fake"] - terms["real"] + terms["rotation_real"] + 10 * terms["gradient_penalty"]
    )
    assert terms["gradient_penalty"] > 0


@pytest.mark.parametrize("norm", ["spectral", "weight"])
def test_the_penalty_s_gradient_reaches_normalised_weights_in_mixed_precision(norm: Norm, real: Tensor) -> None:
    gan = method(partial(SNResNetDiscriminator, width=4, norm=norm), loss="wasserstein", penalty_weight=10.0)
    gan.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gan.discriminator_loss(gan.prepare(real)).terms["gradient_penalty"]
    assert penalty.dtype == torch.float32
    penalty.backward()
    weights = {name: p.grad for name, p in gan.discriminator.network.named_parameters() if "parametrizations" in name}
    assert len(weights) == 11 * (2 if norm == "weight" else 1)  # eight convolutions, two shortcuts and the head
    assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in weights.values())


def test_rotation_accuracy_is_in_percent(real: Tensor) -> None:
    gan = method()
    nn.init.zeros_(gan.discriminator.rotation.weight)
    with torch.no_grad():
        gan.discriminator.rotation.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert gan.discriminator_loss(gan.prepare(real)).terms["rotation_accuracy_real"] == 25


def test_the_rotation_head_is_of_the_discriminators_kind_and_normalised_by_itself() -> None:
    torch.manual_seed(0)
    network: Any = RotationDiscriminator(partial(SNResNetDiscriminator, width=4), SHAPE)
    for _ in range(50):
        network(torch.rand(2, *SHAPE))
    for head in (network.network.head, network.rotation):
        norm = torch.linalg.svdvals(head.weight.detach())[0]
        torch.testing.assert_close(norm, torch.tensor(1.0), rtol=1e-3, atol=0.0)
    deep = RotationDiscriminator(partial(GroupNormResNet, width=4), SHAPE)
    assert isinstance(deep.rotation, nn.Sequential)


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_features_are_those_of_the_chosen_block(layer: int, real: Tensor) -> None:
    gan, last = method(layer=layer), method()
    torch.testing.assert_close(gan.encode(real), last.encode_layers(real)[layer - 1])
    assert gan.encode(real).shape == (N, gan.feature_dim)


def test_a_discriminator_without_layers_has_one(real: Tensor) -> None:
    gan = method(partial(GroupNormResNet, width=4))
    (layer,) = gan.encode_layers(real)
    torch.testing.assert_close(layer, gan.encode(real))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, "the rotation head would not be trained"),
        ({"layer": 5}, "layer 5: the discriminator has 4"),
        ({"discriminator": partial(GroupNormResNet, width=4), "layer": 1}, "the discriminator has 0"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(**settings)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 16)])
def test_images_that_are_not_square_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="cannot be rotated by 90 degrees"):
        SSGAN(shape, partial(SNResNetGenerator, width=4), partial(MLPDiscriminator, hidden=(4,)))


def test_a_batch_without_quarters_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data.batch_size=6", "--method.accumulate=2", "--method.generator.width=4"]
    assert main(["fit", "--method=ssgan", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    assert "a batch of 6 images in 2 parts is too small to rotate a quarter of each part" in capsys.readouterr().err
    flags = ["--data.batch_size=8", "--data.fit_images=10", "--method.generator.width=4"]
    assert main(["fit", "--method=ssgan", "--data=digits", f"--out={tmp_path}", *flags]) == 2
    assert "SSGAN: the last batch of an epoch has 2 images, needs 4: give --data.drop_last true" in (
        capsys.readouterr().err
    )
