"""FID, KID and inception score of generated images (Heusel et al. 2017, arXiv 1706.08500)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ssl_bench.data.cache import cache_root
from ssl_bench.data.types import Split
from ssl_bench.distributed import all_reduce_min, gather_rows, rank
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.generative.frechet import Statistics, Sums, frechet_distance, inception_score, kernel_distance
from ssl_bench.evaluation.generative.inception import EXTRACTORS, Extractor
from ssl_bench.evaluation.generative.sampling import drawn
from ssl_bench.files import replacing

KEPT = 10_000
"""Real images, chosen at random, whose features are kept for the kernel distance, which draws its subsets from them."""


@dataclass(frozen=True)
class Generation:
    """Generated images against real ones; generated once, and their features taken once, for all figures.

    By default 10,000 generated images against all test images, as compare_gan and the self-supervised GAN's paper
    have it (10,000 of CIFAR-10). FID falls as there are more images, so that only figures of the same numbers are
    comparable: one SSGAN on CIFAR-10 has 17.6 by 10,000 of each and 14.7 by 50,000 of each. Images are rounded to 8
    bits and grey ones repeated to three channels; reals are un-augmented, at the size the method sees.

    Figures are `fid`, `kid`, `inception_score` and the latter two's `_sd` (over 100 random subsets of 1,000, or of all
    where there are fewer, and over 10 parts of the generated images). With an extractor that is not InceptionV3 its
    name is in theirs: `fd_efficientnet_lite0`, ...

    Args:
        extractor: network whose features are compared.
        weights: path of torch-fidelity's InceptionV3 weights; none downloads them.
        images: number of generated images.
        reals: the test images, or those of training and validation together.
        batch_size: images generated, and encoded, at once; each batch is drawn with a seed of its own, so that
            which images are drawn does not depend on the number of processes.
        seed: of the generated images and of the subsets.
    """

    extractor: Literal["inception", "efficientnet_lite0"] = "inception"
    weights: str | None = None
    images: int = 10_000
    reals: Literal["test", "train"] = "test"
    batch_size: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 10:
            raise UserError(f"generation.images {self.images}: there must be at least 10, better 10,000")
        if self.batch_size < 1:
            raise UserError(f"generation.batch_size {self.batch_size}: there must be at least 1")

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Where there are generated images, real ones and a GPU: on a CPU the 20,000 passes take half an hour."""
        return encoder.sample is not None and len(encoder.image_shape) == 3 and encoder.device.type == "cuda"

    def __call__(self, encoder: EvaluatedEncoder) -> dict[str, float]:
        """Figures of the generated images.

        Raises:
            UserError: the method draws no images or not in [0, 1], the data are not images of 1 or 3 channels, or the
                extractor cannot be had.
        """
        return self.figures(encoder, self.extractor_for(encoder))

    def extractor_for(self, encoder: EvaluatedEncoder) -> Extractor:
        """The extractor, where the encoder is.

        Raises:
            UserError: the encoder draws no images, the data are not images, or the extractor cannot be had.
        """
        if encoder.sample is None or encoder.images is None:
            raise UserError("there is nothing to compare: the encoder comes without generated or without real images")
        if len(encoder.image_shape) != 3 or encoder.image_shape[0] not in (1, 3):
            raise UserError(f"data of shape {encoder.image_shape} are not images (C, H, W) of 1 or 3 channels")
        return EXTRACTORS[self.extractor](Path(self.weights) if self.weights else None, encoder.device)

    def figures(self, encoder: EvaluatedEncoder, extractor: Extractor, *, kernel: bool = True) -> dict[str, float]:
        """As a call, by an extractor that is there already; of `encoder.features` the labels only are looked at.

        Args:
            encoder: what draws images.
            extractor: what `extractor_for` gave.
            kernel: whether to compute the kernel distance too, which takes as long as the encoding of 1,000 images.

        Raises:
            UserError: images are not in [0, 1].
        """
        with torch.no_grad():
            real, real_features = self._reals(encoder, extractor)
            fake, fake_features, logits = self._fakes(encoder, extractor)
            distances = {extractor.frechet: frechet_distance(real, fake)}
            if kernel:
                distance, distance_sd = kernel_distance(real_features, fake_features, seed=self.seed)
                distances |= {extractor.kernel: distance, f"{extractor.kernel}_sd": distance_sd}
            score, score_sd = inception_score(logits)
        return distances | {extractor.score: score, f"{extractor.score}_sd": score_sd}

    def _fakes(self, encoder: EvaluatedEncoder, extractor: Extractor) -> tuple[Statistics, Tensor, Tensor]:
        """Statistics, features and logits of all generated images, in order, the same in every process."""
        sums = Sums(extractor.dim, encoder.device)
        features = [torch.empty(0, extractor.dim, device=encoder.device)]
        logits = [torch.empty(0, extractor.classes, device=encoder.device)]
        for _, images in drawn(encoder, self.images, self.batch_size, self.seed):
            x, y = extractor(images)
            sums.add(x)
            features.append(x)
            logits.append(y)
        return sums.statistics(), gather_rows(torch.cat(features)), gather_rows(torch.cat(logits))

    def _reals(self, encoder: EvaluatedEncoder, extractor: Extractor) -> tuple[Statistics, Tensor]:
        """Statistics of the real images and the features of up to `KEPT` of them, read where they are cached."""
        assert encoder.images is not None
        splits: tuple[Split, ...] = ("test",) if self.reals == "test" else ("train", "validation")
        labels = [getattr(encoder.features, split).labels for split in splits]
        digest = hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in labels)).hexdigest()[:8]
        path = cache_root() / "statistics" / f"{encoder.data}-{self.reals}-{digest}-{extractor.name}.safetensors"
        kept = _read(path, encoder.device) if encoder.data else None
        if all_reduce_min(torch.tensor(float(kept is not None), device=encoder.device)).item() and kept:
            return kept
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
        statistics, some = sums.statistics(), gather_rows(torch.cat(features))[order]
        if encoder.data and rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            number, mean, covariance = statistics
            tensors = {"number": torch.tensor(number), "mean": mean, "covariance": covariance, "features": some}
            with replacing(path) as temporary:
                save_file({name: tensor.cpu() for name, tensor in tensors.items()}, temporary)
        return statistics, some


def _read(path: Path, device: torch.device) -> tuple[Statistics, Tensor] | None:
    """What is cached there; None where it is missing or damaged."""
    try:
        tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        statistics = Statistics(int(tensors["number"]), tensors["mean"], tensors["covariance"])
        return statistics, tensors["features"]
    except (OSError, KeyError, SafetensorError):
        return None
