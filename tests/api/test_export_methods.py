"""The encoder of every method, exported and read back; methods are discovered from their configurations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_bench.api.encoder import Encoder, load_encoder
from ssl_bench.api.export import write_encoder
from ssl_bench.api.graphs import ExportedGraph, Writer, example_input, write_onnx, write_torch_export
from ssl_bench.errors import UserError
from tests.methods.test_contract import METHODS, tiny

ROOT = Path(__file__).parents[2]
NO_GRAPH = {("ddpm", write_torch_export)}
"""Methods that a format cannot represent: the U-Net of diffusers copies batches of 64 or more images."""


def made(name: str) -> Encoder:
    """The encoder of a method with weights and statistics that differ from their defaults."""
    run = tiny(name)
    generator = torch.Generator().manual_seed(0)
    for tensor in run.method.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.rand(tensor.shape, generator=generator)
    return Encoder(run.method, run.views, "none")


@pytest.fixture(scope="module", params=METHODS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return made(request.param)


def images(encoder: Encoder) -> Tensor:
    return torch.randint(
        0, 256, (6, *encoder.image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_features_are_the_same_bit_for_bit(encoder: Encoder, tmp_path: Path) -> None:
    write_encoder(encoder, tmp_path, "digits")
    torch.manual_seed(5)  # weights that are not stored would be other ones
    again = load_encoder(tmp_path)
    assert torch.equal(again(images(encoder)), encoder(images(encoder)))
    assert again.feature_dim == encoder.feature_dim


CODE = """
import os, torch, ssl_bench
for folder in sorted(os.listdir()):
    expected = torch.load(os.path.join(folder, "expected.pt"))
    torch.manual_seed(7)
    print(folder, torch.equal(ssl_bench.load_encoder(folder)(expected["x"]), expected["features"]))
"""


def test_another_process_has_the_same_features_bit_for_bit(tmp_path: Path) -> None:
    for name in METHODS:
        (tmp_path / name).mkdir()
        encoder = made(name)
        write_encoder(encoder, tmp_path / name, "digits")
        x = images(encoder)
        torch.save({"x": x, "features": encoder(x)}, tmp_path / name / "expected.pt")
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.splitlines() == [f"{name} True" for name in METHODS], done.stderr


@pytest.mark.parametrize("write", [write_torch_export, write_onnx])
def test_graphs_have_the_same_features(
    encoder: Encoder,
    write: Writer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.params["encoder"]
    path = tmp_path / "model"
    if (name, write) in NO_GRAPH:
        with pytest.raises(UserError, match="cannot represent this encoder"):
            write(ExportedGraph(encoder), example_input(encoder), path)
        return
    if write is write_onnx:
        return write_onnx(
            ExportedGraph(encoder), example_input(encoder), tmp_path / "model.onnx"
        )  # compares the features
    write(ExportedGraph(encoder), example_input(encoder), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    x = torch.rand(5, *encoder.image_shape)
    with torch.no_grad():
        torch.testing.assert_close(program(x), encoder(x), rtol=1e-4, atol=1e-5)
