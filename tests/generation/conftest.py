"""Run folders of tiny untrained networks on digits, and codes of 30 images."""

from pathlib import Path

import pytest
import torch

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.data.shards import Shards
from ssl_bench.generation.commands.arguments import InvertCommand
from ssl_bench.generation.commands.invert import invert_images
from ssl_bench.generation.settings import InvertSettings, Job
from ssl_bench.runs.checkpoint_io import RunCheckpointIO
from ssl_bench.runs.train import make_folder

CPU = torch.device("cpu")


def untrained(folder: Path, method: str, *flags: str) -> Path:
    """Make a run folder as `ssl-bench fit` does, of an untrained method."""
    config = resolve([*stack(method, "digits", None), "--trainer.accelerator=cpu", *flags])
    torch.manual_seed(0)
    run = build(config)
    make_folder(folder, to_dict(config))
    checkpoint = {"state_dict": run.method.state_dict()}
    run.method.latest = {}  # type: ignore[assignment]
    run.method.on_save_checkpoint(checkpoint)
    RunCheckpointIO(to_dict(config)).save_checkpoint(checkpoint, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders by method."""
    root = tmp_path_factory.mktemp("runs")
    sizes = ["--method.generator.width=8", "--method.generator.style_dim=6", "--method.generator.mapping_layers=2"]
    generator = untrained(root / "g", "stylegan2", *sizes, "--method.discriminator.width=8", "--method.latent_dim=5")
    tiny = ["--method.backbone.width=4", "--method.projector.outputs=16", "--method.projector.hidden=[16]"]
    return {
        "stylegan2": generator,
        "inversion": untrained(
            root / "e", "inversion", f"--method.generator={generator}", "--method.encoder.width=8",
            "--method.perceptual=null",
        ),
        "simclr": untrained(root / "f", "simclr", *tiny),
    }  # fmt: skip


@pytest.fixture(scope="session")
def codes(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes of the first 30 digits, 8 to a file."""
    out = tmp_path_factory.mktemp("views") / "codes"
    folder = invert_images(
        InvertCommand(runs["inversion"], InvertSettings(steps=2), Job(out, images=30, shard_rows=8)), CPU
    )
    assert not Shards(folder).missing()
    return folder
