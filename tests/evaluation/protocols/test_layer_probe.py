"""The linear probe of every layer: each score is that of `linear_probe` on the layer's features."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Target
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import by_columns
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.runs.score import evaluated_encoder
from tests.evaluation.digits_encoder import digits_encoder

WIDTHS = [3, 21, 40]
CPU = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path: Path) -> EvaluatedEncoder:
    """Pixels of digits, of the first rows, of the next and of the last ones."""
    whole = digits_encoder(tmp_path)
    return replace(whole, layers=by_columns(whole.features, WIDTHS))


def test_every_layer_has_the_score_of_linear_probe_on_its_features(encoder: EvaluatedEncoder) -> None:
    found = Evaluation(protocols=("layer_probe",))(encoder).metrics
    assert list(found) == [f"layer_probe_{number}/accuracy" for number in (1, 2, 3)]
    for value, layer in zip(found.values(), encoder.layers, strict=True):
        alone = Evaluation(protocols=("linear_probe",))(replace(encoder, features=layer, layers=()))
        assert value == alone.metrics["linear_probe/accuracy"]
    assert len(set(found.values())) == 3


def test_settings_are_those_of_linear_probe(encoder: EvaluatedEncoder) -> None:
    weak = Evaluation(protocols=("layer_probe",), linear_probe=LinearProbe(l2=(1e3,)))
    last = replace(encoder, features=encoder.layers[-1])
    expected = replace(weak, protocols=("linear_probe",))(last)
    found = weak(encoder)
    assert found.metrics["layer_probe_3/accuracy"] == expected.metrics["linear_probe/accuracy"]
    assert found.sources != Evaluation(protocols=("layer_probe",))(encoder).sources


def test_every_layer_has_metrics_of_targets_and_a_mean(encoder: EvaluatedEncoder) -> None:
    def two(name: str) -> Target:
        return Target(name, ("no", "yes"))

    def labelled(labels: torch.Tensor) -> torch.Tensor:
        return torch.stack([labels % 2, (labels > 4).long()], 1)

    parts = [part._replace(labels=labelled(part.labels)) for part in encoder.features[:3]]
    features = encoder.features._replace(
        train=parts[0], validation=parts[1], test=parts[2], targets=(two("odd"), two("high"))
    )
    many = replace(encoder, features=features, layers=by_columns(features, WIDTHS))
    found = Evaluation(protocols=("layer_probe",))(many).metrics
    for number, layer in enumerate(many.layers, 1):
        alone = Evaluation(protocols=("linear_probe",))(replace(many, features=layer, layers=())).metrics
        for name in ("", "_odd", "_high"):
            assert found[f"layer_probe_{number}/accuracy{name}"] == alone[f"linear_probe/accuracy{name}"]


def test_it_runs_by_default_if_there_are_layers_and_fails_without(encoder: EvaluatedEncoder) -> None:
    without = replace(encoder, layers=())
    assert "layer_probe" in Evaluation().chosen(encoder)
    assert "layer_probe" not in Evaluation().chosen(without)
    failed = Evaluation(protocols=("layer_probe",))(without).failed
    assert failed == {
        "layer_probe": "layer_probe: the encoder has no layers beside its features; use linear_probe",
    }


def run_of(method: str, *flags: str) -> tuple[Run, dict[str, object]]:
    config = resolve([*stack(method, "digits", None), *flags])
    run = build(config)
    run.data.setup("fit")
    return run, to_dict(config)


SMALL = (
    "--trainer.precision=32-true", "--method.discriminator.width=4", "--method.generator.width=4", "--method.layer=4",
)  # fmt: skip


def test_layers_are_those_of_the_method_on_every_image(tmp_path: Path) -> None:
    run, config = run_of("ssgan", *SMALL)
    encoder = evaluated_encoder(run, config, tmp_path, CPU)
    for split in ("train", "test"):
        batches = [(batch.ids, run.views.evaluation_input(batch.images)) for batch in run.data.batches(split, 500)]
        with torch.inference_mode():
            layers = [run.method.encode_layers(images) for _, images in batches]  # type: ignore[operator]
        for number, layer in enumerate(encoder.layers):
            for (ids, _), expected in zip(batches, layers, strict=True):
                torch.testing.assert_close(getattr(layer, split).features[ids], expected[number])
    last = encoder.layers[-1].test
    torch.testing.assert_close(last.features, encoder.features.test.features)
    assert torch.equal(last.labels, encoder.features.test.labels)


def test_layers_are_encoded_once_and_only_if_needed(tmp_path: Path) -> None:
    run, config = run_of("ssgan", *SMALL)
    first = evaluated_encoder(run, config, tmp_path, CPU)
    written = [path.stat().st_mtime_ns for path in sorted((tmp_path / "features" / "layers").iterdir())]
    again = evaluated_encoder(run, config, tmp_path, CPU)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "features" / "layers").iterdir())] == written
    assert torch.equal(again.layers[0].train.features, first.layers[0].train.features)
    unwanted = replace(run, evaluation=Evaluation(protocols=("knn",)))
    assert evaluated_encoder(unwanted, config, tmp_path / "other", CPU).layers == ()
    assert not (tmp_path / "other" / "features" / "layers").exists()


def test_a_method_without_layers_has_none(tmp_path: Path) -> None:
    assert evaluated_encoder(*run_of("simvae"), tmp_path, CPU).layers == ()


def test_a_single_layer_does_not_count(tmp_path: Path) -> None:
    run, config = run_of("ssgan", *SMALL)
    run.method.encode_layers = lambda x: [run.method.encode(x)]  # type: ignore[assignment]
    assert evaluated_encoder(run, config, tmp_path, CPU).layers == ()
