"""Duration of one training cycle of SSGAN (one step of each network), beside mimicry's formulation.

    python benchmarks/ssgan.py                      print the tables
    python benchmarks/ssgan.py --write              also write them to benchmarks/results/ssgan.md
    python benchmarks/ssgan.py --device cuda --batch 512 --write

mimicry's package cannot be imported with current versions of torch, so its formulation is reimplemented below. It
differs in four points: real, generated and rotated images pass through the discriminator separately; all four quarters
of the batch are rotated and encoded, the upright quarter too; the 1x1 convolutions of the shortcuts run at the larger
resolution (after upsampling, before pooling), at four times the cost; the generator's step also computes gradients of
the discriminator's weights, which are not used. Networks (the published ones for 32 px), losses and optimizers are the
same. Losses and gradients of both formulations are compared before the timing. Mixed precision is compared with float32
by the losses after 200 cycles on handwritten digits.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.rounds import alternate, provenance, table, write
from ssl_bench.losses.adversarial import hinge_discriminator, hinge_generator
from ssl_bench.methods.alternating import Loss
from ssl_bench.methods.ssgan import SSGAN
from ssl_bench.networks.sn_resnet import (
    DiscriminatorBlock,
    GeneratorBlock,
    SNResNetDiscriminator,
    SNResNetGenerator,
)
from ssl_bench.networks.spectral import converge_spectral_norm

TOLERANCE = 1e-4
CYCLES, LAST = 200, 50
"""Number of cycles in the comparison of precisions, and of final cycles that the losses are averaged over."""


class Mimicry(SSGAN):
    """mimicry's formulation: separate passes, and shortcuts at the larger resolution."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        for block in self.modules():
            small = isinstance(block, DiscriminatorBlock) and isinstance(
                block.activation, nn.Identity
            )  # same in mimicry
            if isinstance(block, (GeneratorBlock, DiscriminatorBlock)) and not small:
                block.shortcut = nn.Sequential(*reversed(list(block.shortcut.children())))

    def rotation_loss(self, images: Tensor) -> Tensor:
        """Cross-entropy of the predicted rotation; all images are encoded, those rotated by 0 degrees too."""
        labels = torch.arange(len(images), device=images.device) % 4
        rotated = torch.stack([image.rot90(int(k), (1, 2)) for image, k in zip(images, labels, strict=True)])
        return F.cross_entropy(self.discriminator(rotated)[:, 1:].float(), labels)

    def discriminator_loss(self, real: Tensor) -> Loss:
        """Loss from three passes of the discriminator."""
        fake = self.fakes(len(real)).detach()
        loss = hinge_discriminator(self.logits(real), self.logits(fake))
        return Loss(loss + self.beta * self.rotation_loss(real))

    def generator_loss(self, real: Tensor) -> Loss:
        """Loss from two passes of the discriminator, whose parameters require gradients."""
        self.discriminator.requires_grad_(True)
        fake = self.fakes(len(real))
        return Loss(hinge_generator(self.logits(fake)) + self.alpha * self.rotation_loss(fake))


def method(formulation: type[SSGAN] = SSGAN, width: int = 128, channels: int = 3, seed: int = 0) -> SSGAN:
    """SSGAN with a discriminator of that width and a generator of twice that width, as published."""
    torch.manual_seed(seed)
    return formulation(
        (channels, 32, 32),
        partial(SNResNetGenerator, width=2 * width),
        partial(SNResNetDiscriminator, width=width),
        loss="hinge",
        orientations="one",
    )


class Case:
    """One configuration to time: repeated calls continue training on the same batch."""

    def __init__(self, gan: SSGAN, device: str = "cpu", bf16: bool = False, last: bool = False, compiled: bool = False):
        self.gan, self.device, self.bf16 = gan.to(device), device, bf16
        self.layout = torch.channels_last if last else torch.contiguous_format
        gan.to(memory_format=self.layout)
        if compiled:
            gan.generator.compile()
            gan.discriminator.compile()
        adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.0, 0.9), fused=True)
        self.steps = (
            (gan.discriminator, gan.generator, gan.discriminator_loss, "loss", adam(gan.discriminator.parameters())),
            (gan.generator, gan.discriminator, gan.generator_loss, "generator_loss", adam(gan.generator.parameters())),
        )

    def cycle(self, real: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator and one of the generator, each with the other network frozen."""
        real, terms = real.to(self.device).contiguous(memory_format=self.layout), {}
        for network, other, loss_of, name, optimizer in self.steps:
            network.requires_grad_(True)
            other.requires_grad_(False)
            with autocast(self.device) if self.bf16 else nullcontext():
                terms[name] = loss_of(real).value
            optimizer.zero_grad()
            other.zero_grad()
            terms[name].backward()
            optimizer.step()
        return terms

    def seconds(self, real: Tensor, cycles: int) -> float:
        """Seconds per cycle, after one untimed cycle."""
        self.cycle(real)
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(cycles):
            self.cycle(real)
        synchronize(self.device)
        return (time.perf_counter() - start) / cycles


def autocast(device: str) -> AbstractContextManager[None]:
    """Autocast to bfloat16."""
    return torch.autocast(device, torch.bfloat16)


def synchronize(device: str) -> None:
    """Wait for the device to finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def deviation(batch: int, width: int) -> dict[str, float]:
    """Relative differences of losses and gradients between the formulations, float32.

    The spectral norms are converged and the networks are in evaluation mode: every pass in training mode makes a power
    iteration, and the formulations differ in their number of passes.
    """
    real = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found: list[list[Tensor]] = []
    for formulation in (Mimicry, SSGAN):
        gan = method(formulation, width)
        converge_spectral_norm(gan.discriminator)
        gan.eval()
        values: list[Tensor] = []
        for trained in gan.trained_networks().values():
            torch.manual_seed(2)
            loss = trained.objective(real).value
            gradient = torch.autograd.grad(loss, list(trained.network.parameters()))
            values += [loss.detach(), torch.cat([g.flatten() for g in gradient])]
        found.append(values)
    names = ["D's loss", "its gradient", "G's loss", "its gradient "]
    return {
        name: float((ours - theirs).norm() / theirs.norm()) for name, theirs, ours in zip(names, *found, strict=True)
    }


def losses_after_cycles(width: int, seeds: int, batch: int, device: str) -> dict[str, list[dict[str, float]]]:
    """Mean losses of the final cycles on handwritten digits for each seed, in float32 and in mixed precision."""
    pixels = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 8 - 1
    images = F.interpolate(pixels, size=(32, 32))
    found: dict[str, list[dict[str, float]]] = {}
    for name, mixed in {"float32": False, "bf16 and channels_last": True}.items():
        found[name] = []
        for seed in range(seeds):
            case = Case(method(width=width, channels=1, seed=seed), device, bf16=mixed, last=mixed)
            order = torch.Generator().manual_seed(seed)
            history = [
                {key: float(value.detach()) for key, value in case.cycle(images[rows]).items()}
                for rows in (torch.randint(len(images), (batch,), generator=order) for _ in range(CYCLES))
            ]
            found[name].append({key: statistics.mean(one[key] for one in history[-LAST:]) for key in history[0]})
    return found


def precision_table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown table of the losses in each precision, mean and standard deviation over seeds, and their difference."""
    lines = ["| loss | float32 (sd over seeds) | bf16 and channels_last (sd) | mean difference |", "|---|---|---|---|"]
    exact, mixed = found.values()
    for key in exact[0]:
        a, b = [one[key] for one in exact], [one[key] for one in mixed]
        spread = " | ".join(f"{statistics.mean(x):.3f} ({statistics.stdev(x):.3f})" for x in (a, b))
        lines.append(f"| {key.replace('_', ' ')} | {spread} | {statistics.mean(b) - statistics.mean(a):+.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Compare and time both formulations and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=2, help="timed cycles per round")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--seeds", type=int, default=3, help="seeds in the comparison of precisions")
    parser.add_argument("--narrow", type=int, default=16, help="width of the discriminator in that comparison")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="add a case with torch.compile")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    origin = provenance(options.device)
    warnings.filterwarnings("ignore")
    # float32 cases do not use TF32, neither in convolutions (torch's default) nor in matrix products.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    differences = deviation(options.batch, 32)
    if max(differences.values()) > TOLERANCE:
        raise SystemExit(f"the formulations differ: {differences}")
    make: Callable[..., Case] = partial(Case, device=options.device)
    cases = {
        "mimicry's formulation": make(method(Mimicry)),
        "ssl_bench": make(method()),
        "ssl_bench, channels_last": make(method(), last=True),
        "ssl_bench, channels_last and bf16": make(method(), last=True, bf16=True),
    }
    if options.compile:
        cases["ssl_bench, channels_last, bf16, compiled"] = make(method(), last=True, bf16=True, compiled=True)
    real = torch.rand(options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    timed = {name: partial(case.seconds, real, options.cycles) for name, case in cases.items()}
    cycles = table(alternate(timed, options.rounds), "cycle", options.batch)
    found = losses_after_cycles(options.narrow, options.seeds, options.batch, options.device)
    agreement = ", ".join(f"{name.strip()} {value:.1e}" for name, value in differences.items())
    text = (
        f"# SSGAN, one cycle\n\n{origin}. {options.rounds} rounds of {options.cycles} cycles, alternated. A cycle is "
        f"one step of each network, with the published widths (128 and 256) at 32 px.\n\n{cycles}"
        f"\n\nRelative difference of the formulations, float32, widths 32 and 64: {agreement}.\n\n"
        f"Losses, mean over the last {LAST} of {CYCLES} cycles on handwritten digits, {options.seeds} seeds, widths "
        f"{options.narrow} and {2 * options.narrow}:\n\n{precision_table(found)}\n"
    )
    print(text)
    if options.write:
        write("ssgan" if options.device == "cpu" else f"ssgan-{options.device}", text)


if __name__ == "__main__":
    main()
