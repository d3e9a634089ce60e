"""Export the encoder of a run to a folder that can be used without the run."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_bench.api.encoder import Encoder
from ssl_bench.api.graphs import GRAPHS, WRITERS, ExportedGraph, example_input
from ssl_bench.api.model_card import model_card
from ssl_bench.api.runs import load_run
from ssl_bench.errors import UserError
from ssl_bench.files import write_tensors
from ssl_bench.methods.exported import CONFIG, KEY, REFUSED, VERSION, WEIGHTS, read_export
from ssl_bench.methods.frozen import Frozen
from ssl_bench.methods.used_weights import used_weights
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.networks.timm_backbone import TimmBackbone
from ssl_bench.results.shareable import shareable

BACKBONE = "backbone.safetensors"
"""Weights of the backbone under the names of timm."""
FORMATS = ("safetensors", *GRAPHS)


def export(
    run: str | PathLike[str], out: str | Path, format: str = "safetensors", trust: Iterable[str | Path] = ()
) -> Path:
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
            torch; ``onnx`` for an ONNX file beside the weights (extra ``onnx``), which onnxruntime must reproduce to
            1e-4 of the largest feature. Both take batches of any size, of images in [0, 1] that have the
            ``image_shape`` of ``config.json``.
        trust: folders of modules with your own classes, see `load_encoder`.

    Returns:
        The folder.

    Raises:
        UserError: it is not the folder of a recorded run, the new folder exists, or the format cannot represent the
            encoder.

    Example:
        >>> import ssl_bench
        >>> folder = ssl_bench.export("runs/vae-digits-s0-1a2b3c4d", "exported")
        >>> ssl_bench.load_encoder(folder).feature_dim
        10
    """
    out = Path(out)
    if format not in FORMATS:
        raise UserError(f"format {format!r}: give one of {', '.join(FORMATS)}")
    if out.exists():
        raise UserError(f"{out} exists: give a new folder, or delete it")
    loaded = load_run(run, trust)
    encoder = loaded.encoder()
    if f"{type(encoder.method).__module__}.".startswith(REFUSED):
        raise UserError(f"{loaded.folder} is a run of an external encoder, which is not exported again")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        trained = not (isinstance(encoder.method, Frozen) or loaded.record.untrained)
        config = write_encoder(encoder, part, loaded.record.data if trained else "")
        if format in GRAPHS:
            WRITERS[format](ExportedGraph(encoder), example_input(encoder), part / GRAPHS[format])
        reloaded = Encoder(*read_export(part))
        if not torch.equal(reloaded(example_input(encoder)), encoder(example_input(encoder))):
            raise UserError(f"{loaded.folder}: its encoder cannot be exported: the features of the export differ")
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
        trained_on: name of the training data; empty if the encoder was not trained.
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
        "licence_of_the_data": encoder.licence if trained_on else "",
    }
    weights = used_weights(encoder.method, views.evaluation_input(example_input(encoder)))
    for name, tensors in {WEIGHTS: weights, BACKBONE: backbone_weights(encoder.method)}.items():
        if tensors or name == WEIGHTS:
            write_tensors(folder / name, tensors)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config


def backbone_weights(method: nn.Module) -> dict[str, Tensor]:
    """Weights of the backbone under the names of timm; empty for other backbones."""
    network: Any = getattr(method, "backbone", getattr(method, "network", None))
    if isinstance(network, ResNetEncoder):
        return network.torchvision_weights()
    if isinstance(network, TimmBackbone):
        return dict(network.network.state_dict())
    return dict(network.state_dict()) if hasattr(network, "pretrained_cfg") else {}
