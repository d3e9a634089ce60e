"""Networks from elsewhere: what is loaded, and what is refused in one line."""

from pathlib import Path

import pytest
import torch
import torchvision

from ssl_bench import trust
from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.methods.exported import Exported
from ssl_bench.methods.external import External, Torchvision


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "mobilenet_v3_small", "convnext_tiny"])
def test_features_are_the_input_of_the_classifier(name: str) -> None:
    torch.manual_seed(0)
    ours = Torchvision((3, 224, 224), name).eval()
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval()
    inputs: list[torch.Tensor] = []
    *_, head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    head.register_forward_hook(lambda module, arguments, output: inputs.append(arguments[0]))
    x = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(ours.encode(x), inputs[0])
    assert ours.feature_dim == head.in_features


def test_documented_preprocessing_is_used_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torch.hub.load_state_dict_from_url", lambda *a, **k: torchvision.models.resnet18().state_dict()
    )
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", torch.hub.load_state_dict_from_url)
    encoder = Torchvision((1, 32, 32), "resnet18.IMAGENET1K_V1").eval()
    assert encoder.pretrained
    seen: list[torch.Tensor] = []
    encoder.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    encoder.encode(torch.full((2, 1, 32, 32), 0.485))
    assert seen[0].shape == (2, 3, 224, 224)
    assert seen[0][:, 0].abs().max() < 1e-4  # the mean of the first channel is 0.485


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet81", "no such model: did you mean resnet18"),
        ("resnet18.IMAGENET1K", "no such weights: did you mean IMAGENET1K_V1"),
    ],
)
def test_unknown_models_and_weights_are_refused(model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Torchvision((3, 32, 32), model)


class TestOwnCode:
    """``MODULE:FUNCTION``."""

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            ("missing", "AttributeError"),
            ("no_module", "returned list, expected a torch.nn.Module"),
            ("unpooled", r"output is Tensor of shape \(2, 1, 4, 4\), expected features"),
        ],
    )
    def test_wrong_functions_are_refused(self, function: str, message: str) -> None:
        trust.name_factory("tests.methods.own_encoder:make")
        with pytest.raises(UserError, match=message):
            External((1, 8, 8), f"tests.methods.own_encoder:{function}")

    def test_code_that_the_command_does_not_name_is_not_run(self) -> None:
        trust.start([])
        with pytest.raises(UserError, match="if you trust its code, give --trust"):
            External((1, 8, 8), "tests.methods.own_encoder:make")

    def test_a_function_in_the_working_directory_is_scored_on_several_data_sets(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "my_networks.py").write_text("import torch\ndef make():\n    return torch.nn.Flatten()\n")
        monkeypatch.chdir(tmp_path)
        flags = ["--evaluation.protocols=[knn]", "--trainer.accelerator=cpu"]
        assert main(["evaluate", "my_networks:make", "--data=digits,double_spiral", *flags]) == 0
        assert len(list(tmp_path.glob("runs/*/metrics.json"))) == 2
        code = "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))\n"
        (tmp_path / "fixed.py").write_text(code)
        assert main(["evaluate", "fixed:make", "--data=double_spiral,digits", *flags]) == 1
        assert "double_spiral: fixed:make on images of shape (2, 2)" in capsys.readouterr().err
        assert len(list(tmp_path.glob("runs/*/metrics.json"))) == 3, "the data set after it is scored"
        assert main(["evaluate", "my_networks:make", "--data=digits,digit", *flags]) == 2
        assert "no data set named 'digit': did you mean digits" in capsys.readouterr().err


def test_images_of_a_size_that_a_model_of_torchvision_does_not_take_are_refused() -> None:
    with pytest.raises(UserError, match=r"^torchvision/vit_b_32 does not take images of shape \(1, 8, 8\)") as error:
        Torchvision((1, 8, 8), "vit_b_32")
    assert "give --data.size 224" in str(error.value)


def test_an_exported_folder_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(model: str, allow_patterns: list[str]) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError, match="hub/me/vae: no folder, and cannot be downloaded: no network"):
        Exported((1, 8, 8), "me/vae")
