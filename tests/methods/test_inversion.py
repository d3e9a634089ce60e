"""Inversion: the losses of its two networks, the frozen generator, checkpoints, several processes."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench import distributed
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.runs.train import fit, make_folder
from tests.generators import Blurred, generator_checkpoint
from tests.ranks import Ranks

SMALL = [
    "--method.encoder.width=16", "--data.batch_size=32", "--trainer.precision=32-true", "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=4", "--trainer.log_every_n_steps=1",
]  # fmt: skip


def method(*flags: str) -> InDomainInversion:
    arguments = [*stack("inversion", "digits", None), *SMALL, f"--method.generator={generator_checkpoint()}", *flags]
    torch.manual_seed(0)
    made = build(resolve(arguments)).method
    assert isinstance(made, InDomainInversion)
    return made


def trained(folder: Path, *flags: str, generator: str | None = None) -> InDomainInversion:
    path = generator or generator_checkpoint()
    config = resolve([*stack("inversion", "digits", None), *SMALL, f"--method.generator={path}", *flags])
    torch.manual_seed(0)
    run = build(config)
    if distributed.rank() == 0:
        make_folder(folder, to_dict(config))
    fit(run, config, folder)
    assert isinstance(run.method, InDomainInversion)
    return run.method


def test_the_encoder_minimises_pixel_perceptual_and_adversarial_terms() -> None:
    inversion = method("--method.adversarial_weight=0.3", "--method.perceptual_weight=2")
    inversion.perceptual = Blurred()
    assert inversion.discriminator is not None
    x = torch.rand(5, 1, 8, 8) * 2 - 1
    codes = inversion.mean_code() + 0.7 * inversion.encoder(x).view(5, inversion.n_latent, inversion.style_dim)
    y = inversion.generator.synthesis(codes)
    loss = inversion.encoder_loss(inversion.prepare(x))
    pixels = (x - y).square().mean()
    perception = (F.avg_pool2d(x - y, 2) / 2).abs().mean()  # of images in [0, 1]
    adversarial = -inversion.discriminator(y).sigmoid().log().mean()
    torch.testing.assert_close(loss.terms["perceptual_blurred"], perception)
    torch.testing.assert_close(loss.value, pixels + 2 * perception + 0.3 * adversarial)


@pytest.mark.parametrize(("step", "times"), [(0, 4), (1, 0), (4, 4)])
def test_the_discriminator_distinguishes_reconstructions_from_images_with_lazy_r1(step: int, times: int) -> None:
    inversion = method("--method.r1_weight=3", "--method.r1_every=4")
    inversion.step = step
    assert inversion.discriminator is not None
    x = (torch.rand(4, 1, 8, 8) * 2 - 1).requires_grad_()
    images = inversion.prepare(x.detach())
    on_real = inversion.discriminator(x)
    (gradient,) = torch.autograd.grad(on_real.sum(), x, retain_graph=True)
    on_fake = inversion.discriminator(images.reconstructed)
    adversarial = -on_real.sigmoid().log().mean() - (1 - on_fake.sigmoid()).log().mean()
    loss = inversion.discriminator_loss(images).value
    penalty = gradient.square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(loss, adversarial + times * 3 / 2 * penalty)
    loss.backward()
    assert all(p.grad is None for p in inversion.encoder.parameters())


def test_codes_of_generated_images_are_known() -> None:
    inversion = method("--method.latent_weight=0.5")
    z = torch.randn(3, 8)
    code = inversion.generator.mapping(z)
    images = inversion.generator.synthesis(
        (inversion.mean_code() + 0.7 * (code - inversion.mean_code())).unsqueeze(1).expand(-1, inversion.n_latent, -1)
    )
    outputs = inversion.encoder(images).view(3, inversion.n_latent, -1) + inversion.mean_code()
    torch.testing.assert_close(inversion.latent_loss(z), (outputs - code.unsqueeze(1)).square().mean())


def test_a_batch_is_a_step_of_both_networks_and_none_of_the_generator(tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in method().state_dict().items()}
    inversion = trained(tmp_path)
    assert inversion.global_step == 4
    for name, tensor in inversion.state_dict().items():
        frozen = name.startswith(("generator", "center"))
        assert torch.equal(tensor, before[name]) == frozen or tensor.numel() == 1 or "filter" in name, name
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert len({row["train/r1"] for row in rows}) == 1  # evaluated on the first batch


def test_without_the_adversarial_term_there_is_no_discriminator(tmp_path: Path) -> None:
    inversion = trained(tmp_path, "--method.adversarial_weight=0")
    assert inversion.discriminator is None
    assert inversion.global_step == 4


def test_noise_is_fixed_while_the_encoder_is_trained() -> None:
    inversion = method().train()
    for name, parameter in inversion.generator.synthesis.named_parameters():
        if name.endswith("strength"):
            torch.nn.init.ones_(parameter)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(inversion.prepare(x).reconstructed, inversion.prepare(x).reconstructed)


def test_a_checkpoint_holds_its_generator(tmp_path: Path) -> None:
    path = tmp_path / "generator.ckpt"
    shutil.copy(generator_checkpoint(), path)
    inversion = trained(tmp_path / "run", generator=str(path)).eval()
    path.unlink()
    loaded, x = load_method(tmp_path / "run"), torch.rand(3, 1, 8, 8)
    assert isinstance(loaded, InDomainInversion)
    torch.testing.assert_close(loaded.reconstruct(x), inversion.reconstruct(x))
    assert torch.equal(loaded.reconstruct(x), loaded.synthesize(loaded.codes(x)).clamp(0, 1))
    torch.save({"method": torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["method"],
                "state_dict": loaded.state_dict()}, path)  # fmt: skip
    assert torch.equal(load_method(path).state_dict()["center"], inversion.center)  # and so once more


def test_training_improves_reconstructions(tmp_path: Path) -> None:
    command = ["bench", "--method=inversion", "--data=digits", *SMALL, f"--method.generator={generator_checkpoint()}"]
    for epochs in (0, 3):
        flags = [
            "--trainer.limit_train_batches=1.0",
            f"--trainer.max_epochs={epochs}",
            f"--out={tmp_path / str(epochs)}",
        ]
        assert main([*command, *flags]) == 0
    untrained, better = (
        json.loads(next((tmp_path / out).glob("*/metrics.json")).read_text(encoding="utf-8"))["metrics"] for out in "03"
    )
    assert better["reconstruction/mse"] < 0.7 * untrained["reconstruction/mse"]
    assert better["reconstruction/psnr"] > untrained["reconstruction/psnr"]
    assert list((tmp_path / "3").glob("*/figures/reconstructions.png"))


def weights_after_training(folder: Path, batch_size: int) -> dict[str, Tensor]:
    size = distributed.world_size()
    optimizer = ["--method.optimizer=SGD", "--method.optimizer.lr=0.01"]
    strategy = ["--trainer.strategy=ddp"] if size > 1 else []
    flags = [f"--data.batch_size={batch_size}", f"--trainer.devices={size}", *strategy, *optimizer]
    return {name: p.detach().clone() for name, p in trained(folder, *flags).named_parameters()}


def test_two_ranks_train_what_one_does_with_twice_the_batch(tmp_path: Path, ranks: Ranks) -> None:
    alone = weights_after_training(tmp_path / "alone", 32)
    for weights in ranks(weights_after_training, tmp_path / "two", 16):
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.generator=null"], "no generator to invert: give --method.generator RUN, a stylegan2 run's folder"),
        (["--method.generator=nowhere"], "no checkpoint at nowhere: give a run folder"),
        (["--views.recipe=identity"], "views lie in [0.00, 1.00] and generated images in [-1, 1]"),
        (
            [
                "--method.perceptual=ssl_bench.generation.pretrained_perceptual.PretrainedPerceptual",
                "--method.perceptual.weights=nowhere",
            ],
            "no file nowhere: give the file of VGG19's weights",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    command = ["fit", "--method=inversion", "--data=digits", *SMALL, f"--method.generator={generator_checkpoint()}"]
    assert main([*command, *flags, f"--out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_generators_of_other_images_and_other_methods_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state: Any = torch.load(generator_checkpoint(), weights_only=True)
    state["method"]["init_args"]["image_shape"] = [1, 16, 16]
    torch.save(state | {"state_dict": build_state(state)}, tmp_path / "other.ckpt")
    trained(tmp_path / "run")
    command = ["fit", "--method=inversion", "--data=digits", *SMALL, f"--out={tmp_path}"]
    assert main([*command, f"--method.generator={tmp_path / 'other.ckpt'}"]) == 2
    assert "makes images of shape (1, 16, 16), and the data have (1, 8, 8)" in capsys.readouterr().err
    assert main([*command, f"--method.generator={tmp_path / 'run'}"]) == 2
    assert "is a InDomainInversion run: give one of stylegan2" in capsys.readouterr().err


def build_state(checkpoint: Any) -> dict[str, Tensor]:
    from ssl_bench.methods.checkpoint import build_method

    return build_method(checkpoint["method"]).state_dict()
