"""Export the encoder of a run to a folder that can be used without the run."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ssl_bench.api.encoder import Encoder
from ssl_bench.api.model_card import model_card
from ssl_bench.api.runs import load_run
from ssl_bench.errors import UserError
from ssl_bench.methods.exported import CONFIG, KEY, VERSION, WEIGHTS, read_export
from ssl_bench.methods.used_weights import used_weights
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.networks.timm_backbone import TimmBackbone
from ssl_bench.results.shareable import shareable

BACKBONE = "backbone.safetensors"
"""Weights of the backbone under the names of timm."""
GRAPHS = {"torch_export": "model.pt2", "onnx": "model.onnx"}
"""Files of the formats that contain the computation, too."""
FORMATS = ("safetensors", *GRAPHS)
ONNX_OPSET = 18


class Graph(nn.Module):
    """What a graph computes: features of images in [0, 1] of the size of the run's data.

    It has only the weights that `encode` uses.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.views = encoder.views
        self.method = copy.deepcopy(encoder.method)
        used = used_weights(self.method, self.views.evaluation_input(example_input(encoder)))
        for path, module in self.method.named_modules():
            for store in (module._parameters, module._buffers):
                for name in store:
                    if f"{path}.{name}".lstrip(".") not in used and name not in module._non_persistent_buffers_set:
                        store[name] = None

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, d)`` of images, float ``(N, C, H, W)`` in [0, 1], or of points ``(N, D)``."""
        return self.method.encode(self.views.deterministic(images))


def export(run: str | Path, out: str | Path, format: str = "safetensors") -> Path:
    """Export the encoder of a run to a new folder.

    The folder has ``config.json`` (architecture, preprocessing, number of features, data), ``model.safetensors`` (the
    weights that `encode` uses), ``metrics.json`` (the record of the run) and ``README.md`` (a model card of Hugging
    Face with the scores). `load_encoder` reads it; its features are those of the run bit for bit. ResNet backbones and
    backbones of timm are also in ``backbone.safetensors``, under the names of timm. The encoder of a VAE is its
    posterior mean, that of a GAN the backbone of its averaged discriminator.

    Args:
        run: a run folder.
        out: the new folder.
        format: ``safetensors``; ``torch_export`` for a program of `torch.export` beside the weights, which needs only
            torch; ``onnx`` for an ONNX file beside the weights, checked by onnxruntime to 1e-4 (extra ``onnx``). Both
            take batches of any size, of images in [0, 1] that have the ``image_shape`` of ``config.json``.

    Returns:
        The folder.

    Raises:
        UserError: it is not the folder of a recorded run, the new folder exists, or the format cannot represent the
            encoder.

    Example:
        >>> import ssl_bench
        >>> folder = ssl_bench.export("runs/vae-digits-s0-1a2b3c4d", "exported")
        >>> encoder = ssl_bench.load_encoder(folder)
    """
    out = Path(out)
    if format not in FORMATS:
        raise UserError(f"format {format!r}: give one of {', '.join(FORMATS)}")
    if out.exists():
        raise UserError(f"{out} exists: give a new folder, or delete it")
    loaded = load_run(run)
    encoder = loaded.encoder()
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        config = write_encoder(encoder, part, loaded.record.data)
        if format in GRAPHS:
            WRITERS[format](Graph(encoder), example_input(encoder), part / GRAPHS[format])
        again = Encoder(*read_export(part))
        if not torch.equal(again(example_input(encoder)), encoder(example_input(encoder))):
            raise UserError(f"{run}: its encoder cannot be exported: the features of the export are other ones")
        loaded.record.write(part)
        (part / "README.md").write_text(model_card(loaded.record, config, out.name), encoding="utf-8")
        part.chmod(0o755)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return out


def write_encoder(encoder: Encoder, folder: Path, trained_on: str) -> dict[str, Any]:
    """Write the weights and the configuration of an encoder; returns the configuration.

    Args:
        encoder: the encoder.
        folder: an existing folder.
        trained_on: name of the training data.
    """
    views = encoder.views
    checkpoint: dict[str, Any] = {}
    encoder.method.on_save_checkpoint(checkpoint)  # a configuration that needs no other run
    config = {
        KEY: VERSION,
        "method": shareable(checkpoint["method"]),
        "feature_dim": encoder.feature_dim,
        "preprocessing": {
            "image_shape": list(views.image_shape),
            "resize": "bilinear with antialiasing until the image covers image_shape, then a crop of the centre",
            "range": [0, 1],
            "recipe": views.recipe,
            "mean": list(views.mean),
            "std": list(views.std),
        },
        "trained_on": trained_on,
        "licence_of_the_data": encoder.licence,
    }
    weights = used_weights(encoder.method, views.evaluation_input(example_input(encoder)))
    for name, tensors in {WEIGHTS: weights, BACKBONE: backbone_weights(encoder.method)}.items():
        if tensors or name == WEIGHTS:
            save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, folder / name)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config


def example_input(encoder: Encoder) -> Tensor:
    """Three images of the size of the run's data, in [0, 1]."""
    return torch.rand(3, *encoder.image_shape, generator=torch.Generator().manual_seed(0))


def backbone_weights(method: nn.Module) -> dict[str, Tensor]:
    """Weights of the backbone under the names of timm; empty for other backbones."""
    network: Any = getattr(method, "backbone", getattr(method, "network", None))
    if isinstance(network, ResNetEncoder):
        return network.torchvision_weights()
    if isinstance(network, TimmBackbone):
        return dict(network.network.state_dict())
    return dict(network.state_dict()) if hasattr(network, "pretrained_cfg") else {}


def write_torch_export(graph: Graph, example: Tensor, path: Path) -> None:
    """Write a program of `torch.export` with a batch of any size.

    Raises:
        UserError: torch.export cannot trace the encoder.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(graph.eval(), (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export raises errors of many kinds
        raise UserError(f"torch.export cannot represent this encoder: {_line(error)}; export safetensors") from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # which has paths of this machine
    torch.export.save(program, path)


def write_onnx(graph: Graph, example: Tensor, path: Path) -> None:
    """Write an ONNX file with a batch of any size, and compare it with the encoder in onnxruntime.

    Raises:
        UserError: packages are missing, ONNX cannot represent the encoder, or the features differ by more than 1e-4.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"format onnx needs {error.name}: pip install 'ssl_bench[onnx]'") from error
    try:
        program = torch.onnx.export(
            graph.eval(), (example,), input_names=["images"], output_names=["features"], opset_version=ONNX_OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), dynamo=True, verbose=False,
        )  # fmt: skip
        assert program is not None
        for function in (program.model.graph, *program.model.functions.values()):
            for node in function:
                node.metadata_props.clear()  # which have paths of this machine
        program.save(path, external_data=False)
    except Exception as error:  # of torch.export, onnxscript and onnx
        raise UserError(f"ONNX cannot represent this encoder: {_line(error)}; export safetensors") from error
    check_onnx(graph, example, path)


def check_onnx(graph: Graph, example: Tensor, path: Path) -> None:
    """Compare the features of an ONNX file with those of the encoder on batches of 3 and 1.

    Raises:
        UserError: they differ by more than 1e-4 of the largest feature.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (example, example[:1]):
        with torch.inference_mode():
            expected = graph(batch)
        (found,) = session.run(["features"], {"images": batch.numpy()})
        error = float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not error <= 1e-4:
            raise UserError(f"the features of the ONNX file differ by {error:.2g} of the largest: export safetensors")


WRITERS: dict[str, Callable[[Graph, Tensor, Path], None]] = {"torch_export": write_torch_export, "onnx": write_onnx}


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def push(folder: str | Path, repository: str) -> str:
    """Upload an exported folder to a private repository of the Hugging Face Hub, where a token is stored.

    Args:
        folder: the exported folder.
        repository: name of the repository, ``USER/NAME``; it is made if it does not exist.

    Returns:
        The URL of the commit.

    Raises:
        UserError: there is no token, or the upload failed; the folder is kept.
    """
    from huggingface_hub import HfApi

    client = HfApi()
    try:
        client.create_repo(repository, exist_ok=True, private=True)
        return str(client.upload_folder(folder_path=str(folder), repo_id=repository))
    except Exception as error:  # errors of the hub and of the network have no common base
        raise UserError(f"{folder} cannot be uploaded to {repository}: {_line(error)}; the folder is kept") from error


def check_token() -> None:
    """Check that a token of the Hugging Face Hub is stored.

    Raises:
        UserError: there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError("--push needs a token of the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN")
