"""The encoder of a run in place of VGG19."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.generation.pretrained_perceptual import PretrainedPerceptual
from ssl_bench.runs.checkpoint_io import RunCheckpointIO
from ssl_bench.runs.train import make_folder


def untrained(folder: Path, method: str, *flags: str) -> Run:
    config = resolve([*stack(method, "digits", None), *flags])
    run = build(config)
    make_folder(folder, to_dict(config))
    checkpoint = {"method": run.method.config, "state_dict": run.method.state_dict()}
    RunCheckpointIO(to_dict(config)).save_checkpoint(checkpoint, folder / "checkpoints/last.ckpt")
    return run


def test_it_equals_the_l1_distance_of_the_outputs_of_all_residual_blocks(tmp_path: Path) -> None:
    run = untrained(tmp_path, "simclr", "--method.backbone.width=4", "--views.recipe=[normalize]")
    method: Any = run.method.eval()
    seen: list[Tensor] = []
    for module in method.backbone.modules():
        if isinstance(module, BasicBlock):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x, y = torch.rand(2, 3, 1, 8, 8)
    with torch.no_grad():
        method.encode(run.views.from_image(x))
        method.encode(run.views.from_image(y))
        blocks = len(seen) // 2
        expected = sum((a - b).abs().mean((1, 2, 3)) for a, b in zip(seen[:blocks], seen[blocks:], strict=True))
        ours = PretrainedPerceptual(str(tmp_path))
        torch.testing.assert_close(ours.distance(x, ours.features(y)), expected)
    assert ours.name == "stand_in"


def test_runs_without_a_residual_backbone_are_refused(tmp_path: Path) -> None:
    untrained(tmp_path / "vae", "vae", "--method.encoder.hidden=[8]", "--method.decoder.hidden=[8]")
    with pytest.raises(UserError, match=r"vae: its method has no residual backbone: give the run folder of a simclr"):
        PretrainedPerceptual(str(tmp_path / "vae")).features(torch.rand(1, 1, 8, 8))


def test_the_network_is_loaded_at_first_use() -> None:
    assert PretrainedPerceptual("nowhere").network is None
