"""Names, hashes and folders of runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from ssl_bench.config.identity import config_hash, encoder_hash, global_batch, names, run_folder, world_size
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from tests.config.resolved import resolved
from tests.config.test_names import INVALID


def digest(*flags: str) -> str:
    return config_hash(resolved(None, *flags))


def test_the_hash_identifies_settings_and_not_names() -> None:
    assert digest() == digest("--names.method=other")
    assert digest() != digest("--views.recipe=[normalize]")
    assert digest() != digest("--method.sigma2=0.3")
    assert digest() != digest("--seed=1")
    assert config_hash(resolved(), seed=False) == config_hash(resolved(None, "--seed=1"), seed=False)


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.devices=1"],
        ["--trainer.devices=[0]"],
        ["--trainer.accelerator=cpu"],
        ["--trainer.num_nodes=1"],
        ["--trainer.log_every_n_steps=7"],
        ["--trainer.strategy=ddp"],
        ["--trainer.detect_anomaly=true"],
        ["--data.num_workers=2"],
        ["--data.root=/elsewhere"],
    ],
)
def test_settings_with_the_same_result_have_the_same_hash(flags: list[str]) -> None:
    assert digest("--data.batch_size=128") == digest("--data.batch_size=128", *flags)


def test_two_processes_have_the_same_hash_on_one_machine_and_on_two() -> None:
    assert digest("--trainer.devices=2") == digest("--trainer.num_nodes=2", "--trainer.strategy=ddp")


def test_a_batch_that_is_divided_among_processes_has_another_hash() -> None:
    """Each process has its own random numbers and BatchNorm statistics."""
    assert digest("--data.batch_size=128") != digest("--data.batch_size=64", "--trainer.devices=2")


def test_the_global_batch_counts_processes_and_accumulation() -> None:
    flags = ["--data.batch_size=32", "--trainer.devices=2", "--trainer.accumulate_grad_batches=4"]
    assert global_batch(resolved(None, *flags)) == 256


@pytest.mark.parametrize(
    "flags",
    [["--trainer.devices=2"], ["--trainer.num_nodes=2"], ["--data.batch_size=32"], ["--trainer.max_epochs=7"],
     ["--trainer.accumulate_grad_batches=2"], ["--trainer.precision=16-mixed"], ["--data.fit_images=100"]],
)  # fmt: skip
def test_settings_that_change_the_result_change_the_hash(flags: list[str]) -> None:
    assert digest() != digest(*flags)


def test_local_views_are_hashed_only_if_there_are_any() -> None:
    config, method = resolved(), nn.Linear(2, 2)
    hashes = config_hash(config), encoder_hash(method, config)
    older = {**config, "views": dict(config["views"])}
    for key in ("num_local_views", "local_recipe"):
        del older["views"][key]
    assert (config_hash(older), encoder_hash(method, older)) == hashes
    flags = ["--views.num_local_views=2", "--views.local_recipe=normalize"]
    local = resolved(None, *flags)
    assert local["views"]["local_recipe"] == ["normalize"]
    others = config_hash(local), encoder_hash(method, local), digest(flags[0], "--views.local_recipe=flip")
    assert len({*hashes, *others}) == 5


def test_all_gpus_are_hashed_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = {}
    for gpus in (1, 2):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        config = resolved(None, "--data.batch_size=128")
        assert config["trainer"]["devices"] == world_size(config) == gpus
        assert global_batch(config) == 128 * gpus
        found[gpus] = config_hash(config)
        assert config_hash(config) == digest("--data.batch_size=128", f"--trainer.devices={gpus}")
        assert resolved(None, "--trainer.devices=-1") == resolved()
        assert world_size(resolved(None, "--trainer.accelerator=cpu")) == 1
    assert found[1] != found[2]


@pytest.mark.parametrize(("devices", "number"), [("auto", 1), ("3", 3), ("0,1", 2), ("[0,1]", 2), ("[3]", 1)])
def test_the_number_of_devices_is_part_of_a_configuration(devices: str, number: int) -> None:
    flags = [f"--trainer.devices={devices}", "--trainer.num_nodes=2"]
    assert (
        world_size(resolved(None, *flags, *(["--trainer.accelerator=cpu"] if devices == "auto" else []))) == 2 * number
    )


@pytest.mark.parametrize("devices", ["two", "0", "1.5", "[]"])
def test_devices_that_are_no_number_are_refused(devices: str) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices must be a number of devices"):
        resolved(None, f"--trainer.devices={devices}")


def test_a_run_is_the_same_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    before = resolved(None, "--data.root=my_data")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before), encoding="utf-8")
    assert before["data"]["init_args"]["root"] == str(tmp_path / "my_data")
    assert resolved()["data"]["init_args"]["root"] == str(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolved(None, "--config", str(tmp_path / "config.yaml")) == before


def test_a_run_is_the_same_after_its_files_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, method = [], nn.Linear(2, 2)
    for place in ("here", "there"):
        (tmp_path / place / "views" / "w_search").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        source = [
            "--views.generated=ssl_bench.generation.sources.CachedViews",
            "--views.generated.folder=views/w_search",
        ]
        configs.append(resolved(None, *source))
    folders = [config["views"]["generated"]["init_args"]["folder"] for config in configs]
    assert folders == [str(tmp_path / place / "views" / "w_search") for place in ("here", "there")]
    assert config_hash(configs[0]) == config_hash(configs[1])
    assert encoder_hash(method, configs[0]) == encoder_hash(method, configs[1])
    configs[0]["views"]["generated"]["init_args"]["folder"] = "views/other"
    assert config_hash(configs[0]) != config_hash(configs[1])


def test_a_run_folder_is_named_after_method_data_seed_and_hash() -> None:
    config = resolved(None, "--seed=3")
    assert run_folder(config, Path("there")) == Path("there") / f"simvae-digits-s3-{config_hash(config)}"


def test_own_images_are_named_after_their_folder_unless_a_name_is_given() -> None:
    def name(data: str, *flags: str) -> str:
        return names(to_dict(resolve([*stack("simvae", data, None), *flags])))[1]

    assert name("image_folder", "--data.root=/mnt/My photos.2/") == "My_photos.2"
    assert name("ssl_bench.data.ImageFolder", "--data.root=/mnt/photos.zip") == "photos"
    assert name("parquet", "--data.root=.hidden", "--data.size=8") == "_.hidden"
    assert name("parquet") == "parquet"
    assert name("image_folder", "--data.root=/mnt/photos", "--data.name=mine") == "mine"
    assert name("image_folder", "--data.root=/mnt/photos", "--data.name=mine", "--names.data=theirs") == "theirs"
    assert name("digits", "--data.root=/mnt/photos") == name("ssl_bench.data.Digits") == "digits"


def test_the_name_of_own_images_is_recorded_and_stays_when_the_folder_is_moved(tmp_path: Path) -> None:
    config = to_dict(resolve([*stack("simvae", "image_folder", None), "--data.root=/mnt/photos"]))
    assert config["data"]["init_args"]["name"] == "photos"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    moved = to_dict(resolve([f"--config={tmp_path / 'config.yaml'}", "--data.root=/elsewhere/images"]))
    assert names(moved)[1] == "photos"
    other = to_dict(resolve([*stack("simvae", "image_folder", None), "--data.root=/mnt/photos", "--data.name=other"]))
    assert config_hash(other) != config_hash(config)


def test_a_variant_is_part_of_the_methods_name() -> None:
    assert names(resolved("simvae-mnist-released")) == ("simvae-released", "mnist")
    assert names(resolved("vae-fashion_mnist")) == ("vae", "fashion_mnist")


@pytest.mark.parametrize(("kind", "name"), [("method", "../../x"), ("data", "/tmp/x"), ("data", "..")])
def test_a_run_folder_is_always_directly_in_the_output_folder(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"names": {kind: name}}), encoding="utf-8")
    for flags in ([f"--config={tmp_path / 'mine.yaml'}"], [f"--names.{kind}={name}"]):
        with pytest.raises(UserError, match=f"names.{kind}"):
            run_folder(resolved(None, *flags), Path("runs"))


@pytest.mark.parametrize("name", [name for name in INVALID if name])
def test_no_name_of_a_recorded_configuration_leaves_the_output_folder(name: str) -> None:
    config: dict[str, Any] = {"names": {"method": name, "data": "digits"}, "seed": 0}
    with pytest.raises(UserError, match=r"names\.method .* is not a valid name"):
        run_folder(config, Path("runs"))


def test_an_empty_name_is_replaced_by_that_of_the_class_and_of_the_data_set() -> None:
    assert names(resolved(None, "--names.method=", "--names.data=")) == ("SimVAE", "digits")
