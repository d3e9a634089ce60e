"""Exports that contain the computation of an encoder: torch.export and ONNX."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_bench.api.encoder import Encoder
from ssl_bench.errors import UserError
from ssl_bench.methods.used_weights import used_weights

GRAPHS = {"torch_export": "model.pt2", "onnx": "model.onnx"}
"""Files of the formats."""
ONNX_OPSET = 18


def example_input(encoder: Encoder) -> Tensor:
    """Three images of the size of the run's data, in [0, 1]."""
    return torch.rand(3, *encoder.image_shape, generator=torch.Generator().manual_seed(0))


class ExportedGraph(nn.Module):
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


def write_torch_export(graph: ExportedGraph, example: Tensor, path: Path) -> None:
    """Write a program of `torch.export` with a batch of any size.

    Raises:
        UserError: torch.export cannot trace the encoder.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(graph.eval(), (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export raises errors of many kinds
        raise UserError(
            f"torch.export cannot represent this encoder: {first_line(error)}; export safetensors"
        ) from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # which has paths of this machine
    torch.export.save(program, path)


def write_onnx(graph: ExportedGraph, example: Tensor, path: Path) -> None:
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
        raise UserError(f"ONNX cannot represent this encoder: {first_line(error)}; export safetensors") from error
    check_onnx(graph, example, path)


def check_onnx(graph: ExportedGraph, example: Tensor, path: Path) -> None:
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


Writer = Callable[[ExportedGraph, Tensor, Path], None]
WRITERS: dict[str, Writer] = {"torch_export": write_torch_export, "onnx": write_onnx}


def first_line(error: BaseException) -> str:
    """The first line of an error, or of its cause, which torch describes in many lines."""
    error = error.__cause__ or error
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
