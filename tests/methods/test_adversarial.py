"""Adversarial training: order of the steps, averages, parts of a batch, several processes."""

import csv
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn

from ssl_bench import distributed
from ssl_bench.callbacks.finite import StopOnNonFinite
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Batch
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.networks.ema import move_average
from ssl_bench.runs.train import fit, make_folder
from tests.ranks import Ranks

SMALL = [
    "--method.discriminator.width=16", "--method.generator.width=4", "--method.latent_dim=4", "--data.batch_size=64",
    "--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=4", "--trainer.log_every_n_steps=1",
]  # fmt: skip
OF_METHOD = {
    "structural_gan": ["--method.lazy=1", "--method.embedding_dim=8", "--method.queue_size=300"],
    "hinge_gan": ["--method.lazy=1"],
    "ssgan": ["--method.alpha_schedule.kind=linear"],
}


def small(*flags: str, name: str = "structural_gan") -> tuple[Run, Any]:
    config = resolve([*stack(name, "digits", None), *SMALL, *OF_METHOD[name], *flags])
    torch.manual_seed(0)
    return build(config), config


def trained(folder: Path, *flags: str, name: str = "structural_gan") -> tuple[Adversarial, Trainer]:
    run, config = small(*flags, name=name)
    if distributed.rank() == 0:
        make_folder(folder, {})
    trainer = fit(run, config, folder)
    assert isinstance(run.method, Adversarial)
    return run.method, trainer


def losses(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "version_0" / "metrics.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("n_dis", [1, 3])
def test_a_batch_is_one_step_of_the_discriminator_and_every_n_th_also_of_the_generator(
    tmp_path: Path, n_dis: int
) -> None:
    method, trainer = trained(tmp_path, f"--method.n_dis={n_dis}")
    of_discriminator, of_generator = (
        {int(state["step"]) for state in optimizer.state.values()} for optimizer in trainer.optimizers
    )
    assert of_discriminator == {4}
    assert of_generator == {math.ceil(4 / n_dis)}
    assert trainer.global_step == method.global_step == 4
    assert [row["step"] for row in losses(tmp_path)] == ["0", "1", "2", "3"]


def test_a_lazy_regulariser_is_evaluated_on_every_kth_batch_across_epochs(tmp_path: Path) -> None:
    trained(tmp_path, "--method.lazy=3", "--trainer.max_epochs=2")
    logged = [row["train/jacobian_norm"] for row in losses(tmp_path)]
    last = [logged[step - step % 3] for step in range(8)]
    assert logged == last  # between them, the last one
    assert len(set(logged)) == 3


def test_the_generators_latest_loss_is_logged_between_its_steps(tmp_path: Path) -> None:
    # Steps 1 and 3 are logged; the generator makes a step on 0 and 2.
    trained(tmp_path, "--method.n_dis=2", "--trainer.log_every_n_steps=2")
    logged = [float(row["train/generator_loss"]) for row in losses(tmp_path)]
    assert len(logged) == 2
    assert all(math.isfinite(loss) for loss in logged)


def test_the_average_is_exponential_and_copies_buffers() -> None:
    torch.manual_seed(0)
    network, average = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.normal_(network.weight)
    network(torch.randn(8, 3))
    move_average(average, network, 0.9)
    torch.testing.assert_close(average.weight, 0.9 * torch.ones(3) + 0.1 * network.weight)
    assert torch.equal(average.running_mean, network.running_mean)  # type: ignore[arg-type]


def test_averages_follow_the_networks_and_are_never_trained(tmp_path: Path) -> None:
    method, _ = trained(tmp_path, "--method.ema=0")
    for network in ("discriminator", "generator"):
        followed = method.get_submodule(f"{network}_ema")
        assert not any(p.requires_grad for p in followed.parameters())
        for mine, theirs in zip(method.get_submodule(network).parameters(), followed.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_the_averaged_generator_has_the_statistics_of_its_own_images(tmp_path: Path) -> None:
    method, _ = trained(tmp_path, "--method.ema=0.9")
    norm = next(m for m in method.generator_ema.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        method.decode(method.latents(4096, torch.Generator().manual_seed(0)))
    hook.remove()
    mean, std = norm.running_mean, norm.running_var.sqrt()  # type: ignore[union-attr]
    assert (mean - seen[0].mean((0, 2, 3))).abs().max() < 0.1 * std.max()  # type: ignore[operator]
    torch.testing.assert_close(std, seen[0].std((0, 2, 3)), rtol=0.1, atol=1e-3)
    assert load_method(tmp_path).state_dict().keys() == method.state_dict().keys()


def test_a_run_stopped_within_an_epoch_recalibrates_its_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalibrated: list[int] = []
    monkeypatch.setattr(Adversarial, "recalibrate_ema", lambda self, batch_size: recalibrated.append(self.global_step))
    trained(tmp_path, "--trainer.max_steps=3")
    assert recalibrated == [3]


def test_averages_are_recalibrated_with_full_batches_after_a_smaller_last_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(Adversarial, "recalibrate_ema", lambda self, batch_size: sizes.append(batch_size))
    trained(tmp_path, "--data.batch_size=16", "--data.fit_images=39")
    assert sizes == [16]


def test_a_run_out_of_time_within_an_epoch_recalibrates_its_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalibrated: list[int] = []
    monkeypatch.setattr(Adversarial, "recalibrate_ema", lambda self, batch_size: recalibrated.append(self.global_step))

    def stop(self: StopOnNonFinite, trainer: Trainer, *arguments: Any) -> None:  # as Lightning's timer does
        trainer.should_stop = trainer.global_step == 2

    monkeypatch.setattr(StopOnNonFinite, "on_train_batch_end", stop)
    trained(tmp_path)
    assert recalibrated == [2]


def test_averaged_weights_are_divided_by_their_own_spectral_norm(tmp_path: Path) -> None:
    flags = ["--method.discriminator.norm=spectral", "--method.optimizer.lr=0.1", "--method.ema=0.5"]
    method, _ = trained(tmp_path, *flags)
    layers = [m for m in method.discriminator_ema.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = torch.stack([torch.linalg.svdvals(layer.weight.detach().flatten(1))[0] for layer in layers])
    torch.testing.assert_close(norms, torch.ones(len(norms)), rtol=0.05, atol=0.0)


def test_neither_network_sees_the_gradient_of_the_others_loss(tmp_path: Path) -> None:
    run, config = small()
    assert isinstance(run.method, Adversarial)
    seen: list[set[str]] = []

    def watch(self: Adversarial) -> None:
        seen.append({name.split(".")[0] for name, p in self.named_parameters() if p.grad is not None})
        self.zero_grad()

    patch = pytest.MonkeyPatch()
    patch.setattr(type(run.method), "on_after_backward", watch)
    patch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: closure and closure())
    make_folder(tmp_path, {})
    try:
        fit(run, config, tmp_path)
    finally:
        patch.undo()
    assert seen == [{"discriminator"}, {"generator"}] * 4


def without_noise(rank: int, size: int) -> pytest.MonkeyPatch:
    """Each rank its rows of the same random numbers in every step; BatchNorm of fixed statistics."""

    def rows(*shape: int) -> Tensor:
        n, *rest = shape
        return torch.linspace(-1.5, 1.5, size * n * math.prod(rest)).sin().view(size, n, *rest)[rank]

    patch = pytest.MonkeyPatch()
    patch.setattr(Adversarial, "fakes", lambda self, n: self.generator.eval()(rows(n, self.latent_dim)))
    patch.setattr(Adversarial, "recalibrate_ema", lambda self, batch_size: None)
    randn = torch.randn

    def directions(*shape: Any, **how: Any) -> Tensor:  # of the Jacobian's norm; latents stay random
        return torch.ones(shape[0]) if isinstance(shape[0], torch.Size) else randn(*shape, **how)

    patch.setattr("ssl_bench.losses.jacobian.torch.randn", directions)
    return patch


def weights_after_training(folder: Path, batch_size: int, *flags: str, name: str) -> dict[str, Tensor]:
    rank, size = distributed.rank(), distributed.world_size()
    patch = without_noise(rank, size)
    strategy = "ddp" if size > 1 else "auto"
    flags = (f"--data.batch_size={batch_size}", f"--trainer.devices={size}", f"--trainer.strategy={strategy}", *flags)
    try:
        method, _ = trained(folder, *flags, name=name)
    finally:
        patch.undo()
    return {name: p.detach().clone() for name, p in method.named_parameters()}


PARITY = {"structural_gan": ["--method.global_batch=true"], "hinge_gan": [], "ssgan": ["--method.orientations=one"]}


@pytest.mark.parametrize("name", PARITY)
def test_two_ranks_train_what_one_does_with_twice_the_batch(tmp_path: Path, ranks: Ranks, name: str) -> None:
    """Through Lightning's own DistributedDataParallel, two optimizers and the queue included."""
    optimizers = ["--method.optimizer=SGD", "--method.optimizer.lr=0.002", "--method.generator_optimizer=SGD",
                  "--method.generator_optimizer.lr=0.002"]  # fmt: skip
    alone = weights_after_training(tmp_path / "alone", 32, *PARITY[name], *optimizers, name=name)
    for weights in ranks(train_on_rank, tmp_path / "two", [*PARITY[name], *optimizers], name):
        for key, value in alone.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-6, msg=key)


def train_on_rank(folder: Path, flags: list[str], name: str) -> dict[str, Tensor]:
    return weights_after_training(folder, 16, *flags, name=name)


@pytest.mark.parametrize(
    "steps", [["--trainer.limit_train_batches=1"], ["--data.batch_size=16", "--data.fit_images=39"]],
    ids=["full batch", "two full batches and 7 images"],
)  # fmt: skip
def test_parts_of_a_batch_give_the_mean_of_their_gradients(tmp_path: Path, steps: list[str]) -> None:
    """With a loss that is a mean over images, the gradient of the whole batch."""
    sgd = ["--method.optimizer=SGD", "--method.generator_optimizer=SGD", *steps]
    found = []
    for parts in (1, 2):
        patch = without_noise(0, 1)
        patch.setattr(Adversarial, "fakes", lambda self, n: self.generator.eval()(torch.ones(n, self.latent_dim)))
        try:
            method, _ = trained(tmp_path / str(parts), f"--method.accumulate={parts}", *sgd, name="hinge_gan")
        finally:
            patch.undo()
        found.append(dict(method.named_parameters()))
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-5, atol=1e-7, msg=key)


KILLED = """
import os, signal, sys
from ssl_bench.callbacks.finite import StopOnNonFinite
after = StopOnNonFinite.on_train_batch_end
def die(self, trainer, *arguments):
    if trainer.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    after(self, trainer, *arguments)
StopOnNonFinite.on_train_batch_end = die
from ssl_bench.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("name", ["structural_gan", "ssgan"])
def test_a_killed_run_resumes_with_the_same_losses(tmp_path: Path, name: str) -> None:
    """Killed in the middle of its second epoch, it does that epoch again and ends where the undisturbed run does."""
    command = ["fit", f"--method={name}", "--data=digits", *SMALL, *OF_METHOD[name], "--trainer.max_epochs=3"]
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    killed = subprocess.run(
        [sys.executable, str(script), *command, f"--out={tmp_path / 'killed'}"], env=os.environ, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    for out in ("killed", "whole"):
        assert main([*command, f"--out={tmp_path / out}"]) == 0
    (resumed,), (whole,) = ((tmp_path / out).glob(f"{name}-*") for out in ("killed", "whole"))
    with (resumed / "logs" / "version_1" / "metrics.csv").open(encoding="utf-8") as lines:
        assert list(csv.DictReader(lines)) == losses(whole)[4:]
    weights = load_method(whole).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in load_method(resumed).state_dict().items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.batch_size=3", "--method.neighbours=3"], r"3 images at a time have no 3 neighbours each"),
        (["--method.queue_size=10"], r"a queue of 10 is shorter than the batch of 64"),
        (["--views.recipe=identity"], r"views lie in \[0.00, 1.00\] and generated images in \[-1, 1\]"),
        (["--data.batch_size=10", "--method.accumulate=4"], r"a batch of 10 images in 4 parts"),
        (["--method.ema=1"], r"structural_gan: ema must be a number in \[0, 1\), got 1.0"),
        (["--method.ridge=0", "--method.embedding_dim=64"], r"the 64 x 64 covariance of 64 images is singular"),
        (["--method.ridge=0", "--method.embedding_dim=40"], r"covariance of 30 images .*or --data\.drop_last true"),
        (["--method.discriminator.width=0"], r"GroupNormResNet: width must be an integer of at least 1, got 0"),
        (["--trainer.gradient_clip_val=1"], r"gradient_clip_val 1.*has manual optimization"),
        (["--trainer.accumulate_grad_batches=2"], r"accumulate_grad_batches 2.*--method.accumulate"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    command = ["fit", "--method=structural_gan", "--data=digits", *SMALL, *OF_METHOD["structural_gan"], *flags]
    assert main([*command, f"--out={tmp_path}"]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_non_finite_covariance_is_named_with_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = Adversarial.fakes
    monkeypatch.setattr(
        Adversarial, "fakes", lambda self, n: fakes(self, n) * (float("nan") if self.step == 2 else 1.0)
    )
    command = ["fit", "--method=structural_gan", "--data=digits", *SMALL, *OF_METHOD["structural_gan"]]
    assert main([*command, f"--out={tmp_path}"]) == 1
    assert "fake" in (error := capsys.readouterr().err)
    assert "at step 3 (epoch 0)" in error
    assert "non-finite loss" in error


def test_samples_and_features_come_from_the_averages(tmp_path: Path) -> None:
    method, _ = trained(tmp_path)
    batch = Batch(torch.rand(4, 1, 8, 8) * 2 - 1, torch.zeros(4), torch.arange(4))
    before = method.encode(batch.images), method.sample(4, torch.Generator().manual_seed(0))
    for network in (method.generator, method.discriminator):
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    after = method.encode(batch.images), method.sample(4, torch.Generator().manual_seed(0))
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
