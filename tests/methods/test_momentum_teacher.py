"""The momentum teacher: its updates, its schedule, and what the methods that use it have in common."""

import math
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.methods.momentum_teacher import MomentumTeacher
from tests.methods.test_contract import tiny

NAMES = ["byol", "dino", "moco"]
NARROW = [
    "--method.backbone.width=4", "--method.projector.outputs=16", "--method.projector.hidden=[16]",
]  # fmt: skip


def small(name: str, *flags: str) -> MomentumTeacher:
    torch.manual_seed(0)
    method = build(resolve([*stack(name, "digits", None), *NARROW, *flags])).method
    assert isinstance(method, MomentumTeacher)
    return method


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("name", NAMES)
def test_teacher_starts_as_a_copy_and_has_no_gradient(name: str) -> None:
    method = small(name)
    student = torch.nn.Sequential(method.backbone, method.projector)
    assert torch.equal(weights(method.teacher), weights(student))
    views = torch.randn(2, 8, 1, 8, 8)
    method.terms(views)["loss"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())


def test_update_is_a_weighted_mean_of_parameters_and_leaves_running_statistics() -> None:
    method = small("byol")
    before, buffers = weights(method.teacher), [b.clone() for b in method.teacher.buffers()]
    with torch.no_grad():
        for parameter in [*method.backbone.parameters(), *method.projector.parameters()]:
            parameter.add_(1)
        for buffer in method.backbone.buffers():
            buffer.add_(1)
    method.update_teacher(0.75)
    torch.testing.assert_close(weights(method.teacher), before + 0.25)
    assert all(torch.equal(old, new) for old, new in zip(buffers, method.teacher.buffers(), strict=True))


@pytest.mark.parametrize(("progress", "tau"), [(0.0, 0.9), (0.25, 1 - 0.1 * (2 + 2**0.5) / 4), (0.5, 0.95), (1.0, 1.0)])
def test_tau_increases_by_a_half_cosine(progress: float, tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    method = small("byol", "--method.momentum=0.9")
    monkeypatch.setattr(method, "progress", lambda: progress)
    assert method.tau() == pytest.approx(tau)  # BYOL, section 3.3


def test_the_teacher_of_a_run_is_the_average_with_the_tau_of_each_step(tmp_path: Path) -> None:
    """Two epochs of three steps, and one step of the optimizer for every two of them."""
    taus: list[float] = []
    students: list[torch.Tensor] = []
    run = tiny("byol", "--method.momentum=0.9", "--data.batch_size=16", "--data.fit_images=48")
    method = run.method
    assert isinstance(method, MomentumTeacher)
    teacher, update = weights(method.teacher), method.update_teacher

    def spy(tau: float) -> None:
        taus.append(tau)
        students.append(torch.cat([weights(method.backbone), weights(method.projector)]))
        update(tau)

    method.update_teacher = spy  # type: ignore[method-assign]
    method.views = run.views
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, accumulate_grad_batches=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(method, datamodule=run.data)
    assert trainer.global_step == 4
    assert taus == pytest.approx([1 - 0.1 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])
    for tau, student in zip(taus, students, strict=True):
        teacher = tau * teacher + (1 - tau) * student
    torch.testing.assert_close(weights(method.teacher), teacher)
