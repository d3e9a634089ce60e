"""Every protocol on every target: one table of figures for one encoder."""

import time
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_bench.config.identity import settings_hash
from ssl_bench.data.types import Target
from ssl_bench.distributed import world_size
from ssl_bench.errors import UserError
from ssl_bench.evaluation import LABELLED, PROTOCOLS
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features
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
from ssl_bench.evaluation.protocols.posthoc_reconstruction import PosthocReconstruction
from ssl_bench.evaluation.protocols.rank import Rank
from ssl_bench.evaluation.protocols.reconstruction import Reconstruction
from ssl_bench.evaluation.protocols.svm import SVM
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

NOTHING = "no target has two classes in train and in test and a label in validation"
RESIDENT_SHARE = 0.5
"""Of the free memory of a GPU: features that take more are read from their file block by block."""


class Result(NamedTuple):
    """What the protocols found.

    Attributes:
        sources: of each figure, the protocol and a hash of its settings: ``knn 1a2b3c4d``.
        metrics: figures by name. ``<protocol>/<figure>`` for data with one target; with more,
            ``<protocol>/<figure>_<target>`` for each, and ``<protocol>/accuracy`` the mean over the two-class ones.
        seconds: wall time of each protocol, over all targets.
        failed: one-line reason of each protocol that failed; it has no metrics.
        left_out: targets that nothing can be learned or tested about, and that are in no metric: under two classes
            occur in train or in test, or none in validation.
    """

    metrics: dict[str, float]
    sources: dict[str, str]
    seconds: dict[str, float]
    failed: dict[str, str]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Scores features by the chosen protocols, one after the other; one that fails does not stop the rest.

    Args:
        protocols: names of the protocols to run; None for all that apply and are not a single paper's.
        passes: augmented passes over all images to encode, for `rank`'s alignment; those that `linear_probe_sgd` asks
            for are encoded in any case.
        augmentation: recipe of the augmented passes.
        linear_probe: settings of the linear probe, and of `layer_probe`'s.
        linear_probe_sgd: settings of the linear probe trained as papers do it; only when chosen.
        svm: settings of the support vector machine.
        mlp_probe: settings of the MLP probe.
        knn: settings of the nearest-neighbour classifier.
        kmeans: settings of k-means.
        gmm: settings of the Gaussian mixture.
        posthoc_reconstruction: settings of a decoder trained on frozen features; only when chosen.
        generation: settings of FID, KID and inception score, of generative methods; on a CPU only when chosen.
        memorisation: settings of the distances from generated to training images.
        maps: settings of the pictures.
    """

    protocols: tuple[str, ...] | None = None
    passes: int = 0
    augmentation: str = "probe"
    linear_probe: LinearProbe = field(default_factory=LinearProbe)
    layer_probe: LayerProbe = field(init=False)
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
        for name in self.protocols or ():
            if name not in PROTOCOLS:
                near = get_close_matches(name, PROTOCOLS, n=3, cutoff=0) or list(PROTOCOLS)
                near = ["generation"] if name in ("fid", "kid", "inception_score") else near
                raise UserError(f"evaluation.protocols: no protocol {name!r}; nearest: {', '.join(near)}")

    def chosen(self, encoder: EvaluatedEncoder) -> list[str]:
        """Names of the protocols that a call runs."""
        if self.protocols is not None:
            return list(self.protocols)
        return [name for name in PROTOCOLS if getattr(getattr(self, name), "applies", lambda _: True)(encoder)]

    @property
    def augmented_passes(self) -> int:
        """How many augmented passes the chosen protocols need."""
        return max(self.passes, self.linear_probe_sgd.passes if "linear_probe_sgd" in (self.protocols or ()) else 0)

    @property
    def layers(self) -> bool:
        """Whether layers are to be encoded, where the encoder has some."""
        return self.protocols is None or "layer_probe" in self.protocols

    def __call__(self, encoder: EvaluatedEncoder) -> Result:
        """Run the protocols on all targets. Called in every process of a group, it returns the same in each."""
        groups, left_out = tasks(encoder)
        single = len(encoder.features.targets) == 1
        metrics: dict[str, float] = {}
        sources: dict[str, str] = {}
        seconds: dict[str, float] = {}
        failed: dict[str, str] = {}
        # A reason that only one process has, running out of memory say, must end it: the others wait for its sums.
        recorded = UserError if world_size() > 1 else Exception
        for name in self.chosen(encoder):
            start = time.perf_counter()
            try:
                protocol = getattr(self, name)
                if name in (*LABELLED, "maps"):
                    _check(encoder.features)
                if name in LABELLED:
                    if not groups:
                        raise UserError(f"{NOTHING}: {', '.join(left_out)}")
                    found = {t: one for ts, task in groups for t, one in zip(ts, protocol(task), strict=True)}
                    figures = next(iter(found.values()), {}) if single else _by_target(found)
                else:
                    figures = protocol(encoder)
                settings = settings_hash(protocol)
                metrics |= figures
                sources |= dict.fromkeys(figures, f"{name} {settings}")
            except recorded as error:
                failed[name] = (str(error) or type(error).__name__).splitlines()[0]
            seconds[name] = time.perf_counter() - start
        return Result(metrics, sources, seconds, failed, left_out)


def _check(features: Features) -> None:
    x = features.train.features
    if all(torch.equal(x[:1].expand_as(part), part) for part in x.split(4096)):
        raise UserError(f"the features of all {len(x)} training images are the same: the encoder has collapsed")


def _by_target(found: dict[Target, dict[str, float]]) -> dict[str, float]:
    """Every target's figures under its name, and the mean accuracies of the two-class targets."""
    metrics = {f"{key}_{target.name}": value for target, one in found.items() for key, value in one.items()}
    binary = [one for target, one in found.items() if len(target.classes) == 2]
    means = {
        key: sum(one[key] for one in binary) / len(binary)
        for key in (binary[0] if binary else ())
        if key.endswith("/accuracy")
    }
    return means | metrics


def _occurring(labels: Tensor) -> int:
    return int(torch.bincount(labels).count_nonzero())


class _Alike(NamedTuple):
    labelled: list[Tensor]  # of each split, bool (N,): the images that have a label
    targets: list[Target]
    labels: list[list[Tensor]]  # of each target and split, of the labelled images


def tasks(encoder: EvaluatedEncoder) -> tuple[list[tuple[list[Target], Task]], tuple[str, ...]]:
    """Targets that are alike (classes, images with a label) with their task, and the names of targets left out."""
    features, device = encoder.features, encoder.device
    alike: list[_Alike] = []
    left_out = []
    for column, target in enumerate(features.targets):
        every = [split.labels.reshape(len(split.labels), -1)[:, column] for split in features[:3]]
        labelled = [labels >= 0 for labels in every]
        train, validation, test = labels = [one[rows] for one, rows in zip(every, labelled, strict=True)]
        if _occurring(train) < 2 or _occurring(test) < 2 or not len(validation):
            left_out.append(target.name)
            continue
        for group in alike:
            same_size = len(group.targets[0].classes) == len(target.classes)
            if same_size and all(map(torch.equal, group.labelled, labelled)):
                break
        else:
            alike.append(group := _Alike(labelled, [], []))
        group.targets.append(target)
        group.labels.append(labels)
    splits, *others = (_on_device(one, device) for one in (features, *encoder.augmented, *encoder.layers))
    augmented, layers = others[: len(encoder.augmented)], others[len(encoder.augmented) :]
    shared: dict[str, dict[str, object]] = {}  # by the images, so that targets with other classes use it too
    result = []
    for labelled, targets, columns in alike:
        y = [torch.stack(part, 1).to(device) for part in zip(*columns, strict=True)]

        def rows(split: int, source: tuple[Tensor, ...], y: list[Tensor] = y, known: list[Tensor] = labelled) -> Rows:
            index = None if known[split].all() else known[split].nonzero().squeeze(1).to(source[split].device)
            return Rows(source[split], y[split], device, index)

        images = str([part.numpy().tobytes() for part in labelled])
        task, *by_layer = (
            Task(
                rows(0, source),
                rows(1, source),
                rows(2, source),
                len(targets[0].classes),
                shared.setdefault(f"{number} {images}", {}),
            )
            for number, source in enumerate((splits, *layers))
        )
        passes = tuple((rows(0, one), rows(1, one)) for one in augmented)
        result.append((targets, replace(task, augmented=passes, layers=tuple(by_layer))))
    return result, tuple(left_out)


def _on_device(features: Features, device: torch.device) -> tuple[Tensor, ...]:
    """Features of the splits, on a GPU where they fit and else where they are."""
    splits = tuple(split.features for split in features[:3])
    if device.type == "cuda":
        fits = sum(x.nbytes for x in splits) <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return tuple(x.to(device) for x in splits) if fits else splits
    return splits
