"""The perceptual distance equals one computed by hooks in torchvision's VGG19, with random weights from a file."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg19
from torchvision.transforms.functional import normalize

from ssl_bench.errors import UserError
from ssl_bench.generation.pretrained_perceptual import vgg19_distance
from ssl_bench.networks.perceptual import PerceptualDistance

RELUS = [1, 6, 11, 20, 29]
"""relu1_1, ..., relu5_1."""


def layers() -> nn.Sequential:
    with torch.device("meta"):
        network: nn.Sequential = vgg19(weights=None).features[: RELUS[-1] + 1]
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    shapes = {name: tensor.shape for name, tensor in layers().state_dict().items()}
    torch.save({f"features.{name}": torch.randn(s) * (2 / s[1:].numel()) ** 0.5 for name, s in shapes.items()}, path)
    return path


@pytest.fixture
def distance(weights: Path) -> PerceptualDistance:
    return vgg19_distance(weights)


def reference(weights: Path, x: Tensor, y: Tensor, mean: list[float], std: list[float]) -> Tensor:
    network, seen = layers(), list[Tensor]()
    state = {name.removeprefix("features."): t for name, t in torch.load(weights, weights_only=True).items()}
    network.load_state_dict(state, assign=True)
    for index in RELUS:
        network[index].register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    for images in (x, y):
        network(normalize(images, mean, std))
    pairs = zip(seen[: len(RELUS)], seen[len(RELUS) :], strict=True)
    return torch.stack([(a - b).abs().mean((1, 2, 3)) for a, b in pairs]).sum(0)


@pytest.mark.parametrize(
    ("normalized", "mean", "std"),
    [(True, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), (False, [0.5] * 3, [0.5] * 3)],
)
def test_it_equals_the_l1_distance_of_five_layers_for_each_image(
    weights: Path, normalized: bool, mean: list[float], std: list[float]
) -> None:
    x, y = torch.rand(2, 3, 3, 32, 32)
    ours = vgg19_distance(weights, normalized)
    with torch.no_grad():
        expected = reference(weights, x, y, mean, std)
        torch.testing.assert_close(ours.distance(x, ours.features(y)), expected, rtol=1e-4, atol=1e-5)


def test_images_too_small_for_four_poolings_have_all_five_layers(distance: PerceptualDistance) -> None:
    x = torch.rand(2, 3, 8, 8)
    assert [feature.shape[2] for feature in distance.features(x)] == [8, 4, 2, 1, 1]
    assert (distance.distance(x, distance.features(x.flip(0))) > 0).all()


def test_a_grey_image_equals_one_of_three_equal_channels(distance: PerceptualDistance) -> None:
    grey = torch.rand(2, 1, 8, 8)
    for ours, expected in zip(distance.features(grey), distance.features(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(ours, expected)


def test_gradients_reach_the_image_but_not_the_weights(distance: PerceptualDistance) -> None:
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    distance.distance(x, distance.features(torch.rand(1, 3, 8, 8))).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in distance.parameters())


def test_unavailable_weights_are_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    for path, start in ((None, "VGG19's weights are not available"), (tmp_path / "missing.pth", "no file ")):
        with pytest.raises(UserError, match=rf"^{start}.*: give the file of VGG19's weights, or the run folder"):
            vgg19_distance(path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(UserError, match=r"linear\.pth: not the weights of torchvision's vgg19"):
        vgg19_distance(tmp_path / "linear.pth")
