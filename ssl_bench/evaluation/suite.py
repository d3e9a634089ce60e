"""Evaluation: run the protocols on every target of one encoder and collect the metrics."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ssl_bench.config.identity import settings_hash
from ssl_bench.data.types import Target
from ssl_bench.distributed import rank, world_size
from ssl_bench.errors import RunError, UserError
from ssl_bench.evaluation import LABELLED, PROTOCOLS, VERSIONS
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features
from ssl_bench.evaluation.notes import collect_notes
from ssl_bench.evaluation.protocol_names import check_protocols
from ssl_bench.evaluation.protocols.generation import Generation
from ssl_bench.evaluation.protocols.gmm import GMM
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.protocols.layer_probe import LayerProbe
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.linear_probe_sgd import LinearProbeSGD
from ssl_bench.evaluation.protocols.maps import Maps
from ssl_bench.evaluation.protocols.memorisation import Memorisation
from ssl_bench.evaluation.protocols.mlp_probe import MLPProbe
from ssl_bench.evaluation.protocols.noise_probe import NoiseProbe
from ssl_bench.evaluation.protocols.posthoc_reconstruction import PosthocReconstruction
from ssl_bench.evaluation.protocols.rank import Rank
from ssl_bench.evaluation.protocols.reconstruction import Reconstruction
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task_groups import TaskGroup, task_groups
from ssl_bench.ranges import NonNegativeInt, check_ranges

NO_TARGET = "no target has two classes in train and in test and a label in validation"


class Result(NamedTuple):
    """Metrics of one encoder.

    Attributes:
        metrics: metrics by name. With one target, names are ``<protocol>/<metric>``. With several targets, they are
            ``<protocol>/<metric>_<target>``, and ``<protocol>/accuracy`` for the mean over targets with two classes.
        sources: for each metric, the protocol with its version and the hash of its settings: ``knn v1 1a2b3c4d``.
        seconds: wall time of each protocol, over all targets.
        failed: for each protocol that failed, the reason in one line; failed protocols have no metrics.
        notes: for each protocol that has some, its notes in one line, see `ProtocolNote`.
        skipped_targets: targets without metrics, because fewer than two of their classes occur in train or in test, or
            no validation image has a label.
    """

    metrics: dict[str, float]
    sources: dict[str, str]
    seconds: dict[str, float]
    failed: dict[str, str]
    notes: dict[str, str]
    skipped_targets: tuple[str, ...]


@check_ranges
@dataclass(frozen=True)
class Evaluation:
    """Runs the chosen protocols one after the other.

    If a protocol fails, the reason is recorded and the remaining protocols run. A full disk ends the run. With several
    processes only usage errors are recorded; any other error ends the run.

    Args:
        protocols: names of the protocols to run; default all that apply to the encoder, except those that run only if
            listed.
        passes: number of augmented passes, in which all images are encoded with augmentation, for the metric
            ``rank/alignment``. If `linear_probe_sgd` runs and needs more passes, its number is used.
        augmentation: recipe of the augmented passes.
        linear_probe: settings of the linear probe, also used by `layer_probe`.
        noise_probe: settings of the linear probe on layers of a diffusion model with noise. The protocol runs only if
            listed in `protocols`.
        linear_probe_sgd: settings of the linear probe trained by SGD for a fixed number of epochs, as is usual in
            papers. The protocol runs only if listed in `protocols`.
        svm: settings of the support vector machine.
        mlp_probe: settings of the MLP probe.
        knn: settings of the nearest-neighbour classifier.
        kmeans: settings of k-means.
        gmm: settings of the Gaussian mixture.
        posthoc_reconstruction: settings of the decoder trained on frozen features. The protocol runs only if listed in
            `protocols`.
        generation: settings of FID, KID and inception score, for generative methods. On a CPU the protocol runs only if
            listed in `protocols`.
        memorisation: settings of the distances from samples to training images.
        maps: settings of the plots.
    """

    protocols: tuple[str, ...] | None = None
    passes: NonNegativeInt = 0
    augmentation: str = "probe"
    linear_probe: LinearProbe = field(default_factory=LinearProbe)
    layer_probe: LayerProbe = field(init=False)
    noise_probe: NoiseProbe = field(default_factory=NoiseProbe)
    linear_probe_sgd: LinearProbeSGD = field(default_factory=LinearProbeSGD)
    svm: SVM = field(default_factory=SVM)
    mlp_probe: MLPProbe = field(default_factory=MLPProbe)
    knn: KNN = field(default_factory=KNN)
    kmeans: KMeans = field(default_factory=KMeans)
    gmm: GMM = field(default_factory=GMM)
    rank: Rank = field(default_factory=Rank, init=False)  # no settings
    reconstruction: Reconstruction = field(default_factory=Reconstruction, init=False)  # no settings
    posthoc_reconstruction: PosthocReconstruction = field(default_factory=PosthocReconstruction)
    generation: Generation = field(default_factory=Generation)
    memorisation: Memorisation = field(default_factory=Memorisation)
    maps: Maps = field(default_factory=Maps)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_probe", LayerProbe(self.linear_probe))
        check_protocols(self.protocols or ())

    def chosen(self, encoder: EvaluatedEncoder) -> list[str]:
        """Names of the protocols that run on this encoder."""
        if self.protocols is not None:
            return list(self.protocols)
        return [name for name in PROTOCOLS if getattr(getattr(self, name), "runs_by_default", lambda _: True)(encoder)]

    @property
    def augmented_passes(self) -> int:
        """Number of augmented passes that the chosen protocols need."""
        return max(self.passes, self.linear_probe_sgd.passes if "linear_probe_sgd" in (self.protocols or ()) else 0)

    @property
    def layers(self) -> bool:
        """Whether the chosen protocols need the features of layers."""
        return self.protocols is None or "layer_probe" in self.protocols

    @property
    def noise(self) -> tuple[int, ...]:
        """Indices of the noise at which the chosen protocols need the features of layers."""
        return self.noise_probe.t if "noise_probe" in (self.protocols or ()) else ()

    def __call__(self, encoder: EvaluatedEncoder) -> Result:
        """Run the protocols on all targets. All processes of a group call it and get the same result."""
        groups, skipped = task_groups(encoder)
        result = Result({}, {}, {}, {}, {}, skipped)
        # With several processes, an error in one of them, such as running out of memory, must end that process, because
        # the others wait for its part of a sum.
        recorded = UserError if world_size() > 1 else Exception
        for name in self.chosen(encoder):
            start = time.perf_counter()
            show(f"{name} ")
            try:
                with collect_notes() as notes:
                    metrics = self._run(name, encoder, groups, skipped)
                if notes:
                    result.notes[name] = "; ".join(notes)
                result.metrics.update(metrics)
                source = f"{name} v{VERSIONS[name]} {settings_hash(getattr(self, name))}"
                result.sources.update(dict.fromkeys(metrics, source))
            except RunError:
                raise
            except recorded as error:
                result.failed[name] = (str(error) or type(error).__name__).splitlines()[0]
            result.seconds[name] = time.perf_counter() - start
            failed = f"  failed: {result.failed[name]}" if name in result.failed else ""
            show(f" {result.seconds[name]:.1f} s{failed}\n")
        return result

    def scores(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Metrics of the chosen protocols, in silence and without the rest of a `Result`.

        Raises:
            UserError: a protocol failed.
        """
        groups, skipped = task_groups(encoder)
        metrics: dict[str, float] = {}
        with collect_notes():
            for name in self.chosen(encoder):
                metrics |= self._run(name, encoder, groups, skipped)
        return metrics

    def _run(
        self, name: str, encoder: EvaluatedEncoder, groups: list[TaskGroup], skipped: tuple[str, ...]
    ) -> dict[str, float]:
        """Metrics of one protocol, over all targets."""
        protocol = getattr(self, name)
        if name in (*LABELLED, "maps"):
            _check_not_collapsed(encoder.features)
        if name == "maps":  # plots what these protocols score
            return self.maps(encoder, groups, self.kmeans, self.knn)
        if name not in LABELLED:
            metrics: dict[str, float] = protocol(encoder)
            return metrics
        if not groups:
            raise UserError(f"{NO_TARGET}: {', '.join(skipped)}")
        by_target = {
            target: metrics for targets, task in groups for target, metrics in zip(targets, protocol(task), strict=True)
        }
        single = len(encoder.features.targets) == 1
        return next(iter(by_target.values()), {}) if single else _join_targets(by_target)


def show(text: str) -> None:
    """Print a part of a line at once, on the first rank only."""
    if rank() == 0:
        print(text, end="", flush=True)


def _check_not_collapsed(features: Features) -> None:
    rows = Rows.of(features.train, torch.device("cpu")).exact()
    first = rows.take(slice(1))
    if all(torch.equal(first.expand_as(part), part) for part in map(rows.take, rows.slices())):
        raise UserError(f"the features of all {len(rows)} training images are the same: the encoder has collapsed")


def _join_targets(by_target: dict[Target, dict[str, float]]) -> dict[str, float]:
    """Metrics of every target as ``<metric>_<target>``, and mean accuracies over the targets with two classes.

    An accuracy that some of these targets lack has no mean.
    """
    metrics = {f"{key}_{target.name}": value for target, one in by_target.items() for key, value in one.items()}
    binary = [one for target, one in by_target.items() if len(target.classes) == 2]
    means = {
        key: sum(one[key] for one in binary) / len(binary)
        for key in (binary[0] if binary else ())
        if key.endswith("/accuracy") and all(key in one for one in binary)
    }
    return means | metrics
