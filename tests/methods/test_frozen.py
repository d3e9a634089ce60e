from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA as Reference
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from ssl_bench import trust
from ssl_bench.api.encoder import Encoder
from ssl_bench.api.export import write_encoder
from ssl_bench.catalogue import config_names
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.methods.exported import Exported
from ssl_bench.methods.external import External, Torchvision
from ssl_bench.methods.frozen import PCA, Frozen, Pixels, Random, Timm
from ssl_bench.networks.timm_backbone import TimmBackbone
from tests.ranks import Ranks

SHAPE = (1, 8, 8)
DIGITS = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16
ENCODERS: dict[str, Callable[[tuple[int, ...]], Frozen]] = {
    "pixels": Pixels,
    "pca": PCA,
    "random": lambda shape: Random(shape, width=4),
    "timm": lambda shape: Timm(shape, "test_resnet"),
    "torchvision": lambda shape: Torchvision(shape, "resnet18"),
    "hub": lambda shape: exported(shape),
    "module": lambda shape: External(shape, "tests.methods.own_encoder:make"),
}


def exported(shape: tuple[int, ...]) -> Exported:
    """A VAE with random weights, from an exported folder."""
    run = build(resolve(stack("vae", "digits", None)))
    with TemporaryDirectory() as folder:
        write_encoder(Encoder(run.method, run.views), Path(folder), "digits")
        return Exported(shape, folder)


@pytest.fixture(autouse=True)
def trusted() -> Iterator[None]:
    """The module of the tests is trusted, as by a command that names it."""
    trust.name_factory("tests.methods.own_encoder:make")
    yield
    trust.start([])


@pytest.fixture(params=sorted(config_names("encoder")))
def encoder(request: pytest.FixtureRequest) -> Frozen:
    torch.manual_seed(0)
    made: Frozen = ENCODERS[request.param](SHAPE).eval()
    made.prepare(lambda: DIGITS.split(500))
    return made


def test_features_have_the_declared_length_image_by_image(encoder: Frozen) -> None:
    features = encoder.encode(DIGITS[:6])
    assert features.shape == (6, encoder.feature_dim)
    torch.testing.assert_close(encoder.encode(DIGITS[:2]), features[:2], rtol=1e-4, atol=1e-5)
    assert features.std(0).max() > 0


@pytest.mark.parametrize("exact", [True, False])
def test_pca_is_scikit_learns(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exact:
        monkeypatch.setattr("ssl_bench.methods.frozen.EXACT", 10)
    pca = PCA(SHAPE, components=10)
    pca.prepare(lambda: DIGITS.split(500))
    reference = Reference(10, svd_solver="full").fit(DIGITS.flatten(1).double().numpy())
    expected = torch.from_numpy(reference.transform(DIGITS[:20].flatten(1).double().numpy())).float()
    ours = pca.encode(DIGITS[:20])
    torch.testing.assert_close(
        ours * (ours * expected).sum(0).sign(), expected, atol=1e-4 if exact else 3e-3, rtol=1e-4
    )


def pca_on_rank(parts: list[list[torch.Tensor]]) -> torch.Tensor:
    pca = PCA(SHAPE, components=5)
    pca.prepare(lambda: parts[torch.distributed.get_rank()])
    return pca.encode(DIGITS[:5])


def test_pca_is_of_the_images_of_all_processes(ranks: Ranks) -> None:
    alone = PCA(SHAPE, components=5)
    alone.prepare(lambda: DIGITS.split(500))
    for found in ranks(pca_on_rank, [[DIGITS[:1000]], [DIGITS[1000:1100], DIGITS[1100:]]]):
        torch.testing.assert_close(found, alone.encode(DIGITS[:5]), atol=1e-4, rtol=1e-4)


def test_an_untrained_encoder_follows_the_seed() -> None:
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(Random(SHAPE, width=4).eval().encode(DIGITS[:3]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_points_have_an_untrained_encoder_too() -> None:
    assert Random((2,), width=4).encode(torch.randn(5, 2)).shape == (5, 32)


def test_unavailable_weights_and_unknown_models_give_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for model in ("resnet18.nobody_in1k", "resnet1"):
        with pytest.raises(UserError, match=rf"^timm/{model}: .*; see timm\.list_models\(\)") as caught:
            Timm((3, 32, 32), model)
        assert "\n" not in str(caught.value)


def test_the_advice_of_torch_to_load_untrusted_files_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnpicklingError("Weights only load failed. Re-running `torch.load` with `weights_only=False` ...")

    monkeypatch.setattr(timm, "create_model", refuse)
    for make in (lambda: Timm((3, 32, 32), "resnet18.mine"), lambda: TimmBackbone((3, 32, 32), 0, "resnet18.mine")):
        with pytest.raises(UserError, match=r"^timm/resnet18\.mine: its file of weights is damaged") as caught:
            make()
        assert "weights_only" not in str(caught.value)


def test_features_are_of_the_length_that_a_head_before_the_classifier_gives_them() -> None:
    encoder = Timm((3, 32, 32), "mobilenetv3_small_050").eval()
    assert encoder.encode(torch.rand(2, 3, 32, 32)).shape == (2, encoder.feature_dim) == (2, 1024)


def test_images_of_two_channels_are_refused() -> None:
    with pytest.raises(UserError, match=r"needs images of 1 or 3 channels, got shape \(2, 8, 8\)"):
        Timm((2, 8, 8), "test_resnet")


@pytest.mark.parametrize(
    ("shape", "model", "size"),
    [((3, 8, 8), "test_convnext", 160), ((3, 32, 32), "vit_tiny_patch16_224", 224)],  # too small; not the fixed size
)
def test_images_of_a_size_that_a_backbone_does_not_take_are_refused(
    shape: tuple[int, ...], model: str, size: int
) -> None:
    message = rf"^timm/{model} does not take images of shape .*: give --data\.size {size}"
    with pytest.raises(UserError, match=message) as e:
        TimmBackbone(shape, 0, model)
    assert "\n" not in str(e.value)


def test_images_that_are_too_small_for_an_encoder_are_refused() -> None:
    with pytest.raises(UserError, match=r"^timm/test_convnext does not take images of shape \(3, 8, 8\)"):
        Timm(SHAPE, "test_convnext")


def test_images_of_a_size_that_a_fixed_model_does_not_take_are_resized() -> None:
    encoder = Timm(SHAPE, "vit_tiny_patch16_224")
    (resize, crop) = encoder.steps
    assert crop(resize(DIGITS[:2])).shape == (2, 1, 224, 224)


@pytest.mark.parametrize(
    "model", ["resnet18.a1_in1k", "vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m"]
)
def test_images_for_pretrained_weights_are_those_of_timm_on_a_pil_image(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **kw: create(name, pretrained=False, **kw))
    encoder = Timm((3, 48, 64), model).eval()
    seen = []
    monkeypatch.setattr(encoder.network, "forward", lambda x: seen.append(x))
    image = np.random.default_rng(0).integers(64, 192, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    encoder.encode(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    settings = resolve_model_data_config(create(model, pretrained=False))  # type: ignore[no-untyped-call]
    expected = create_transform(**settings, is_training=False)(Image.fromarray(image))
    assert seen[0].shape[1:] == expected.shape
    assert torch.allclose(seen[0][0], expected, atol=2 / 255 / min(settings["std"]))  # PIL rounds to 8 bits


def test_the_check_of_the_size_changes_neither_the_mode_nor_the_random_numbers() -> None:
    torch.manual_seed(0)
    timm.create_model("test_resnet", num_classes=0, in_chans=1)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert TimmBackbone(SHAPE, 0, "test_resnet").network.training
    assert torch.equal(torch.rand(1), expected)
