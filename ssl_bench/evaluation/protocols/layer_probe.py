"""`linear_probe` of every layer of an encoder, as published for the self-supervised GAN (arXiv 1811.11212)."""

from dataclasses import dataclass, field

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.task import Task


@dataclass(frozen=True)
class LayerProbe:
    """The linear probe on each layer's features alone: a discriminator's last block is not always its best.

    Layers are those of `ssl_bench.methods.base.Layered`: of a discriminator the pooled features of its residual
    blocks. Each has a probe of its own, its L2 chosen on validation.

    Args:
        probe: of every layer; the suite gives that of `linear_probe`, so that figures compare.
    """

    probe: LinearProbe = field(default_factory=LinearProbe)

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Where the encoder has layers to compare."""
        return bool(encoder.layers)

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``layer_probe_<l>/accuracy`` in percent on test, l = 1 the first layer, of each target.

        Raises:
            UserError: the encoder has no layers.
        """
        if not task.layers:
            raise UserError(
                "layer_probe: the encoder gives one vector of features and no layers beside it; linear_probe scores it"
            )
        by_layer = [self.probe(layer) for layer in task.layers]
        return [
            {f"layer_probe_{number}/accuracy": one["linear_probe/accuracy"] for number, one in enumerate(found, 1)}
            for found in zip(*by_layer, strict=True)
        ]
