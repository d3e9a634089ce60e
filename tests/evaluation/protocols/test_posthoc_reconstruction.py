"""A decoder trained on frozen features reconstructs only what they contain."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.protocols.posthoc_reconstruction import PosthocReconstruction
from ssl_bench.networks.mlp import MLPDecoder
from ssl_bench.networks.simvae import TransposedDecoder
from tests.evaluation.digits_encoder import digits_encoder
from tests.ranks import Ranks

MSE = "posthoc_reconstruction/mse"


def mean_image_error(encoder: EvaluatedEncoder) -> float:
    """Error of the mean training image, which ignores the features."""
    train, test = encoder.features.train.features, encoder.features.test.features
    return float((test - train.mean(0)).square().mean())


def test_pixels_are_reconstructed_and_noise_is_not(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    protocol = PosthocReconstruction(epochs=5, batch_size=32)
    baseline = mean_image_error(encoder)
    assert protocol(encoder)[MSE] < 0.35 * baseline
    generator = torch.Generator().manual_seed(0)
    parts = [part._replace(features=torch.randn(part.features.shape, generator=generator)) for part in splits(encoder)]
    noise = encoder.features._replace(train=parts[0], test=parts[2])
    assert protocol(replace(encoder, features=noise))[MSE] > 0.9 * baseline


def splits(encoder: EvaluatedEncoder) -> list[FeatureSplit]:
    return [encoder.features.train, encoder.features.validation, encoder.features.test]


def test_the_scale_of_features_does_not_matter(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    parts = [part._replace(features=part.features * 1e3 + 50) for part in splits(encoder)]
    scaled = replace(encoder, features=encoder.features._replace(train=parts[0], test=parts[2]))
    protocol = PosthocReconstruction(images=300, epochs=2, batch_size=32)
    assert protocol(scaled)[MSE] == pytest.approx(protocol(encoder)[MSE], rel=0.05)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100], ids=["1e-30", "1e30"])
def test_variances_outside_the_range_of_float32_do_not_matter(scale: float, tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    parts = [part._replace(features=part.features * scale) for part in splits(encoder)]
    scaled = replace(encoder, features=encoder.features._replace(train=parts[0], test=parts[2]))
    protocol = PosthocReconstruction(images=100, epochs=1, batch_size=32)
    assert protocol(scaled) == protocol(encoder)


@pytest.mark.parametrize(
    ("decoder", "shape", "kind"),
    [
        (None, (3, 32, 32), TransposedDecoder),
        (None, (1, 28, 28), MLPDecoder),
        (None, (3, 32, 48), MLPDecoder),
        ("mlp", (3, 32, 32), MLPDecoder),
        ("transposed", (1, 16, 16), TransposedDecoder),
    ],
)
def test_the_decoder_is_that_of_the_vaes(decoder: str | None, shape: tuple[int, ...], kind: type) -> None:
    network = PosthocReconstruction(decoder=decoder)._network(8, shape)  # type: ignore[arg-type]
    assert any(isinstance(module, kind) for module in network.children())
    assert network.eval()(torch.randn(2, 8)).shape == (2, *shape)


def test_global_random_state_is_not_changed(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    protocol = PosthocReconstruction(images=100, epochs=1)
    first = protocol(digits_encoder(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert protocol(digits_encoder(tmp_path)) == first


def test_it_does_not_run_by_default_and_needs_images(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    assert not PosthocReconstruction().runs_by_default(encoder)
    with pytest.raises(UserError, match=r"needs images \(C, H, W\); the data have shape \(2,\)"):
        PosthocReconstruction()(replace(encoder, image_shape=(2,)))
    with pytest.raises(UserError, match="multiple of 16"):
        PosthocReconstruction(decoder="transposed")(encoder)


def metrics(folder: Path) -> dict[str, float]:
    return PosthocReconstruction(images=333, epochs=2)(digits_encoder(folder))


def test_metrics_do_not_depend_on_the_number_of_processes(ranks: Ranks, tmp_path: Path) -> None:
    expected = metrics(tmp_path)
    for found in ranks(metrics, tmp_path, size=3):
        assert found == pytest.approx(expected, rel=1e-5)
