"""Linear probe on each layer of the encoder, as in the SSGAN paper (Chen et al. 2019, arXiv 1811.11212)."""

from dataclasses import dataclass, field

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.task import Task


@dataclass(frozen=True)
class LayerProbe:
    """The linear probe on the features of each layer separately.

    The last block of a discriminator is not always the best one. Layers are those of `ssl_bench.methods.base.Layered`;
    the layers of a discriminator are the pooled features of its residual blocks. L2 is chosen on validation for each
    layer.

    Args:
        probe: settings of the probe. :class:`~ssl_bench.evaluation.suite.Evaluation` passes the settings of
            `linear_probe`, so that scores are comparable.
    """

    probe: LinearProbe = field(default_factory=LinearProbe)

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the encoder has several layers."""
        return bool(encoder.layers)

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``layer_probe_<l>/accuracy`` in percent on test for layers l = 1, 2, ..., for each target.

        Raises:
            UserError: the encoder has no layers.
        """
        if not task.layers:
            raise UserError("layer_probe: the encoder has no layers beside its features; use linear_probe")
        by_layer = [self.probe(layer) for layer in task.layers]
        return [
            {f"layer_probe_{number}/accuracy": one["linear_probe/accuracy"] for number, one in enumerate(found, 1)}
            for found in zip(*by_layer, strict=True)
        ]
