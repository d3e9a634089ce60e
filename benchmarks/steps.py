"""Duration of a training step of the joint-embedding methods beside lightly: ResNet-18, batch 64, views of 32 px.

    python benchmarks/steps.py             print the table
    python benchmarks/steps.py --write     also write it to benchmarks/results/steps.md

Both train the same backbone, with heads of the same sizes, on the same random views in float32, in a plain loop with
SGD. lightly runs as in the examples of its documentation; ssl_bench runs the step of the method, with the memory layout
of `ssl-bench bench`. That losses and gradients agree is tested in tests/losses/test_lightly.py.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models import modules
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from benchmarks.rounds import alternate, compare_with_goal, provenance, speed_up, table, write
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Batch
from ssl_bench.methods.moco import MoCo
from ssl_bench.methods.momentum_teacher import MomentumTeacher
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.methods.nnclr import NNCLR
from ssl_bench.networks.resnet import ResNetEncoder

BATCH, STEPS, QUEUE = 64, 2, 4096
FLAGS = {
    "byol": ["--method.projector.hidden=[1024]", "--method.predictor.hidden=[1024]"],
    "moco": ["--method.symmetric=false", f"--method.queue_size={QUEUE}", "--method.projector.hidden=[512]"],
    "nnclr": [
        f"--method.queue_size={QUEUE}", "--method.projector.hidden=[512,512]", "--method.projector.outputs=128",
        "--method.predictor.hidden=[512]",
    ],
    "swav": ["--method.queue_size=0", "--method.num_prototypes=512", "--method.projector.hidden=[512]"],
    "dino": [
        "--method.projector.hidden=[512,512]", "--method.projector.bottleneck=64", "--method.projector.outputs=2048",
    ],
    "vicreg": [],
    "barlow_twins": [],
}  # fmt: skip
"""Flags that give our method the heads of lightly's example."""


class Ours:
    """A method of ssl_bench and its optimizer."""

    def __init__(self, name: str):
        torch.manual_seed(0)
        method = build(resolve([*stack(name, "cifar10", None), *FLAGS[name]])).method
        assert isinstance(method, MultiView)
        self.method = method.to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(method.parameter_groups(method), lr=0.06, fused=True)

    def step(self, views: Tensor) -> Tensor:
        """Make a step; returns the loss."""
        self.optimizer.zero_grad()
        images = views.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (2, BATCH))
        loss = self.method.training_step(Batch(images, torch.empty(0), torch.arange(BATCH)), 0)
        loss.backward()
        self.method.on_after_backward()
        self.optimizer.step()
        if isinstance(self.method, MomentumTeacher):
            self.method.update_teacher(self.method.tau())
        return loss.detach()

    def updates(self) -> list[Callable[[], object]]:
        """The update of the teacher and the write of the queue, without the rest of the step."""
        method, rows = self.method, torch.randn(BATCH, self.method.projection_dim)
        updates: list[Callable[[], object]] = []
        if isinstance(method, MomentumTeacher):
            updates.append(lambda: method.update_teacher(0.99))
        if isinstance(method, MoCo):
            updates.append(lambda: method.queue.enqueue(second=rows))
        if isinstance(method, NNCLR):
            updates.append(lambda: method.queue.enqueue(z=rows))
        return updates


class Lightly:
    """lightly's example of a method: the backbone of a ResNet-18, the heads and the loss of its documentation."""

    def __init__(self, name: str):
        torch.manual_seed(0)
        self.name = name
        self.backbone = ResNetEncoder((3, 32, 32), 0)
        head, predictor, self.criterion = self.parts(name)
        self.head: nn.Module = head
        self.predictor: nn.Module = predictor
        self.teacher = copy.deepcopy(self.backbone)
        # torch cannot copy a network with weight normalisation.
        dino = name == "dino"
        self.teacher_head = modules.DINOProjectionHead(512, 512, 64, 2048) if dino else copy.deepcopy(head)
        self.prototypes = modules.SwaVPrototypes(128, n_prototypes=512) if name == "swav" else nn.Identity()
        self.bank = modules.NNMemoryBankModule(size=(QUEUE, 128))
        for module in (self.teacher, self.teacher_head):
            deactivate_requires_grad(module)
        trained = [self.backbone, self.head, self.predictor, self.prototypes]
        parameters = [p for module in trained for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.06)

    @staticmethod
    def parts(name: str) -> tuple[nn.Module, nn.Module, Any]:
        """Projection head, prediction head and loss."""
        no = nn.Identity()
        match name:
            case "byol":
                heads = modules.BYOLProjectionHead(512, 1024, 256), modules.BYOLPredictionHead(256, 1024, 256)
                return *heads, NegativeCosineSimilarity()
            case "moco":
                return modules.MoCoProjectionHead(512, 512, 128), no, NTXentLoss(memory_bank_size=(QUEUE, 128))
            case "nnclr":
                heads = modules.NNCLRProjectionHead(512, 512, 128), modules.NNCLRPredictionHead(128, 512, 128)
                return *heads, NTXentLoss()
            case "swav":
                return modules.SwaVProjectionHead(512, 512, 128), no, SwaVLoss()
            case "dino":
                head = modules.DINOProjectionHead(512, 512, 64, 2048, freeze_last_layer=1)
                return head, no, DINOLoss(output_dim=2048, warmup_teacher_temp_epochs=5)
            case "vicreg":
                return modules.BarlowTwinsProjectionHead(512, 2048, 2048), no, VICRegLoss()
            case _:
                return modules.BarlowTwinsProjectionHead(512, 2048, 2048), no, BarlowTwinsLoss()

    def project(self, x: Tensor) -> Tensor:
        """Projections of the student."""
        projections: Tensor = self.head(self.backbone(x))
        return projections

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Projections of the teacher."""
        projections: Tensor = self.teacher_head(self.teacher(x))
        return projections

    def loss(self, first: Tensor, second: Tensor) -> Any:
        """The loss of two views."""
        criterion = self.criterion
        match self.name:
            case "byol":
                p0, p1 = self.predictor(self.project(first)), self.predictor(self.project(second))
                return (criterion(p0, self.keys(second)) + criterion(p1, self.keys(first))) / 2
            case "moco":
                return criterion(self.project(first), self.keys(second))
            case "nnclr":
                z0, z1 = self.project(first), self.project(second)
                p0, p1 = self.predictor(z0), self.predictor(z1)
                z0, z1 = self.bank(z0.detach(), update=False), self.bank(z1.detach(), update=True)
                return (criterion(z0, p1) + criterion(z1, p0)) / 2
            case "swav":
                self.prototypes.normalize()  # type: ignore[operator]
                z = [nn.functional.normalize(self.project(view), dim=1) for view in (first, second)]
                return criterion([self.prototypes(view) for view in z], [])
            case "dino":
                teacher = [self.keys(first), self.keys(second)]
                return criterion(teacher, [self.project(first), self.project(second)], epoch=1)
        return criterion(self.project(first), self.project(second))

    def step(self, views: Tensor) -> Tensor:
        """Make a step; returns the loss."""
        if self.name in ("byol", "moco", "dino"):
            update_momentum(self.backbone, self.teacher, 0.99)
            update_momentum(self.head, self.teacher_head, 0.99)
        loss = self.loss(*views)
        loss.backward()
        if self.name == "dino":
            self.head.cancel_last_layer_gradients(current_epoch=1)  # type: ignore[operator]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()  # type: ignore[no-any-return]


def seconds_of(call: Callable[[], object], count: int) -> float:
    """Seconds of one of `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def compare(name: str, rounds: int) -> tuple[str, str]:
    """The table of a method, and the line that compares it with the goal."""
    views = torch.randn(2, BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs, ours = Lightly(name), Ours(name)
    steps = {f"{name}, lightly": partial(theirs.step, views), f"{name}, ssl_bench": partial(ours.step, views)}
    for step in steps.values():
        step()
    seconds = alternate({case: partial(seconds_of, step, STEPS) for case, step in steps.items()}, rounds)
    ratio = compare_with_goal(f"{name}, step", speed_up(seconds, f"{name}, ssl_bench"), 1.0)
    if updates := ours.updates():
        for update in updates:
            update()
        spent = sum(seconds_of(update, 20) for update in updates)
        share = spent / statistics.median(seconds[f"{name}, ssl_bench"])
        ratio += f"\n- {name}, updates of teacher and queue: {100 * share:.2f} % of a step, goal at most 2 %."
    return table(seconds, "step", BATCH), ratio


def main() -> None:
    """Print the tables; `--write` stores them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--methods", nargs="+", choices=FLAGS, default=list(FLAGS), metavar="NAME", help="default all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    start = provenance()
    results = []
    for name in options.methods:
        results.append(compare(name, options.rounds))
        print(results[-1][1], file=sys.stderr)
    header, *_ = results[0][0].partition("| " + options.methods[0])
    rows = "\n".join(found.removeprefix(header) for found, _ in results)
    lines = "\n".join(line for _, line in results)
    text = f"""# Training steps of the joint-embedding methods

{start}.

ResNet-18, batch {BATCH}, two views of 32 px, float32, {options.rounds} alternated rounds of {STEPS} steps. The speed-up
is that of ssl_bench beside lightly, the median over rounds.

{header}{rows}

{lines}
"""
    print(text)
    if options.write:
        write("steps", text)


if __name__ == "__main__":
    main()
