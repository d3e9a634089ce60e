"""Linear probe on layers of a diffusion model at several levels of noise (Xiang et al. 2023, arXiv 2303.09769)."""

from dataclasses import dataclass
from typing import ClassVar

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.task import Task
from ssl_bench.ranges import NonNegativeInt, check_ranges


@check_ranges
@dataclass(frozen=True)
class NoiseProbe(LinearProbe):
    """The linear probe on the features of each layer at each level of noise, and the pair that is best on validation.

    The best layer and level of noise depend on the data. Xiang et al. choose them by the accuracy of test images, which
    is optimistic. Here the pair with the best validation accuracy is chosen, the first one if there are ties, and the
    score is its accuracy on test. The protocol runs only if listed.

    Args:
        l2: see :class:`~ssl_bench.evaluation.protocols.linear_probe.LinearProbe`, whose defaults are the same.
        max_iter: see `LinearProbe`.
        t: indices of the noise, see :class:`~ssl_bench.methods.ddpm.DDPM`.

    Example:
        ``ssl-bench evaluate runs/ddpm-digits-s0-HASH --evaluation.protocols [noise_probe]``
    """

    t: tuple[NonNegativeInt, ...] = (0, 11, 50, 100, 200)
    name: ClassVar[str] = "noise_probe"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.t or len(set(self.t)) < len(self.t):
            raise UserError(f"noise_probe: t must be one or more different numbers, got {list(self.t)}")

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Never: every t takes one more pass over all images."""
        return False

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """Accuracies in percent on test, for each target.

        ``noise_probe/accuracy`` is that of the chosen pair, ``noise_probe/t`` and ``noise_probe/layer``;
        ``noise_probe_<t>_<l>/accuracy`` are those of all pairs, of layers l = 1, 2, ....

        Raises:
            UserError: the encoder does not encode noisy images, or has fewer steps of noise.
        """
        if not task.noisy:
            raise UserError("noise_probe: the encoder is no diffusion model; use layer_probe or linear_probe")
        if not all(task.noisy.values()):
            raise UserError(f"noise_probe: t {max(self.t)}: give indices below the number of steps of the model")
        found = {
            (t, number): self.choose(layer)
            for t, layers in task.noisy.items()
            for number, layer in enumerate(layers, 1)
        }
        metrics = []
        for target in range(task.num_targets):
            t, number = max(found, key=lambda pair: found[pair][target].validation)
            metrics.append(
                {
                    "noise_probe/accuracy": found[t, number][target].accuracy,
                    "noise_probe/t": float(t),
                    "noise_probe/layer": float(number),
                }
                | {f"noise_probe_{t}_{number}/accuracy": one[target].accuracy for (t, number), one in found.items()}
            )
        return metrics
