"""Gradients of SimCLR in bfloat16 mixed precision beside float32, for each block of the network.

    python benchmarks/precision.py            print the table (a few minutes on two cores)
    python benchmarks/precision.py --write    also write it to benchmarks/results/precision.md

The difference of the gradients can come from the kernels for bfloat16, or from the rounding of activations and weights
to 8 bits itself. A third computation separates both: kernels of float32, with the weights of convolutions and linear
layers, the outputs of all layers and their gradients rounded to bfloat16. A fourth keeps the projector in float32.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.rounds import provenance, write
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.methods.simclr import SimCLR

COMPUTATIONS = {
    "autocast": "bfloat16 kernels (autocast)",
    "rounded": "float32 kernels, rounded to bfloat16",
    "projector": "autocast, projector in float32",
}


class Round(torch.autograd.Function):
    """Round values to bfloat16, and their gradients, too."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """The rounded values, in float32."""
        return x.bfloat16().float()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The rounded gradients."""
        return gradient.bfloat16().float()


@contextmanager
def rounded(module: nn.Module) -> Iterator[None]:
    """Round the weights of convolutions and linear layers, and the output of every layer, inside the block."""
    handles, weights = [], []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weights.append((layer.weight, layer.weight.detach().clone()))
            layer.weight.data = layer.weight.data.bfloat16().float()
        if not list(layer.children()) or type(layer).__name__ in ("BasicBlock", "Bottleneck"):
            handles.append(layer.register_forward_hook(lambda layer, inputs, output: Round.apply(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for weight, value in weights:
            weight.data = value


def gradients(method: SimCLR, views: Tensor, computation: str) -> tuple[float, dict[str, Tensor]]:
    """Loss, and the gradient of all weights of each block of the network."""
    method = copy.deepcopy(method).train()
    backbone = method.backbone
    for layer in method.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    x = views.flatten(0, 1)
    enabled = computation in ("autocast", "projector")
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        if computation == "rounded":
            with rounded(method):
                z = method.projector(backbone(Round.apply(x)))
                loss = method.objective(z.unflatten(0, views.shape[:2]))["loss"]
                loss.backward()
        else:
            features = backbone(x)
            with torch.autocast("cpu", torch.bfloat16, enabled=computation == "autocast"):
                z = method.projector(features if computation == "autocast" else features.float())
            loss = method.objective(z.float().unflatten(0, views.shape[:2]))["loss"]
    if computation != "rounded":
        loss.backward()  # outside of autocast, as in training
    blocks: dict[str, nn.Module] = {}
    names = iter(f"block {i}" for i in range(1, 100))
    for layer in backbone.backbone:  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            blocks["stem"] = layer
        elif list(layer.children()):
            blocks[next(names)] = layer
    blocks |= {"projector": method.projector, "all": method}
    return float(loss.detach()), {
        name: torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None])
        for name, block in blocks.items()
    }


def measure(width: int, batch: int, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Relative difference of the gradient of each block from float32, of the loss, and the cosine of both gradients.

    Args:
        width: width of the ResNet-18.
        batch: images per step.
        seeds: number of initial weights and batches.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in COMPUTATIONS}
    digits = torch.from_numpy(load_digits().images).float()[:, None] / 16
    images = interpolate(digits, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    for seed in range(seeds):
        torch.manual_seed(seed)
        run = build(resolve([*stack("simclr", "cifar10", None), f"--method.backbone.width={width}"]))
        assert isinstance(run.method, SimCLR)
        views = run.views(images[torch.randperm(len(images))[:batch]].contiguous())
        loss, exact = gradients(run.method, views, "float32")
        for computation, results in found.items():
            other, approximate = gradients(run.method, views, computation)
            results.setdefault("loss", []).append(abs(other - loss) / loss)
            for block, gradient in approximate.items():
                difference = (gradient - exact[block]).norm() / exact[block].norm()
                results.setdefault(block, []).append(float(difference))
            cosine = torch.cosine_similarity(approximate["all"], exact["all"], dim=0)
            results.setdefault("cosine of the gradients", []).append(float(cosine))
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown table of medians over the seeds."""
    rows = next(iter(found.values()))
    lines = ["| relative difference from float32 | " + " | ".join(COMPUTATIONS.values()) + " |"]
    lines.append("|---" * (1 + len(COMPUTATIONS)) + "|")
    for name in rows:
        form: Callable[[float], str] = "{:.3f}".format if name.startswith("cosine") else "{:.2g}".format
        cells = " | ".join(form(statistics.median(results[name])) for results in found.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables; `--write` stores them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    origin = provenance()
    parts = [
        f"ResNet-18 of width {width}:\n\n{table(measure(width, options.batch, options.seeds))}"
        for width in options.widths
    ]
    text = (
        f"# Gradients in bfloat16\n\n{origin}. SimCLR at its initial weights, two views of {options.batch} digits at "
        f"32 px; medians over {options.seeds} seeds.\n\n" + "\n\n".join(parts) + "\n"
    )
    print(text)
    if options.write:
        write("precision", text)


if __name__ == "__main__":
    main()
