"""Duration of one iteration of the structural GAN, beside the formulation that its authors released.

    python benchmarks/structural_gan.py                      print the table
    python benchmarks/structural_gan.py --write              also write it to benchmarks/results/structural_gan.md
    python benchmarks/structural_gan.py --device cuda --batch 512 --compile

An iteration consists of the discriminator's step with the Jacobian term, the generator's step, the updates of both
moving averages and of the queue. Networks are those of the paper; images are random, of 32 px. The released formulation
is reimplemented below and runs in the same training step, so that only the formulation differs. Losses and gradients of
both formulations are compared before the timing. The cases are alternated in every round.
"""

import argparse
import logging
import time
import warnings
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.autograd import grad
from torch.func import functional_call, jvp, vmap
from torch.utils.data import DataLoader

from benchmarks.rounds import Seconds, provenance, table, write
from ssl_bench.data.types import Batch
from ssl_bench.losses.jacobian import jacobian_penalty, unit
from ssl_bench.losses.structural import jensen_shannon, norm_hinge
from ssl_bench.methods.structural_gan import RealImages, StructuralGAN, StructuralLoss
from ssl_bench.networks.biggan_deep import BigGANDeepGenerator
from ssl_bench.networks.discriminator import GroupNormResNet

TOLERANCE = 1e-4
STEPS = 4
"""Timed steps per round, after one untimed step: a whole period of the lazy regulariser."""


class AsReleased(StructuralGAN):
    """The released formulation: more passes, same losses and gradients."""

    def discriminator_loss(self, images: RealImages) -> StructuralLoss:
        """Loss from a pass for the losses and J^T u, a second pass for a JVP per sample, and J^T u with a graph."""
        assert self.queue is not None
        real = images.x
        with torch.no_grad():
            fake = self.fakes(len(real))
        x = torch.cat([real, fake]).requires_grad_()
        e = self.discriminator(x)
        u = torch.randn(e.shape, device=e.device)
        v = unit(grad(e, x, u, retain_graph=True)[0])
        weights = {name: p.detach() for name, p in self.discriminator.named_parameters()}

        def of_one(image: Tensor) -> Tensor:
            e: Tensor = functional_call(self.discriminator, weights, (image.unsqueeze(0),))
            return e.squeeze(0)

        with torch.no_grad():
            u = F.normalize(vmap(lambda image, tangent: jvp(of_one, (image,), (tangent,))[1])(x.detach(), v))
        (pulled,) = grad(e, x, u, create_graph=True)
        sigma = (pulled * v).flatten(1).sum(1)
        z_real, z_fake = F.normalize(e).chunk(2)
        smoothness = jacobian_penalty(sigma) + self.norm_weight * norm_hinge(e[: len(real)])
        pool = self.candidates(images, z_real, self.queue)
        similarity = self.similarity_fake(fake, z_fake, *pool) - self.similarity_real(images, z_real, *pool)
        distance, _ = jensen_shannon(z_real, z_fake)
        loss = self.smoothness_weight * smoothness - distance + self.cluster_weight * similarity
        return StructuralLoss(loss, {"jacobian_norm": sigma.mean()}, z_real=z_real.detach())

    def generator_loss(self, images: RealImages) -> StructuralLoss:
        """Loss with the keys recomputed, and with unused gradients through D(real) and of D's weights."""
        assert self.queue is not None
        keys = self.keys(images.x)
        images = RealImages(images.x, keys, keys)
        self.discriminator.requires_grad_(True)
        z_real = F.normalize(self.discriminator(images.x))
        fake = self.fakes(len(z_real))
        z_fake = F.normalize(self.discriminator(fake))
        similarity = self.similarity_fake(fake, z_fake, *self.candidates(images, z_real, self.queue))
        loss = jensen_shannon(z_real, z_fake)[0] - self.cluster_weight * similarity
        return StructuralLoss(loss, z_real=z_real.detach())


def method(formulation: type[StructuralGAN] = StructuralGAN, width: int = 64, **settings: Any) -> StructuralGAN:
    """Structural GAN with the paper's networks and optimizers; every call gives the same initial weights."""
    torch.manual_seed(0)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True}
    return formulation(
        (3, 32, 32),
        partial(BigGANDeepGenerator, width=2 * width),
        partial(GroupNormResNet, width=width),
        optimizer=partial(torch.optim.AdamW, weight_decay=0.1, **adam),  # type: ignore[arg-type]
        generator_optimizer=partial(torch.optim.Adam, **adam),  # type: ignore[arg-type]
        **settings,
    )


class Clock(Callback):
    """Callback that measures the duration of all steps after the first, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock after the first step."""
        if batch_idx == 1:
            self.seconds = -self.now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds += self.now()

    def now(self) -> float:
        """Time in seconds, after waiting for the GPU."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


class Case:
    """One configuration to time: repeated calls continue training."""

    def __init__(
        self, gan: StructuralGAN, device: str, batch: int, precision: str = "32-true", last: bool = False,
        compiled: bool = False,
    ):  # fmt: skip
        self.gan, self.device, self.precision = gan, device, precision
        if last:
            gan.to(memory_format=torch.channels_last)
        if compiled:
            for network in (gan.generator, gan.discriminator):
                network.compile()
            gan.discriminator_ema.features = torch.compile(gan.discriminator_ema.features)  # type: ignore[method-assign]
        gan.recalibrate_ema = lambda batch_size: None  # type: ignore[method-assign]  # runs once per epoch, not in a step
        images = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
        self.batches = [Batch(images.unsqueeze(0), torch.zeros(batch), torch.arange(batch))] * (STEPS + 1)

    def __call__(self) -> tuple[float, float]:
        """Seconds per step, and peak GPU memory in MB (0 on the CPU)."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock = Clock()
        trainer = Trainer(
            accelerator="gpu" if self.device == "cuda" else "cpu", devices=1, precision=self.precision,  # type: ignore[arg-type]
            max_epochs=1, callbacks=[clock], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(self.gan, DataLoader(self.batches, batch_size=None))  # type: ignore[arg-type]
        memory = torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else 0.0
        return clock.seconds / STEPS, memory


def deviation(batch: int, width: int = 64) -> dict[str, float]:
    """Relative differences of losses and of parameter gradients between the formulations, float32.

    The averaged network differs from the trained one, and embeddings are shorter than 1, so that no term is 0 and
    no two terms are equal by chance.
    """
    images = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found: list[dict[str, tuple[Tensor, list[Tensor]]]] = []
    for gan in (method(AsReleased, width), method(width=width)):
        with torch.no_grad():
            for parameter in gan.discriminator_ema.parameters():
                parameter.mul_(1.1)
            for parameter in gan.discriminator.head[-1].parameters():  # type: ignore[index,union-attr]
                parameter.mul_(0.2)
        losses: dict[str, tuple[Tensor, list[Tensor]]] = {}
        for name, trained in gan.trained_networks().items():
            torch.manual_seed(2)
            loss = trained.objective(gan.prepare(images)).value
            losses[name] = loss.detach(), list(grad(loss, list(trained.network.parameters())))
        found.append(losses)
    theirs, ours = found
    differences = {}
    for name in theirs:
        differences[name] = float(((ours[name][0] - theirs[name][0]) / theirs[name][0]).abs())
        pairs = zip(ours[name][1], theirs[name][1], strict=True)
        difference = torch.stack([(mine - other).norm() for mine, other in pairs]).norm()
        differences[f"gradient of {name}"] = float(difference / torch.stack([g.norm() for g in theirs[name][1]]).norm())
    return differences


def main() -> None:
    """Compare and time both formulations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="images per step")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="add a case with torch.compile")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    origin = provenance(options.device)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # float32 cases do not use TF32, neither in convolutions (torch's default) nor in matrix products.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    differences = deviation(options.batch)
    if max(differences.values()) > TOLERANCE:
        raise SystemExit(f"the formulations differ: {differences}")
    make = partial(Case, device=options.device, batch=options.batch)
    mixed: dict[str, Any] = {"precision": "bf16-mixed", "last": True}
    cases = {
        "as released": make(method(AsReleased)),
        "ssl_bench": make(method()),
        "ssl_bench, channels_last and bf16": make(method(), **mixed),
        "ssl_bench, Jacobian every 4th step": make(method(lazy=4)),
        "ssl_bench, Jacobian every 4th step, channels_last and bf16": make(method(lazy=4), **mixed),
    }
    if options.compile:
        cases["ssl_bench, channels_last, bf16, compiled"] = make(method(), compiled=True, **mixed)
    seconds: Seconds = {name: [] for name in cases}
    memory = dict.fromkeys(cases, 0.0)
    for _ in range(options.rounds):
        for name, case in cases.items():
            time, peak = case()
            seconds[name].append(time)
            memory[name] = max(memory[name], peak)
    on_gpu = ", ".join(f"{name} {peak:.0f}" for name, peak in memory.items() if peak)
    iterations = table(seconds, "iteration", options.batch) + (f"\n\nGPU memory in MB: {on_gpu}." if on_gpu else "")
    agreement = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    text = (
        f"# Structural GAN, one iteration\n\n{origin}. {options.rounds} rounds of {STEPS} steps, alternated."
        f"\n\n{iterations}"
        f"\n\nRelative difference between ssl_bench and the released formulation, float32: {agreement}.\n"
    )
    print(text)
    if options.write:
        write("structural_gan" if options.device == "cpu" else f"structural_gan-{options.device}", text)


if __name__ == "__main__":
    main()
