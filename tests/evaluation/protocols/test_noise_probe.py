"""The probe of diffusion models: layer and noise are chosen on validation, and scored on test."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, by_columns
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.noise_probe import NoiseProbe
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.runs.score import evaluated_encoder
from ssl_bench.runs.trial import try_noise
from tests.evaluation.digits_encoder import digits_encoder

L2 = (1e-3, 1e-1)
PROBE = Evaluation(protocols=("noise_probe",), linear_probe=LinearProbe(l2=L2), noise_probe=NoiseProbe(l2=L2))


def with_noise(encoder: EvaluatedEncoder, noisy: dict[int, Features]) -> EvaluatedEncoder:
    return replace(encoder, noisy={t: by_columns(features, [24, 40]) for t, features in noisy.items()})


def rows_shuffled(features: Features, split: str) -> Features:
    """Features whose rows in a split belong to other images."""
    part = getattr(features, split)
    return features._replace(**{split: part._replace(features=part.features[torch.randperm(len(part.labels))])})


def test_every_pair_has_the_score_of_linear_probe_on_its_features(tmp_path: Path) -> None:
    pixels = digits_encoder(tmp_path)
    encoder = replace(pixels, noisy={0: by_columns(pixels.features, [24, 40]), 7: (pixels.features,)})
    found = PROBE(encoder).metrics
    pairs = {(t, number): layer for t, layers in encoder.noisy.items() for number, layer in enumerate(layers, 1)}
    assert list(found)[3:] == [f"noise_probe_{t}_{number}/accuracy" for t, number in pairs]
    for (t, number), layer in pairs.items():
        alone = replace(PROBE, protocols=("linear_probe",))(replace(pixels, features=layer)).metrics
        assert found[f"noise_probe_{t}_{number}/accuracy"] == alone["linear_probe/accuracy"]


def test_the_pair_is_chosen_on_validation_and_not_on_test(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pixels = digits_encoder(tmp_path)
    good_on_test, good_on_validation = (rows_shuffled(pixels.features, split) for split in ("validation", "test"))
    found = PROBE(with_noise(pixels, {3: good_on_test, 5: good_on_validation})).metrics
    assert found["noise_probe/t"] == 5
    chosen = f"noise_probe_5_{found['noise_probe/layer']:.0f}/accuracy"
    assert found["noise_probe/accuracy"] == found[chosen] < 30 < found["noise_probe_3_2/accuracy"]


def test_the_first_pair_is_chosen_if_there_are_ties(tmp_path: Path) -> None:
    pixels = digits_encoder(tmp_path)
    found = PROBE(replace(pixels, noisy=dict.fromkeys((9, 4), (pixels.features, pixels.features)))).metrics
    assert (found["noise_probe/t"], found["noise_probe/layer"]) == (9, 1)


def ddpm(*flags: str) -> tuple[Run, dict[str, object]]:
    small = ["--method.network.width=8", "--method.network.groups=4", "--evaluation.protocols=[noise_probe]"]
    config = resolve([*stack("ddpm", "digits", None), *small, *flags])
    run = build(config)
    run.data.setup("fit")
    return run, to_dict(config)


def test_features_of_each_noise_are_those_of_the_method(tmp_path: Path) -> None:
    run, config = ddpm("--evaluation.noise_probe.t=[0,300]")
    encoder = evaluated_encoder(run, config, tmp_path, torch.device("cpu"))
    assert list(encoder.noisy) == [0, 300]
    (batch,) = run.data.batches("test", 400)
    images = run.views.evaluation_input(batch.images)
    for t, layers in encoder.noisy.items():
        with torch.inference_mode():
            expected = run.method.encode_noisy_layers(images, t)  # type: ignore[operator]
        for layer, features in zip(layers, expected, strict=True):
            torch.testing.assert_close(layer.test.features[batch.ids], features)
    assert not torch.allclose(encoder.noisy[0][0].test.features, encoder.noisy[300][0].test.features)


def test_noise_beyond_the_last_step_is_refused_before_training() -> None:
    run, _ = ddpm("--evaluation.noise_probe.t=[0,1000]")
    with pytest.raises(UserError, match="t 1000: give an index below the number of steps, 1000"):
        try_noise(run)
    try_noise(ddpm("--evaluation.noise_probe.t=[0,999]")[0])


def test_noise_beyond_the_last_step_fails_this_protocol_only(tmp_path: Path) -> None:
    run, config = ddpm("--evaluation.noise_probe.t=[0,1000]", "--evaluation.protocols=[noise_probe,knn]")
    result = run.evaluation(evaluated_encoder(run, config, tmp_path, torch.device("cpu")))
    assert result.failed == {"noise_probe": "noise_probe: t 1000: give indices below the number of steps of the model"}
    assert "knn_5/accuracy" in result.metrics


def test_messages_have_the_name_of_the_protocol(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^noise_probe: l2 must be"):
        NoiseProbe(l2=())
    probe = NoiseProbe(l2=(1e-6,), max_iter=2)
    encoder = with_noise(digits_encoder(tmp_path), {3: digits_encoder(tmp_path).features})
    notes = Evaluation(protocols=("noise_probe",), noise_probe=probe)(encoder).notes["noise_probe"]
    assert notes.startswith("noise_probe: ")


def test_it_runs_only_if_listed_and_fails_without_a_diffusion_model(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    assert "noise_probe" not in Evaluation().chosen(encoder)
    assert PROBE(encoder).failed == {
        "noise_probe": "noise_probe: the encoder is no diffusion model; use layer_probe or linear_probe"
    }


@pytest.mark.parametrize("t", [(), (3, 3)])
def test_levels_of_noise_are_different_numbers(t: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="one or more different numbers"):
        NoiseProbe(t=t)
