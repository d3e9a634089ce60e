"""Samples compared with real images by a small fixed network instead of InceptionV3."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.generative.inception import EXTRACTORS, Extractor
from ssl_bench.evaluation.protocols import generation
from ssl_bench.evaluation.protocols.generation import Generation
from tests.evaluation.digits_encoder import digits_encoder
from tests.ranks import Ranks


class Pixels:
    """Extractor whose features are random projections of the pixels; counts its images."""

    def __init__(self) -> None:
        self.seen = 0
        self.projections = torch.randn(192, 12, generator=Generator().manual_seed(0))

    def __call__(self, weights: Path | None, device: torch.device) -> Extractor:
        return Extractor("pixels", "fd_pixels", "kd_pixels", "inception_score_pixels", 12, 12, self.network)

    def network(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(images)
        features = images.flatten(1).float() / 255 @ self.projections
        return features, features


def noisy_test_images(n: int, generator: Generator) -> Tensor:
    """Test images with noise."""
    images = TEST[torch.randint(len(TEST), (n,), generator=generator)]
    return (images + 0.3 * torch.randn(images.shape, generator=generator)).clamp(0, 1)


TEST = digits_encoder(Path()).features.test.features.view(-1, 1, 8, 8)


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pixels:
    extractor = Pixels()
    monkeypatch.setitem(EXTRACTORS, "inception", extractor)
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    return extractor


@pytest.fixture
def encoder(tmp_path: Path) -> EvaluatedEncoder:
    return digits_encoder(tmp_path, sample=noisy_test_images)


def test_the_distance_of_real_images_to_themselves_is_zero(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    calls = iter(range(100))

    def real(n: int, generator: Generator) -> Tensor:
        i = next(calls) * 50
        return TEST[i : i + n]

    metrics = Generation(images=300, batch_size=50)(replace(encoder, sample=real))
    noisy = Generation(images=300, batch_size=50)(encoder)
    assert abs(metrics["fd_pixels"]) < 1e-9 * noisy["fd_pixels"]
    assert metrics["kd_pixels"] < 0 < noisy["kd_pixels"]  # below 0, as each image is compared with itself
    assert metrics["inception_score_pixels"] > 1


def test_names_of_metrics_contain_the_extractor(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    metrics = Generation(images=120)(encoder)
    assert list(metrics) == [
        "fd_pixels",
        "kd_pixels",
        "kd_pixels_sd",
        "inception_score_pixels",
        "inception_score_pixels_sd",
    ]
    assert metrics["fd_pixels"] > 1


def test_samples_are_encoded_once_and_real_statistics_are_cached(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    protocol = Generation(images=120, batch_size=50)
    first = protocol(encoder)
    assert pixels.seen == 120 + 300
    assert protocol(encoder) == first
    assert pixels.seen == 120 + 300 + 120


def test_the_cache_depends_on_reals_data_and_labels(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    features = encoder.features
    relabelled = features._replace(test=features.test._replace(labels=1 - features.test.labels))
    protocol = Generation(images=50)
    for other in encoder, replace(encoder, data="others"), replace(encoder, features=relabelled):
        before = pixels.seen
        protocol(other)
        assert pixels.seen - before == 50 + 300
    before = pixels.seen
    replace(protocol, reals="train")(encoder)
    assert pixels.seen - before == 50 + 700  # train and validation


def test_features_of_both_splits_are_kept_for_the_kernel_distance(
    pixels: Pixels, encoder: EvaluatedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "KEPT", 60)
    Generation(images=50, reals="train")(encoder)
    [path] = (tmp_path / "cache" / "statistics").iterdir()
    tensors = load_file(path)
    parts = encoder.features.train, encoder.features.validation
    every, _ = pixels(None, encoder.device)(torch.cat([part.features for part in parts]).view(-1, 1, 8, 8))
    expected = every[torch.randperm(700, generator=Generator().manual_seed(0))[:60].sort().values]
    assert torch.equal(tensors["features"], expected)
    torch.testing.assert_close(tensors["mean"], every.double().mean(0))


def test_a_damaged_cache_is_recomputed(pixels: Pixels, encoder: EvaluatedEncoder, tmp_path: Path) -> None:
    protocol = Generation(images=50)
    first = protocol(encoder)
    [path] = (tmp_path / "cache" / "statistics").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert protocol(encoder) == first


def test_fewer_images_than_dimensions_still_have_a_distance(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    assert Generation(images=10)(encoder)["fd_pixels"] > 0


def test_samples_depend_on_the_seed(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    found = [Generation(images=100, seed=seed)(encoder)["fd_pixels"] for seed in (0, 1, 2**32)]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda x: x.where(x != x.amax(), torch.nan), id="NaN"),
        pytest.param(lambda x: 2 * x - 1, id="in [-1, 1]"),
        pytest.param(lambda x: x.repeat(1, 1, 2, 2), id="other size"),
    ],
)
def test_invalid_samples_are_refused(
    pixels: Pixels, encoder: EvaluatedEncoder, wrong: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(UserError, match=r"sample\(n\) must give n images of shape \(1, 8, 8\), finite and in \[0, 1\]"):
        Generation(images=50)(replace(encoder, sample=lambda n, generator: wrong(noisy_test_images(n, generator))))


def test_encoders_without_samples_or_images_are_refused(pixels: Pixels, encoder: EvaluatedEncoder) -> None:
    with pytest.raises(UserError, match="generation needs samples and real images"):
        Generation()(replace(encoder, sample=None))
    with pytest.raises(UserError, match=r"data of shape \(2,\) are not images"):
        Generation()(replace(encoder, image_shape=(2,)))


def test_it_runs_by_default_only_on_a_gpu(encoder: EvaluatedEncoder) -> None:
    gpu = replace(encoder, device=torch.device("cuda"))
    assert Generation().runs_by_default(gpu)
    assert not Generation().runs_by_default(encoder)
    assert not Generation().runs_by_default(replace(gpu, sample=None))
    assert not Generation().runs_by_default(replace(gpu, image_shape=(2,)))


def metrics(folder: Path) -> dict[str, float]:
    EXTRACTORS["inception"] = Pixels()
    # No cache; 3 batches, so that of 4 processes one has no batch.
    return Generation(images=120, batch_size=40)(digits_encoder(folder, sample=noisy_test_images, data=""))


def test_metrics_do_not_depend_on_the_number_of_processes(pixels: Pixels, ranks: Ranks, tmp_path: Path) -> None:
    expected = metrics(tmp_path)
    for size in (2, 4):
        for found in ranks(metrics, tmp_path, size=size):
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
