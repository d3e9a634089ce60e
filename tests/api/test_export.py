"""Exported encoders: their files, and that their features are those of the run."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import ssl_bench
from ssl_bench.api.encoder import Encoder
from ssl_bench.api.export import backbone_weights, export, write_encoder
from ssl_bench.api.graphs import WRITERS, ExportedGraph, write_onnx
from ssl_bench.api.hub import push
from ssl_bench.cli import main
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data.views import Views
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.networks.timm_backbone import TimmBackbone
from tests.api.test_encoder import images
from tests.full_disk import largest_file


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run_folder, tmp_path_factory.mktemp("export") / "vae-digits")


def test_an_exported_encoder_has_the_features_of_the_run_bit_for_bit(run_folder: Path, exported: Path) -> None:
    x = images(run_folder)
    ours, theirs = (ssl_bench.load_encoder(folder) for folder in (exported, run_folder))
    assert torch.equal(ours(x), theirs(x))
    assert (ours.feature_dim, ours.image_shape) == (theirs.feature_dim, theirs.image_shape)


def test_the_folder_has_only_what_the_encoder_uses(run_folder: Path, exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md", "config.json", "metrics.json", "model.safetensors"
    ]  # fmt: skip
    weights = load_file(exported / "model.safetensors")
    assert weights
    assert all(name.startswith("encoder.") for name in weights)
    assert json.loads((exported / "config.json").read_text())["licence_of_the_data"].startswith("CC BY 4.0")
    text = "".join((exported / name).read_text() for name in ("README.md", "config.json", "metrics.json"))
    assert str(run_folder.parent) not in text


def test_it_is_loaded_in_another_process_and_folder(exported: Path, tmp_path: Path) -> None:
    code = "import ssl_bench, torch; e = ssl_bench.load_encoder({!r}); print(e(torch.zeros(2, *e.image_shape)).shape)"
    done = subprocess.run(
        [sys.executable, "-c", code.format(str(exported))], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith("torch.Size([2, "), done.stderr


def test_the_model_card_has_the_scores_and_a_snippet_that_runs(
    run_folder: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (exported / "README.md").read_text()
    metadata = next(yaml.safe_load_all(card))
    (entry,) = metadata["model-index"]
    scores = {one["name"].split(" ")[0]: one["value"] for r in entry["results"] for one in r["metrics"]}
    expected = ssl_bench.load_run(run_folder).metrics
    assert scores["knn_5/accuracy"] == expected["knn_5/accuracy"]
    assert metadata["library_name"] == "ssl_bench"
    snippet = card.split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(snippet.replace('"vae-digits"', repr(str(exported))), scope)
    assert scope["features"].shape == (4, scope["encoder"].feature_dim)


def test_torch_export_needs_only_torch_and_takes_any_batch(run_folder: Path, tmp_path: Path) -> None:
    folder = export(run_folder, tmp_path / "out", "torch_export")
    encoder = ssl_bench.load_encoder(folder)
    x = torch.rand(7, *encoder.image_shape)
    torch.save({"x": x}, tmp_path / "x.pt")
    code = (
        "import torch, sys; p = torch.export.load('model.pt2').module(); x = torch.load('../x.pt')['x']; "
        "torch.save({'y': p(x), 'one': p(x[:1])}, '../y.pt'); assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    found = torch.load(tmp_path / "y.pt")
    torch.testing.assert_close(found["y"], encoder(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["one"], encoder(x[:1]), rtol=1e-5, atol=1e-6)


def test_onnx_has_the_same_features(run_folder: Path, tmp_path: Path) -> None:
    import onnxruntime

    folder = export(run_folder, tmp_path / "out", "onnx")
    encoder = ssl_bench.load_encoder(folder)
    x = torch.rand(5, *encoder.image_shape)
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(["features"], {"images": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), encoder(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_load_into_torchvision_and_timm(name: str, tmp_path: Path) -> None:
    import timm
    import torchvision
    from safetensors.torch import save_file

    from ssl_bench.networks.resnet import BottleneckResNetEncoder

    kind = ResNetEncoder if name == "resnet18" else BottleneckResNetEncoder
    network = kind((3, 64, 64), 0, stem="imagenet").eval()
    save_file(network.torchvision_weights(), tmp_path / "backbone.safetensors")
    theirs = timm.create_model(name, num_classes=0, checkpoint_path=tmp_path / "backbone.safetensors").eval()
    model = torchvision.models.get_model(name)
    model.fc = torch.nn.Identity()
    model.load_state_dict(network.torchvision_weights())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), network(x))
        torch.testing.assert_close(model.eval()(x), network(x))


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_the_exported_backbone_loads_into_timm(name: str, tmp_path: Path) -> None:
    """A ResNet of ssl_bench with the stem of ImageNet, and a model of timm, as backbones of SimCLR."""
    import timm

    own = "{class_path: ssl_bench.networks.resnet.ResNetEncoder, init_args: {stem: imagenet}}"
    other = "{class_path: ssl_bench.networks.timm_backbone.TimmBackbone, init_args: {model: resnet10t}}"
    backbone = own if name == "resnet18" else other
    run = build(resolve([*stack("simclr", "cifar10", None), f"--method.backbone={backbone}"]))
    encoder = Encoder(run.method, run.views)
    write_encoder(encoder, tmp_path, "cifar10")
    file = tmp_path / "backbone.safetensors"
    theirs = timm.create_model(name, num_classes=0, in_chans=3, checkpoint_path=file).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(encoder.preprocess(x)), encoder(x))


def test_an_export_of_a_pretrained_encoder_loads_without_its_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name with weights, whose download would fail."""
    import timm

    flags = [f"--out={tmp_path / 'runs'}", "--evaluation.protocols=[knn]", "--trainer.accelerator=cpu"]
    create = timm.create_model
    with monkeypatch.context() as patch:  # the download gives random weights
        patch.setattr(timm, "create_model", lambda name, pretrained, **kw: create(name, pretrained=False, **kw))
        assert main(["evaluate", "timm/test_resnet.r160_in1k", "--data=digits", *flags]) == 0
        (run,) = (tmp_path / "runs").iterdir()
        folder = export(run, tmp_path / "out")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ssl_bench.load_encoder(folder).feature_dim > 1
    config = json.loads((folder / "config.json").read_text())
    assert (config["trained_on"], config["licence_of_the_data"]) == ("", "")
    assert "not trained by ssl_bench" in (folder / "README.md").read_text()


def test_an_external_encoder_is_not_exported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "flat.py").write_text("import torch\ndef make():\n    return torch.nn.Flatten()\n")
    trust = [tmp_path / "code"]
    flags = [f"--out={tmp_path / 'runs'}", "--evaluation.protocols=[knn]", f"--trust={trust[0]}"]
    assert main(["evaluate", "flat:make", "--data=digits", *flags]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    with pytest.raises(ssl_bench.UserError, match="is a run of an external encoder, which is not exported again"):
        export(run, tmp_path / "out", trust=trust)


def test_a_timm_backbone_is_exported_under_its_names() -> None:
    backbone = (
        "--method.backbone={class_path: ssl_bench.networks.timm_backbone.TimmBackbone, init_args: {model: resnet10t}}"
    )
    method = build(resolve([*stack("simclr", "digits", None), backbone])).method
    assert isinstance(method, SimCLR)
    assert isinstance(method.backbone, TimmBackbone)
    assert backbone_weights(method).keys() == method.backbone.network.state_dict().keys()


def test_uploads_have_the_files_of_the_folder(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export(run_folder, tmp_path / "vae-digits")
    calls: list[tuple[Any, ...]] = []

    class Client:
        def create_repo(self, repository: str, exist_ok: bool, private: bool) -> None:
            calls.append((repository, exist_ok, private))

        def upload_folder(self, folder_path: str, repo_id: str) -> str:
            calls.append((sorted(path.name for path in Path(folder_path).iterdir()), repo_id))
            return "https://hub/commit"

    monkeypatch.setattr("huggingface_hub.HfApi", Client)
    assert push(exported, "me/vae") == "https://hub/commit"
    assert calls[0] == ("me/vae", True, True)
    assert calls[1][1] == "me/vae"
    assert "model.safetensors" in calls[1][0]
    assert 'ssl_bench.load_encoder("hub/me/vae")' in (exported / "README.md").read_text()


class TestErrors:
    """What is refused, in one line."""

    def test_an_existing_folder(self, run_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ssl_bench.UserError, match="exists: give a new folder"):
            export(run_folder, tmp_path)

    def test_an_unknown_format(self, run_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(ssl_bench.UserError, match="format 'tflite': give one of safetensors, torch_export, onnx"):
            export(run_folder, tmp_path / "out", "tflite")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("ssl_bench_export", 99, "is an export of version 99"),
            ("ssl_bench_export", None, "is not an export of ssl_bench"),
            ("preprocessing", None, "is a damaged export, or of another version: KeyError: 'preprocessing'"),
            ("method", None, "is a damaged export, or of another version: KeyError: 'method'"),
            ("method", {"class_path": "os.system"}, "os.system"),
            ("method", {"class_path": "ssl_bench.methods.external.External"}, "cannot be loaded from an export"),
        ],
    )
    def test_another_or_damaged_configuration(
        self, key: str, value: Any, message: str, exported: Path, tmp_path: Path
    ) -> None:
        config = json.loads((exported / "config.json").read_text())
        config = {name: one for name, one in config.items() if name != key} | ({} if value is None else {key: value})
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").write_bytes((exported / "model.safetensors").read_bytes())
        with pytest.raises(ssl_bench.UserError, match=message):
            ssl_bench.load_encoder(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"damaged"])
    def test_damaged_weights(self, content: bytes, exported: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ssl_bench.UserError, match="is a damaged export, or of another version"):
            ssl_bench.load_encoder(tmp_path)

    def test_a_folder_that_is_no_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ssl_bench.UserError, match=r"no metrics\.json in"):
            export(tmp_path, tmp_path / "out")
        assert main(["export", str(tmp_path), f"--out={tmp_path / 'out'}"]) == 2
        assert "no config.yaml in" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_a_computation_that_onnx_cannot_represent(self, tmp_path: Path) -> None:
        class Branch(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return images if images.sum() > 0 else -images

        with pytest.raises(
            ssl_bench.UserError, match=r"^ONNX cannot represent this encoder: .*; export safetensors$"
        ) as e:
            write_onnx(Branch(), torch.rand(3, 4), tmp_path / "model.onnx")  # type: ignore[arg-type]
        assert "\n" not in str(e.value)

    def test_other_features_of_onnxruntime(self, tmp_path: Path) -> None:
        class Random(torch.nn.Module):
            calls = 0

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                Random.calls += 1
                return images + Random.calls

        with pytest.raises(ssl_bench.UserError, match=r"^the features of the ONNX file differ by .*: export"):
            write_onnx(Random(), torch.rand(3, 4), tmp_path / "model.onnx")  # type: ignore[arg-type]

    def test_a_missing_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ssl_bench.UserError, match=r"^format onnx needs onnxruntime: pip install"):
            write_onnx(torch.nn.Identity(), torch.rand(3, 4), tmp_path / "model.onnx")  # type: ignore[arg-type]

    def test_nothing_is_left_of_an_export_that_failed(
        self, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(graph: ExportedGraph, example: torch.Tensor, path: Path) -> None:
            raise ssl_bench.UserError("ONNX cannot represent this encoder")

        monkeypatch.setitem(WRITERS, "onnx", fail)
        with pytest.raises(ssl_bench.UserError, match="ONNX cannot represent"):
            export(run_folder, tmp_path / "out", "onnx")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["torch_export", "onnx"])
def test_graphs_have_no_paths_of_this_machine_and_no_other_weights(
    format: str, run_folder: Path, tmp_path: Path
) -> None:
    folder = export(run_folder, tmp_path / "out", format)
    (file,) = [path for path in folder.iterdir() if path.name in ("model.pt2", "model.onnx")]
    content = file.read_bytes()
    if format == "torch_export":
        with zipfile.ZipFile(file) as archive:
            content += b"".join(archive.read(name) for name in archive.namelist())
        names = list(torch.export.load(file).state_dict)
        assert all(".encoder." in f".{name}" for name in names), names
    root = Path(ssl_bench.__file__).parents[1]
    for place in (str(root), str(Path(torch.__file__).parents[2]), str(tmp_path)):
        assert place.encode() not in content


def test_all_deterministic_steps_are_in_the_graph(tmp_path: Path) -> None:
    """Also the threshold of binary images, not only the normalisation."""
    from ssl_bench.methods.frozen import Pixels

    views = Views([{"threshold": {"at": 0.4}}, {"normalize": {}}], image_shape=(1, 8, 8), mean=(0.5,), std=(0.25,))
    encoder = Encoder(Pixels((1, 8, 8)), views)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(ExportedGraph(encoder)(x), encoder(x))
    assert set(encoder(x).flatten().tolist()) == {-2.0, 2.0}


def test_a_push_without_a_token_or_network_is_one_line(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(["export", str(run_folder), f"--out={tmp_path / 'out'}", "--push=me/vae"]) == 2
    assert "--push needs a token of the Hugging Face Hub" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(run_folder: Path, tmp_path: Path) -> None:
    with largest_file(1000), pytest.raises(ssl_bench.RunError, match=r"cannot write .*free some space"):
        ssl_bench.export(run_folder, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_folder(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run_folder), f"--out={tmp_path / 'out'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert main(["export", str(run_folder), f"--out={tmp_path / 'out'}"]) == 2
    assert "exists: give a new folder" in capsys.readouterr().err


def test_views_keep_their_statistics() -> None:
    views = Views("identity", image_shape=(1, 8, 8), mean=(0.5,), std=(0.25,))
    assert (views.mean, views.std) == ((0.5,), (0.25,))
