"""Encoders that take images."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ssl_bench
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.data.resizing import resize_and_crop
from ssl_bench.data.types import Batch


def images(folder: Path) -> Tensor:
    run = build(resolve(["--config", str(folder / "config.yaml")]))
    run.data.setup()
    batch: Batch = next(iter(run.data.batches("test", 50)))
    return batch.images


def test_features_of_images_are_those_that_were_scored(run_folder: Path) -> None:
    encoder = ssl_bench.load_encoder(run_folder)
    x = images(run_folder)
    assert x.dtype == torch.uint8
    features, labels = ssl_bench.load_run(run_folder).features("test")
    torch.testing.assert_close(encoder(x), features[:50], rtol=1e-5, atol=1e-6)  # a batch of another size
    assert encoder(x).shape == (50, encoder.feature_dim)
    assert labels.dtype == torch.int64


def test_images_in_0_to_1_have_the_features_of_their_bytes(run_folder: Path) -> None:
    encoder = ssl_bench.load_encoder(run_folder)
    x = images(run_folder)
    torch.testing.assert_close(encoder(x.float() / 255), encoder(x), rtol=1e-5, atol=1e-6)


def test_it_is_a_frozen_module_in_evaluation_mode(run_folder: Path) -> None:
    encoder = ssl_bench.load_encoder(run_folder)
    assert isinstance(encoder, nn.Module)
    assert not encoder.training
    assert not encoder.train().training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_loading_does_not_change_random_states(run_folder: Path) -> None:
    before = torch.get_rng_state()
    ssl_bench.load_encoder(run_folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_untrained_network_has_the_weights_that_were_scored(tmp_path: Path) -> None:
    flags = ["--evaluation.protocols=[knn]", "--trainer.accelerator=cpu", f"--out={tmp_path}", "--method.width=4"]
    assert main(["evaluate", "random", "--data=digits", "--seed=3", *flags]) == 0
    (folder,) = tmp_path.iterdir()
    expected = ssl_bench.load_run(folder).features("test")[0][:50]
    torch.testing.assert_close(ssl_bench.load_encoder(folder)(images(folder)), expected)


class TestResizeAndCrop:
    """Images of another size."""

    def test_of_the_same_size_are_not_changed(self) -> None:
        x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
        assert resize_and_crop(x, (3, 8, 8)) is x

    @pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (31, 9), (4, 4), (3, 50)])
    def test_cover_the_shape_and_are_cropped_to_the_centre(self, height: int, width: int) -> None:
        x = torch.full((2, 3, height, width), 0.25)
        assert torch.allclose(resize_and_crop(x, (3, 8, 8)), torch.full((2, 3, 8, 8), 0.25))

    def test_the_middle_of_a_wide_image_is_kept(self) -> None:
        x = torch.zeros(1, 1, 8, 24)
        x[..., 8:16] = 1
        assert resize_and_crop(x, (1, 8, 8)).mean() == 1

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (torch.rand(2, 1, 8, 8), r"images of shape \(2, 1, 8, 8\), expected \(N, 3, 8, 8\) with any height and w"),
            (torch.rand(3, 8, 8), r"images of shape \(3, 8, 8\)"),
            (torch.rand(2, 3, 8, 8) * 255, "images with values from .* expected uint8, or float in"),
            (torch.full((1, 3, 8, 8), torch.nan), "images with values from nan to nan"),
            (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "images of type torch.int64, expected uint8"),
        ],
    )  # fmt: skip
    def test_other_images_are_refused(self, given: Tensor, message: str) -> None:
        with pytest.raises(ssl_bench.UserError, match=message) as error:
            resize_and_crop(given, (3, 8, 8))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("points", [torch.zeros(4, 2, dtype=torch.uint8), torch.full((4, 2), torch.inf)])
    def test_other_points_are_refused(self, points: Tensor) -> None:
        with pytest.raises(ssl_bench.UserError, match=r"^points of type .*, expected finite floats$"):
            resize_and_crop(points, (2,))


def test_images_with_another_number_of_channels_are_refused(run_folder: Path) -> None:
    images = torch.rand(4, 3, 28, 28)
    for encode in (ssl_bench.load_encoder(run_folder), ssl_bench.EncoderTransformer(run_folder).fit):
        with pytest.raises(ssl_bench.UserError, match=r"^images of shape \(4, 3, 28, 28\), expected \(N, 1, "):
            encode(images)


def test_a_run_is_a_path_wherever_one_is_expected(run_folder: Path, tmp_path: Path) -> None:
    run = ssl_bench.load_run(run_folder)
    x = images(run_folder)
    expected = run.encoder()(x)
    exported = ssl_bench.load_encoder(ssl_bench.export(run, tmp_path / "out"))
    assert torch.equal(exported(x), expected)
    assert torch.equal(ssl_bench.load_encoder(run)(x), expected)
    assert ssl_bench.EncoderTransformer(run).fit(x.numpy()).transform(x.numpy()).shape == (50, 10)


def test_a_repository_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **settings: 1 / 0)
    with pytest.raises(ssl_bench.UserError, match=r"^hub/me/vae: no folder, and cannot be downloaded: division"):
        ssl_bench.load_encoder("hub/me/vae")


@pytest.mark.parametrize(
    ("files", "message"), [([], "no config.yaml in"), (["config.yaml"], "is not the configuration of a run")]
)
def test_a_folder_that_is_no_run_is_refused(files: list[str], message: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ssl_bench.UserError, match=message):
        ssl_bench.load_encoder(tmp_path)
    with pytest.raises(ssl_bench.UserError, match="no folder"):
        ssl_bench.load_encoder(tmp_path / "missing")


def test_pca_is_not_stored(tmp_path: Path) -> None:
    flags = ["--evaluation.protocols=[knn]", "--trainer.accelerator=cpu", f"--out={tmp_path}"]
    assert main(["evaluate", "pca", "--data=digits", *flags]) == 0
    (folder,) = tmp_path.iterdir()
    with pytest.raises(ssl_bench.UserError, match="PCA is fitted to the data when it is scored"):
        ssl_bench.load_encoder(folder)
