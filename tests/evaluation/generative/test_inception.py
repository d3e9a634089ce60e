"""Extractors: weights are checked by their hash, and errors are one line."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from ssl_bench.errors import UserError
from ssl_bench.evaluation.generative import inception as module
from ssl_bench.evaluation.generative.inception import EXTRACTORS, Extractor, efficientnet_lite0, inception

CPU = torch.device("cpu")
NETWORK = "torch_fidelity.feature_extractor_inceptionv3"


class FeatureExtractorInceptionV3(nn.Module):
    """torch-fidelity's signature over a network without layers."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        self.features_list = features_list
        self.scale = torch.load(feature_extractor_weights_path, weights_only=True)["scale"]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return tuple(self.scale * x.flatten(1).double() for _ in self.features_list)


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(NETWORK)
    module.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, NETWORK, module)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "weights.pth"
    torch.save({"scale": 2.0}, path)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_images_are_rounded_to_8_bits_and_grey_ones_repeated() -> None:
    network = Extractor("x", "f", "k", "s", 12, 12, lambda x: (x.flatten(1), x.flatten(1)))
    features, _ = network(torch.tensor([0.0, 0.499 / 255, 0.501 / 255, 1.0]).view(1, 1, 2, 2))
    assert features.tolist() == [[0, 0, 1, 255] * 3]


@pytest.mark.usefixtures("torch_fidelity")
def test_inception_is_loaded_from_a_file_that_is_given(weights: Path) -> None:
    network = inception(weights, CPU)
    features, logits = network(torch.full((2, 1, 4, 4), 3 / 255))
    assert features.tolist() == logits.tolist() == [[6.0] * 48] * 2
    assert (network.frechet, network.kernel, network.score) == ("fid", "kid", "inception_score")


@pytest.mark.usefixtures("torch_fidelity")
def test_inception_is_downloaded_once_into_the_cache_of_torch_hub(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(module, "WEIGHTS", weights.as_uri())
    inception(None, CPU)
    weights.unlink()
    inception(None, CPU)
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == ["weights.pth"]


@pytest.mark.usefixtures("torch_fidelity")
def test_a_file_with_another_hash_is_refused(weights: Path) -> None:
    torch.save({"scale": 3.0}, weights)
    with pytest.raises(UserError, match=r"weights.pth has SHA-256 .* it is not FID's InceptionV3; get https://"):
        inception(weights, CPU)


@pytest.mark.usefixtures("torch_fidelity")
def test_without_network_the_error_names_the_file_and_the_substitute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "WEIGHTS", (tmp_path / "nowhere.pth").as_uri())
    with pytest.raises(UserError, match=r"get file:.*nowhere.pth and give its path .* efficientnet_lite0$"):
        inception(None, CPU)
    with pytest.raises(UserError, match=r"missing.pth: no such file; give the path of nowhere.pth"):
        inception(tmp_path / "missing.pth", CPU)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("inception", NETWORK, "fid"), ("efficientnet_lite0", "efficientnet_lite_pytorch", "lite0")],
)
def test_a_missing_package_is_named(name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'ssl_bench\[{extra}\]'"):
        EXTRACTORS[name](None, CPU)


def test_the_substitute_takes_no_weights() -> None:
    with pytest.raises(UserError, match=r"weights x\.pth are InceptionV3's"):
        efficientnet_lite0(Path("x.pth"), CPU)
