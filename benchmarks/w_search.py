"""Throughput of W-search, and the effect of retiring anchors, bf16, channels_last and compilation on time and loss.

    python benchmarks/w_search.py --write                    narrow networks to the end, published ones for a few steps
    python benchmarks/w_search.py --device cuda --compile --generator 512 --encoder 64 --batch 128 --write

The networks are a StyleGAN2 at 32 px and a ResNet-18 with its projector, with random weights; BatchNorm's statistics
are estimated from the generator's samples. The time per step does not depend on the weights, but the number of steps
per anchor does, so the time for 50,000 images is an extrapolation. The released code searches a batch of anchors until
their mean loss reaches the tolerance; ssl_bench retires each anchor that reaches it and adds the next one. The cases
are alternated in every round.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.rounds import alternate, provenance, table, write
from benchmarks.structural_gan import Clock
from ssl_bench.generation.settings import SearchSettings
from ssl_bench.generation.w_perturb import noise, truncate
from ssl_bench.generation.w_search import Anchors, search, search_loss
from ssl_bench.networks.projector import ProjectionHead
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.networks.stylegan2 import StyleGAN2Generator

SHAPE, LATENT, TRUNCATION, EPS1, EPS2 = (3, 32, 32), 512, 0.7, 0.3, 0.5
"""Settings for CIFAR-10 in "Constructive Assimilation" (Han et al.)."""
IMAGES, PAPER_HOURS = 50_000, 12.19
"""Size of the cache in the paper, and the hours that it took on A100s."""
BF16: dict[str, Any] = {"autocast": torch.bfloat16}


class Networks:
    """Frozen generator and encoder.

    Args:
        generator: number of channels and length of the codes; 512 is the published network.
        encoder: width; 64 is the published network.
        device: device of both networks.
    """

    def __init__(self, generator: int, encoder: int, device: str):
        torch.manual_seed(0)
        self.generator = StyleGAN2Generator(LATENT, SHAPE, width=generator, style_dim=generator).eval()
        backbone = ResNetEncoder(SHAPE, 0, encoder)
        self.encoder = nn.Sequential(backbone, ProjectionHead(8 * encoder, 32 * encoder, (32 * encoder,)))
        for network in (self.generator, self.encoder):
            network.requires_grad_(False).to(device)
        self.mean = self.generator.mean_code()
        with torch.no_grad():
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                    module.momentum = None  # a plain mean
            for ids in torch.arange(256).split(64):
                self.encoder(2 * self.synthesize(truncate(self.codes(ids), self.mean, TRUNCATION)) - 1)
        self.encoder.eval()

    def codes(self, ids: Tensor) -> Tensor:
        """Codes ``(N, n_latent, style_dim)`` of latents that are determined by their ids."""
        return self.generator.codes(noise(ids, 0, LATENT).to(self.mean.device))

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images of codes, approximately in [0, 1]."""
        return (self.generator.synthesis(codes).float() + 1) / 2

    def project(self, images: Tensor) -> Tensor:
        """L2-normalised projections of images in [0, 1]."""
        return F.normalize(self.encoder(2 * images - 1), dim=1)

    @torch.no_grad()
    def anchors(self, count: int) -> Anchors:
        """Anchors: codes and their images."""
        ids = torch.arange(count)
        codes = torch.cat([self.codes(part) for part in ids.split(64)])
        images = [self.synthesize(truncate(part, self.mean, TRUNCATION)).clamp(0, 1) for part in codes.split(64)]
        return Anchors(ids, codes, torch.cat(images).mul(255).round().to(torch.uint8))

    def channels_last(self) -> "Networks":
        """Copy of the networks in channels_last layout."""
        other = copy.deepcopy(self)
        for network in (other.generator, other.encoder):
            network.to(memory_format=torch.channels_last)
        return other


@dataclass
class Case:
    """One configuration to time; a call sets `losses` and `steps` ``(N,)`` of the anchors.

    Args:
        networks: generator and encoder.
        anchors: anchors of the views.
        settings: settings of the search.
        batch: number of anchors per batch.
        options: further arguments of `search`.
        until: None for ssl_bench's search. Else batches stay together: a function of the losses of a batch that
            returns whether its search ends.
    """

    networks: Networks
    anchors: Anchors
    settings: SearchSettings
    batch: int
    options: dict[str, Any] = field(default_factory=dict)
    until: Callable[[Tensor], Tensor] | None = None
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    steps: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __call__(self) -> float:
        """Search all anchors; returns seconds."""
        start = Clock().now()
        found = list(self.search_and_retire() if self.until is None else self.search_batches(self.until))
        seconds = Clock().now() - start
        self.losses, self.steps = (torch.cat(parts) for parts in zip(*found, strict=True))
        return seconds

    def search_and_retire(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and steps of ssl_bench's search, which retires single anchors."""
        networks = self.networks
        for found in search(
            networks.synthesize, networks.project, networks.mean, iter([self.anchors]), self.settings,
            eps1=EPS1, eps2=EPS2, truncation=TRUNCATION, batch_size=self.batch, **self.options,
        ):  # fmt: skip
            yield found.metrics["loss"], found.metrics["steps"]

    def search_batches(self, until: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and steps of a search in which the anchors of a batch end together."""
        networks, settings = self.networks, self.settings
        for ids, start, images in zip(*(tensor.split(self.batch) for tensor in self.anchors), strict=True):
            offsets = noise(ids, settings.seed, settings.views, *start.shape[1:]).to(start.device)
            codes = (start.unsqueeze(1) + settings.noise * offsets).requires_grad_()
            with torch.no_grad():
                target = networks.project(images.float() / 255)
            optimizer = torch.optim.Adam([codes], settings.lr)
            for step in range(settings.steps + 1):
                views = networks.synthesize(truncate(codes.flatten(0, 1), networks.mean, TRUNCATION)).clamp(0, 1)
                projections = networks.project(views).unflatten(0, codes.shape[:2])
                loss = search_loss(projections, target, EPS1, EPS2, settings.uniformity)
                if step == settings.steps or until(loss):
                    break
                (codes.grad,) = torch.autograd.grad(loss.sum(), codes)
                optimizer.step()
            yield loss.detach().cpu(), torch.full((len(ids),), float(step))


def final_losses(cases: dict[str, Case]) -> str:
    """Markdown table of final losses and of steps per anchor."""
    lines = ["| search | mean loss | largest loss | mean steps per anchor | most steps |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        lines.append(
            f"| {name} | {case.losses.mean():.2e} | {case.losses.max():.2e} | {case.steps.mean():.1f} | "
            f"{case.steps.max():.0f} |"
        )
    return "\n".join(lines)


def comparison(options: argparse.Namespace, networks: Networks) -> str:
    """Compare the searches, layouts and precisions."""
    anchors, settings = networks.anchors(options.compared), SearchSettings(steps=options.steps)
    last = networks.channels_last()

    def case(networks: Networks = networks, until: Callable[[Tensor], Tensor] | None = None, **more: Any) -> Case:
        return Case(networks, anchors, settings, options.batch, more, until)

    cases = {
        "whole batches, until the mean loss": case(until=lambda loss: loss.mean() <= settings.tolerance),
        "whole batches, until every loss": case(until=lambda loss: (loss <= settings.tolerance).all()),
        "retired": case(),
        "retired, channels_last": case(last),
        "retired, bf16": case(**BF16),
        "retired, channels_last and bf16": case(last, **BF16),
    }
    if options.compile:
        cases["retired, compiled (with compilation time)"] = case(compile=True)
        cases["retired, channels_last, bf16, compiled"] = case(last, compile=True, **BF16)
    seconds = alternate(cases, options.rounds)
    return (
        f"## {options.compared} anchors, {options.batch} at a time, generator {options.generator}, encoder "
        f"{options.encoder}\n\n{table(seconds, 'search', options.compared * settings.views)}\n\n{final_losses(cases)}"
    )


def full_search(options: argparse.Namespace, networks: Networks) -> tuple[str, float]:
    """Search all anchors in the fastest layout in float32; also returns the mean number of steps per anchor."""
    settings = SearchSettings(steps=options.steps)
    case = Case(networks.channels_last(), networks.anchors(options.anchors), settings, options.batch)
    seconds = case()
    return (
        f"## {options.anchors} anchors, {settings.views} views of each, float32 and channels_last\n\n"
        f"{seconds:.1f} s, {options.anchors * settings.views / seconds:.2f} images/s, "
        f"{seconds / float((case.steps + 1).sum()):.4f} s per step and anchor.\n\n{final_losses({'retired': case})}"
    ), float(case.steps.mean() + 1)


def published(options: argparse.Namespace, steps: float) -> str:
    """Time a few steps with networks of the published widths, and extrapolate to the paper's cache."""
    generator, encoder = options.published
    networks = Networks(generator, encoder, options.device)
    anchors, settings = networks.anchors(options.few), SearchSettings(steps=options.few_steps, tolerance=0.0)
    exact = Case(networks, anchors, settings, options.few)
    cases = {
        "float32": exact,
        "channels_last": Case(networks.channels_last(), anchors, settings, options.few),
        "bf16": Case(networks, anchors, settings, options.few, BF16),
        "channels_last and bf16": Case(networks.channels_last(), anchors, settings, options.few, BF16),
    }
    seconds = alternate(cases, options.rounds)
    evaluations = options.few * (options.few_steps + 1)
    each = {name: statistics.median(values) / evaluations for name, values in seconds.items()}
    best = "channels_last"  # bf16 needs more steps, see the comparison
    hours = each[best] * steps * IMAGES / 3600
    return (
        f"## Published widths (generator {generator}, encoder {encoder}), {options.few} anchors, {options.few_steps} "
        "steps\n\n"
        f"{table(seconds, 'search', options.few * settings.views)}\n\n{final_losses(cases)}\n\n"
        "Seconds per step and anchor: "
        + ", ".join(f"{name} {value:.3f}" for name, value in each.items())
        + f".\n\nExtrapolation, not a measurement: {IMAGES:,} images of {settings.views} views, {steps:.1f} steps each "
        f"as the narrow networks took, by {best} on this device: {hours:,.1f} hours (paper: {PAPER_HOURS} on A100s; "
        f"goal: at most 1 on an H200-class GPU{', not yet measured on a GPU' if options.device == 'cpu' else ''})."
    )


def parser() -> argparse.ArgumentParser:
    """Parser of the sizes."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=3, help="number of rounds")
    made.add_argument("--generator", type=int, default=32, help="channels of the StyleGAN2")
    made.add_argument("--encoder", type=int, default=8, help="width of the ResNet-18")
    made.add_argument("--anchors", type=int, default=200, help="anchors of the full search")
    made.add_argument("--compared", type=int, default=48, help="anchors of the comparison")
    made.add_argument("--batch", type=int, default=16, help="anchors per batch")
    made.add_argument("--steps", type=int, default=1000, help="largest number of steps")
    made.add_argument("--published", type=int, nargs=2, default=[512, 64], help="widths of the published networks")
    made.add_argument("--few", type=int, default=2, help="anchors with the published networks")
    made.add_argument("--few_steps", type=int, default=1, help="steps with the published networks")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--compile", action="store_true", help="add searches with torch.compile")
    made.add_argument("--write", action="store_true")
    return made


def parts(options: argparse.Namespace) -> Iterator[str]:
    """Yield the parts of the result as they are measured."""
    yield f"# W-search\n\n{provenance(options.device)}; {options.rounds} alternated rounds."
    networks = Networks(options.generator, options.encoder, options.device)
    yield comparison(options, networks)
    text, steps = full_search(options, networks)
    yield text
    yield published(options, steps)


def main() -> None:
    """Measure all parts and print them."""
    options = parser().parse_args()
    # float32 cases do not use TF32, neither in convolutions (torch's default) nor in matrix products.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    texts = []
    for part in parts(options):
        print(part, end="\n\n", flush=True)
        texts.append(part)
    if options.write:
        write("w_search" if options.device == "cpu" else f"w_search-{options.device}", "\n\n".join(texts) + "\n")


if __name__ == "__main__":
    main()
