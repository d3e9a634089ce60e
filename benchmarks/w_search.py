"""W-search: images per second, and what retiring anchors, bf16, channels_last and compile each do to time and loss.

    python benchmarks/w_search.py --write                    narrow networks to the end, published ones for a few steps
    python benchmarks/w_search.py --device cuda --compile --generator 512 --encoder 64 --batch 128 --write

Searches are of a StyleGAN2 at 32 px and a ResNet-18 with its projector, both with random weights (BatchNorm's
statistics are of the generator's images): time per step does not depend on weights. How many steps an anchor takes
does, so that what follows for 50,000 images is an extrapolation. As released, a batch of anchors is searched until
their mean loss is at the tolerance; ssl_bench retires each anchor at that loss and takes in the next.
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

from benchmarks.structural_gan import Clock
from benchmarks.turns import machine, table, take_turns, write
from ssl_bench.generation.perturb import noise, truncate
from ssl_bench.generation.search import Anchors, Search, search, search_loss
from ssl_bench.networks.projector import ProjectionHead
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.networks.stylegan2 import StyleGAN2Generator

SHAPE, LATENT, TRUNCATION, EPS1, EPS2 = (3, 32, 32), 512, 0.7, 0.3, 0.5
"""Of CIFAR-10 in "Constructive Assimilation" (Han et al.)."""
IMAGES, PAPER_HOURS = 50_000, 12.19
"""Of its cache, and what that took on A100s."""
BF16: dict[str, Any] = {"autocast": torch.bfloat16}


class Networks:
    """Generator and encoder, frozen.

    Args:
        generator: channels; 512 is the published network, of which codes are as long.
        encoder: width; 64 is the published network.
        device: where.
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
        """Codes ``(N, n_latent, style_dim)`` of latents drawn by their ids."""
        return self.generator.codes(noise(ids, 0, LATENT).to(self.mean.device))

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images in about [0, 1] of codes."""
        return (self.generator.synthesis(codes).float() + 1) / 2  # type: ignore[no-any-return]

    def project(self, images: Tensor) -> Tensor:
        """L2-normalised projections of images in [0, 1]."""
        return F.normalize(self.encoder(2 * images - 1), dim=1)

    @torch.no_grad()
    def anchors(self, count: int) -> Anchors:
        """Codes and the images that they are."""
        ids = torch.arange(count)
        codes = torch.cat([self.codes(part) for part in ids.split(64)])
        images = [self.synthesize(truncate(part, self.mean, TRUNCATION)).clamp(0, 1) for part in codes.split(64)]
        return Anchors(ids, codes, torch.cat(images).mul(255).round().to(torch.uint8))

    def channels_last(self) -> "Networks":
        """The same, laid out so."""
        other = copy.deepcopy(self)
        for network in (other.generator, other.encoder):
            network.to(memory_format=torch.channels_last)
        return other


@dataclass
class Case:
    """A way to search; after a call, losses and steps ``(N,)`` of the anchors.

    Args:
        networks: what is searched.
        anchors: what views are searched for.
        settings: of the search.
        batch: anchors at a time.
        how: further arguments of `search`.
        until: none, ssl_bench's search; else when a batch kept together ends, told the losses of its anchors.
    """

    networks: Networks
    anchors: Anchors
    settings: Search
    batch: int
    how: dict[str, Any] = field(default_factory=dict)
    until: Callable[[Tensor], Tensor] | None = None
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    steps: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __call__(self) -> float:
        """Seconds of all anchors."""
        start = Clock().now()
        found = list(self.retiring() if self.until is None else self.keeping(self.until))
        seconds = Clock().now() - start
        self.losses, self.steps = (torch.cat(parts) for parts in zip(*found, strict=True))
        return seconds

    def retiring(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and steps by ssl_bench's search."""
        networks = self.networks
        for found in search(
            networks.synthesize, networks.project, networks.mean, iter([self.anchors]), self.settings,
            eps1=EPS1, eps2=EPS2, truncation=TRUNCATION, batch_size=self.batch, **self.how,
        ):  # fmt: skip
            yield found.figures["loss"], found.figures["steps"]

    def keeping(self, until: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and steps of batches that stay together to their end."""
        networks, settings = self.networks, self.settings
        for ids, start, images in zip(*(tensor.split(self.batch) for tensor in self.anchors), strict=True):
            drawn = noise(ids, settings.seed, settings.views, *start.shape[1:]).to(start.device)
            codes = (start.unsqueeze(1) + settings.noise * drawn).requires_grad_()
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


def ended(cases: dict[str, Case]) -> str:
    """A table of losses and steps at the end."""
    lines = ["| search | loss, mean | largest | steps of an anchor, mean | most |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        lines.append(
            f"| {name} | {case.losses.mean():.2e} | {case.losses.max():.2e} | {case.steps.mean():.1f} | "
            f"{case.steps.max():.0f} |"
        )
    return "\n".join(lines)


def effects(options: argparse.Namespace, networks: Networks) -> str:
    """Each way to save time by itself, and together."""
    anchors, settings = networks.anchors(options.compared), Search(steps=options.steps)
    last = networks.channels_last()

    def case(networks: Networks = networks, until: Callable[[Tensor], Tensor] | None = None, **how: Any) -> Case:
        return Case(networks, anchors, settings, options.batch, how, until)

    cases = {
        "kept to the batch's end, its mean loss": case(until=lambda loss: loss.mean() <= settings.tolerance),
        "kept to the batch's end, each loss": case(until=lambda loss: (loss <= settings.tolerance).all()),
        "retired": case(),
        "retired, channels_last": case(last),
        "retired, bf16": case(**BF16),
        "retired, channels_last and bf16": case(last, **BF16),
    }
    if options.compile:
        cases["retired, compiled (compiling included)"] = case(compile=True)
        cases["retired, channels_last, bf16, compiled"] = case(last, compile=True, **BF16)
    seconds = take_turns(cases, options.rounds)
    return (
        f"## {options.compared} anchors, {options.batch} at a time, generator {options.generator}, encoder "
        f"{options.encoder}\n\n{table(seconds, 'search', options.compared * settings.views)}\n\n{ended(cases)}"
    )


def whole(options: argparse.Namespace, networks: Networks) -> tuple[str, float]:
    """All anchors, by what is fastest without taking more steps; and the steps of one in the mean."""
    settings = Search(steps=options.steps)
    case = Case(networks.channels_last(), networks.anchors(options.anchors), settings, options.batch)
    seconds = case()
    return (
        f"## {options.anchors} anchors, {settings.views} views of each, float32 and channels_last\n\n"
        f"{seconds:.1f} s, {options.anchors * settings.views / seconds:.2f} images/s, "
        f"{seconds / float((case.steps + 1).sum()):.4f} s per step and anchor.\n\n{ended({'retired': case})}"
    ), float(case.steps.mean() + 1)


def published(options: argparse.Namespace, steps: float) -> str:
    """A few steps with networks of published widths, and what would follow for the paper's cache."""
    generator, encoder = options.published
    networks = Networks(generator, encoder, options.device)
    anchors, settings = networks.anchors(options.few), Search(steps=options.few_steps, tolerance=0.0)
    exact = Case(networks, anchors, settings, options.few)
    cases = {
        "float32": exact,
        "channels_last": Case(networks.channels_last(), anchors, settings, options.few),
        "bf16": Case(networks, anchors, settings, options.few, BF16),
        "channels_last and bf16": Case(networks.channels_last(), anchors, settings, options.few, BF16),
    }
    seconds = take_turns(cases, options.rounds)
    evaluations = options.few * (options.few_steps + 1)
    each = {name: statistics.median(values) / evaluations for name, values in seconds.items()}
    best = "channels_last"  # bf16 takes more steps, see above
    hours = each[best] * steps * IMAGES / 3600
    return (
        f"## Published widths (generator {generator}, encoder {encoder}), {options.few} anchors, {options.few_steps} "
        "steps\n\n"
        f"{table(seconds, 'search', options.few * settings.views)}\n\n{ended(cases)}\n\nSeconds per step and anchor: "
        + ", ".join(f"{name} {value:.3f}" for name, value in each.items())
        + f".\n\nExtrapolation, not a measurement: {IMAGES:,} images of {settings.views} views, {steps:.1f} steps each "
        f"as the narrow networks took, by {best} on this device: {hours:,.1f} hours (paper: {PAPER_HOURS} on A100s; "
        f"goal: at most 1 on an H200-class GPU{', not yet measured on a GPU' if options.device == 'cpu' else ''})."
    )


def parser() -> argparse.ArgumentParser:
    """The sizes."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--generator", type=int, default=32, help="channels of the StyleGAN2")
    made.add_argument("--encoder", type=int, default=8, help="width of the ResNet-18")
    made.add_argument("--anchors", type=int, default=200)
    made.add_argument("--compared", type=int, default=48, help="anchors of the comparison")
    made.add_argument("--batch", type=int, default=16, help="anchors at a time")
    made.add_argument("--steps", type=int, default=1000, help="at most")
    made.add_argument("--published", type=int, nargs=2, default=[512, 64], help="widths of the published networks")
    made.add_argument("--few", type=int, default=2, help="anchors with the published networks")
    made.add_argument("--few_steps", type=int, default=1, help="their steps")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--compile", action="store_true", help="add searches through torch.compile")
    made.add_argument("--write", action="store_true")
    return made


def report(options: argparse.Namespace) -> Iterator[str]:
    """All parts, as they are done."""
    yield f"# W-search\n\n{machine(options.device)}; {options.rounds} rounds of contestants in turn."
    networks = Networks(options.generator, options.encoder, options.device)
    yield effects(options, networks)
    every, steps = whole(options, networks)
    yield every
    yield published(options, steps)


def main() -> None:
    """Time and print."""
    options = parser().parse_args()
    # What is called float32 is: no TF32 in convolutions, which is torch's default, nor in products.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    parts = []
    for part in report(options):
        print(part, end="\n\n", flush=True)
        parts.append(part)
    if options.write:
        write("w_search" if options.device == "cpu" else f"w_search-{options.device}", "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
