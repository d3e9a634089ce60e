"""Errors of reconstructions, against torchmetrics' and by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.evaluation.protocols.reconstruction import Reconstruction
from ssl_bench.runs.score import evaluated_encoder
from tests.evaluation.digits_encoder import digits_encoder, noisy
from tests.evaluation.test_reconstruction_errors import their_ssim
from tests.ranks import Ranks


def test_metrics_are_means_over_images(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path, scale=2, reconstruct=noisy)
    x = encoder.features.test.features.view(-1, 1, 16, 16)
    y = noisy(x)
    errors = [float((a - b).square().mean()) for a, b in zip(x, y, strict=True)]
    assert Reconstruction()(encoder) == pytest.approx(
        {
            "reconstruction/mse": sum(errors) / 300,
            "reconstruction/psnr": sum(10 * math.log10(1 / error) for error in errors) / 300,
            "reconstruction/ssim": float(their_ssim(x, y).mean()),
        },
        rel=1e-5,
    )


def test_perfect_reconstructions(tmp_path: Path) -> None:
    metrics = Reconstruction()(digits_encoder(tmp_path, scale=2, reconstruct=lambda x: x))
    assert metrics == pytest.approx({"reconstruction/mse": 0, "reconstruction/psnr": 100, "reconstruction/ssim": 1})


def test_metrics_of_a_constant_error(tmp_path: Path) -> None:
    metrics = Reconstruction()(digits_encoder(tmp_path, reconstruct=lambda x: x + 0.1))
    assert metrics == pytest.approx({"reconstruction/mse": 0.01, "reconstruction/psnr": 20}, rel=1e-5)  # 8 x 8: no SSIM


def test_points_have_only_a_mean_squared_error(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path, reconstruct=lambda x: 0 * x, image_shape=(64,))
    assert list(Reconstruction()(encoder)) == ["reconstruction/mse"]


@pytest.mark.parametrize(
    ("value", "many"),
    [(math.nan, "300 of 300"), (math.inf, "300 of 300")],
)
def test_reconstructions_that_are_not_finite_are_refused(tmp_path: Path, value: float, many: str) -> None:
    with pytest.raises(UserError, match=f"{many} test images are not finite or not of shape"):
        Reconstruction()(digits_encoder(tmp_path, scale=2, reconstruct=lambda x: x + value))


def test_reconstructions_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"300 of 300 .* not of shape \(1, 8, 8\)"):
        Reconstruction()(digits_encoder(tmp_path, reconstruct=lambda x: x[..., :4]))


def test_it_runs_by_default_if_there_is_a_decoder(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path, reconstruct=noisy)
    assert Reconstruction().runs_by_default(encoder)
    without = replace(encoder, reconstruct=None)
    assert not Reconstruction().runs_by_default(without)
    with pytest.raises(UserError, match="needs a method with a decoder"):
        Reconstruction()(without)


def metrics(folder: Path) -> dict[str, float]:
    return Reconstruction()(digits_encoder(folder, scale=2, reconstruct=noisy))


def test_it_runs_only_if_listed_if_reconstructions_contain_a_part_of_the_image(tmp_path: Path) -> None:
    encoder = replace(digits_encoder(tmp_path, reconstruct=noisy), reconstructions_contain_input=True)
    assert not Reconstruction().runs_by_default(encoder)
    config = resolve([*stack("mae", "digits", None), "--data.fit_images=20"])
    run = build(config)
    run.data.setup("fit")
    assert evaluated_encoder(run, to_dict(config), tmp_path, torch.device("cpu")).reconstructions_contain_input


def test_metrics_do_not_depend_on_the_number_of_processes(ranks: Ranks, tmp_path: Path) -> None:
    expected = metrics(tmp_path)
    for size in (2, 4):  # 6 batches: uneven parts
        for found in ranks(metrics, tmp_path, size=size):
            assert found == pytest.approx(expected, rel=1e-9)
