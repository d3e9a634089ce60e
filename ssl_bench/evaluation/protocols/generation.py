"""FID, KID and inception score of samples (Heusel et al. 2017, arXiv 1706.08500)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Generator, Tensor

from ssl_bench.data.locate import cache_root
from ssl_bench.data.types import Split
from ssl_bench.distributed import all_reduce_min, gather_rows, rank
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.generative.frechet import Statistics, Sums, frechet_distance, inception_score, kernel_distance
from ssl_bench.evaluation.generative.inception import EXTRACTORS, Extractor
from ssl_bench.evaluation.generative.sampling import sample_images
from ssl_bench.files import write_tensors
from ssl_bench.ranges import Interval, PositiveInt, check_ranges

KEPT = 10_000
"""Number of randomly chosen real images whose features are kept for the random subsets of the kernel distance."""


@check_ranges
@dataclass(frozen=True)
class Generation:
    """Comparison of samples with real images by the features of a fixed network, encoded once for all metrics.

    By default, 10,000 samples are compared with all test images, as in compare_gan and in the paper on self-supervised
    GANs (10,000 test images of CIFAR-10). FID decreases with the number of images, so only scores with the same numbers
    of images are comparable: the same SSGAN on CIFAR-10 has FID 17.6 with 10,000 samples and real images, and 14.7 with
    50,000 of each. Images are rounded to 8 bits, and grey images are repeated to three channels. Real images are not
    augmented and have the image size of the method.

    By default the protocol runs only on a GPU, because 20,000 forward passes on a CPU take half an hour.

    Args:
        extractor: network whose features are compared; see :mod:`ssl_bench.evaluation.generative.inception`.
        weights: path of torch-fidelity's InceptionV3 weights; if None, they are downloaded.
        images: number of samples; at least 10.
        reals: the real images, ``test`` for test or ``train`` for train and validation together.
        batch_size: number of images sampled and encoded at a time. Each batch has its own seed, so that the samples do
            not depend on the number of processes.
        seed: seed of the samples and of the subsets of the kernel distance.
    """

    extractor: Literal["inception", "efficientnet_lite0"] = "inception"
    weights: str | None = None
    images: Annotated[int, Interval(10)] = 10_000
    reals: Literal["test", "train"] = "test"
    batch_size: PositiveInt = 100
    seed: int = 0

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """Whether the method can sample images and the device is a GPU."""
        return encoder.sample is not None and len(encoder.image_shape) == 3 and encoder.device.type == "cuda"

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """``fid``, ``kid``, ``kid_sd``, ``inception_score`` and ``inception_score_sd``.

        The standard deviation of KID is over 100 random subsets of 1,000 images (of all images if there are fewer). The
        standard deviation of the inception score is over 10 parts of the samples. With an extractor other than
        InceptionV3, metric names contain the extractor: ``fd_efficientnet_lite0``, ``kd_efficientnet_lite0``, ...

        Raises:
            UserError: the method cannot sample images in [0, 1], the data are not images of 1 or 3 channels, or the
                extractor is not available.
        """
        return self.scores(encoder, self.extractor_for(encoder))

    def extractor_for(self, encoder: EvaluatedEncoder) -> Extractor:
        """The extractor, on the encoder's device.

        Raises:
            UserError: there are no samples, the data are not images, or the extractor is not available.
        """
        if encoder.sample is None or encoder.images is None:
            raise UserError("generation needs samples and real images; give a run of a generative method")
        if len(encoder.image_shape) != 3 or encoder.image_shape[0] not in (1, 3):
            raise UserError(f"data of shape {encoder.image_shape} are not images (C, H, W) of 1 or 3 channels")
        return EXTRACTORS[self.extractor](Path(self.weights) if self.weights else None, encoder.device)

    def scores(self, encoder: EvaluatedEncoder, extractor: Extractor, *, kernel: bool = True) -> dict[str, float]:
        """Metrics by name, computed with an extractor that is already loaded.

        Args:
            encoder: an encoder whose method can sample images; only the labels of its features are used.
            extractor: extractor from `extractor_for`.
            kernel: whether to compute the kernel distance, which takes as long as encoding 1,000 images.

        Raises:
            UserError: samples are not in [0, 1].
        """
        with torch.no_grad():
            real, real_features = self._real_statistics(encoder, extractor)
            fake, fake_features, logits = self._sample_statistics(encoder, extractor)
            distances = {extractor.frechet: frechet_distance(real, fake)}
            if kernel:
                distance, distance_sd = kernel_distance(real_features, fake_features, seed=self.seed)
                distances |= {extractor.kernel: distance, f"{extractor.kernel}_sd": distance_sd}
            score, score_sd = inception_score(logits)
        return distances | {extractor.score: score, f"{extractor.score}_sd": score_sd}

    def _sample_statistics(self, encoder: EvaluatedEncoder, extractor: Extractor) -> tuple[Statistics, Tensor, Tensor]:
        """Statistics, features and logits of all samples, in order, the same in every process."""
        sums = Sums(extractor.dim, encoder.device)
        features = [torch.empty(0, extractor.dim, device=encoder.device)]
        logits = [torch.empty(0, extractor.classes, device=encoder.device)]
        for _, images in sample_images(encoder, self.images, self.batch_size, self.seed):
            x, y = extractor(images)
            sums.add(x)
            features.append(x)
            logits.append(y)
        return sums.statistics(), gather_rows(torch.cat(features)), gather_rows(torch.cat(logits))

    def _real_statistics(self, encoder: EvaluatedEncoder, extractor: Extractor) -> tuple[Statistics, Tensor]:
        """Statistics of the real images and the features of up to `KEPT` of them; cached on disk."""
        assert encoder.images is not None
        splits: tuple[Split, ...] = ("test",) if self.reals == "test" else ("train", "validation")
        labels = [getattr(encoder.features, split).labels for split in splits]
        digest = hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in labels)).hexdigest()[:8]
        path = cache_root() / "statistics" / f"{encoder.data}-{self.reals}-{digest}-{extractor.name}.safetensors"
        cached = _read(path, encoder.device) if encoder.data else None
        if all_reduce_min(torch.tensor(float(cached is not None), device=encoder.device)).item() and cached:
            return cached
        count = sum(map(len, labels))
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[torch.randperm(count, generator=Generator().manual_seed(0))[:KEPT]] = True
        sums = Sums(extractor.dim, encoder.device)
        features = [torch.empty(0, extractor.dim, device=encoder.device)]
        positions = [torch.empty(0, dtype=torch.int64)]
        start = 0
        for split, part in zip(splits, labels, strict=True):
            for batch in encoder.images(split):
                sizes = batch.images.split(self.batch_size), batch.ids.cpu().split(self.batch_size)
                for images, ids in zip(*sizes, strict=True):
                    x, _ = extractor(images)
                    sums.add(x)
                    here = chosen[start + ids]
                    features.append(x[here.to(x.device)])
                    positions.append(start + ids[here])
            start += len(part)
        order = gather_rows(torch.cat(positions).to(encoder.device)).argsort()
        statistics, kept = sums.statistics(), gather_rows(torch.cat(features))[order]
        if encoder.data and rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            number, mean, covariance = statistics
            tensors = {"number": torch.tensor(number), "mean": mean, "covariance": covariance, "features": kept}
            write_tensors(path, tensors)
        return statistics, kept


def _read(path: Path, device: torch.device) -> tuple[Statistics, Tensor] | None:
    """Statistics and features cached in a file; None if the file is missing or damaged."""
    try:
        tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        statistics = Statistics(int(tensors["number"]), tensors["mean"], tensors["covariance"])
        return statistics, tensors["features"]
    except (OSError, KeyError, SafetensorError):
        return None
