"""Settings of classes that are checked before the classes are imported: what the parser accepts is never refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.config.class_parameters import parameters
from ssl_bench.config.class_settings import Given, check_class_settings, check_root
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import choose, experiment_names, stack
from ssl_bench.errors import UserError

VAE = stack("vae", "digits", None)
WITH_A_MODEL = ("timm", "torchvision", "hub", "module")
"""Encoders that need the name of a model."""
DIGITS = choose("data", "digits")
CHOSEN = {
    **{name: [*DIGITS, *choose("method", name)] for name in config_names("method")},
    **{name: [*choose("data", name), *choose("method", "vae")] for name in config_names("data")},
    **{name: [*DIGITS, *choose("encoder", name)] for name in config_names("encoder") if name not in WITH_A_MODEL},
}


def class_paths(value: Any) -> set[str]:
    """Import paths of all classes in a configuration."""
    if isinstance(value, list):
        return set().union(*map(class_paths, value))
    if not isinstance(value, dict):
        return set()
    own = {value["class_path"]} if "class_path" in value else set()
    return own.union(*map(class_paths, value.values()))


@pytest.mark.parametrize("name", CHOSEN)
def test_every_key_of_a_resolved_configuration_is_accepted(name: str, tmp_path: Path) -> None:
    config = to_dict(resolve(CHOSEN[name]))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    check_class_settings(["--config", str(tmp_path / "config.yaml")])
    known = {path for path in class_paths(config) if path.startswith("ssl_bench.")}
    assert known
    assert all(parameters(path) for path in known)


def test_all_experiments_are_accepted() -> None:
    for name in experiment_names():
        check_class_settings(stack(None, None, name))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.sigm2=1"], "no key 'method.sigm2': known: "),
        (["--method.latentdim=4"], "no key 'method.latentdim': did you mean latent_dim?"),
        (["--method.decay_al=true"], "no key 'method.decay_al': did you mean decay_all?"),
        (["--method.encoder.hiden=[1]"], "no key 'method.encoder.hiden': did you mean hidden?"),
        (["--data.batchsize=8"], "no key 'data.batchsize': did you mean batch_size or global_batch_size?"),
        (["--views.num_view=2"], "no key 'views.num_view': did you mean num_views"),
        (["--evaluation.protocl=[knn]"], "no key 'evaluation.protocl': did you mean protocols?"),
        (["--method.latent_dim=0"], "vae: latent_dim must be an integer of at least 1, got 0"),
        (["--method.latent_dim", "-4"], "vae: latent_dim must be an integer of at least 1, got -4"),
        (["--method.init_args.variance=0"], "vae: variance must be a number above 0, got 0.0"),
        (["--data.batch_size=0"], "Digits: batch_size must be an integer of at least 1, got 0"),
        (["--views.num_views=0"], "Views: num_views must be an integer of at least 1, got 0"),
        (["--validation.every=-1"], "Validation: every must be an integer of at least 0, got -1"),
        (["--views.num_views=a"], "views.num_views got 'a', expected int"),
        (
            ["--method.optimizer=sgd"],
            "method.optimizer got 'sgd': no class or value of that kind; give a class by its "
            "import path; did you mean SGD or ASGD?",
        ),
        (["--method.beta=high"], "method.beta got 'high', expected float"),
        (["--method.likelihood=flat"], "method.likelihood got 'flat', expected gaussian or bernoulli"),
    ],
)
def test_what_the_parser_or_the_class_refuses_is_refused_in_the_same_words(flags: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_class_settings([*VAE, *flags])
    assert str(error.value).startswith(message)
    with pytest.raises(UserError) as later:
        build(resolve([*VAE, *(["=".join(flags)] if len(flags) == 2 else flags)]))
    assert str(later.value).split(":")[0] == message.split(":")[0]


def test_a_setting_in_a_file_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    encoder = "method: {init_args: {encoder: {init_args: {hiden: 1}}}}"
    for content, message in {
        "method: {init_args: {latent_dim: 0}}": "vae: latent_dim must be an integer of at least 1, got 0",
        encoder: "no key 'method.encoder.hiden': did you mean hidden?",
        "views: {num_views: many}": "views.num_views got 'many', expected int",
    }.items():
        file.write_text(content)
        with pytest.raises(UserError) as error:
            check_class_settings([*VAE, "--config", str(file)])
        assert str(error.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    "flags",
    [
        ["--method.latent_dim=0", "--method.latent_dim=2"],  # the last one counts
        ["--method.latent_dim=0x10"],
        ["--data.root=null"],
        ["--validation.every=null"],
        ["--evaluation.protocols+=knn"],
        ["--method.encoder=ssl_bench.networks.resnet.ResNetEncoder", "--method.encoder.width=4"],
        ["--method.encoder=their.Network", "--method.encoder.anything=0"],
        ["--method=ssl_bench.methods.simvae.SimVAE", "--method.sigma2=0.1"],
        ["--method.optimizer=torch.optim.SGD", "--method.optimizer.momentum=0.9"],
        ["--method.sigma2=1", "--method=ssl_bench.methods.simvae.SimVAE"],  # of another class: left to the parser
        ["--views=mine.yaml", "--views.anything=1"],
        ["--method.schedule.kind=cosine"],
        ["--seed=3", "--trainer.max_epochs=1", "--names.method=mine", "--channels_last=true"],
    ],
)
def test_what_may_be_right_is_left_to_the_parser(flags: list[str]) -> None:
    check_class_settings([*VAE, *flags])


def test_a_class_whose_source_does_not_show_all_parameters_is_left_to_the_parser() -> None:
    for path in ("torch.optim.Adam", "their.Method", "ssl_bench.nowhere.Class", "ssl_bench.methods.vae.Nothing", "VAE"):
        assert parameters(path) is None
    assert parameters("ssl_bench.networks.queue.FeatureQueue") is None  # **dims are not those of a base


@pytest.mark.parametrize(
    ("name", "content"),
    [("image_folder", "class folders"), ("parquet", "parquet files")],
)
def test_a_missing_folder_of_the_user_is_refused(name: str, content: str, tmp_path: Path) -> None:
    def check(*flags: str) -> Given:
        given = check_class_settings([*choose("data", name), *flags])
        check_root(given, tmp_path / "runs")
        return given

    with pytest.raises(UserError) as error:
        check(f"--data.root={tmp_path / 'nowhere'}")
    place = tmp_path / "nowhere"
    message = f"{name}: {place} does not exist; set --data.root to a folder of {content}"
    assert str(error.value) == message
    (file := tmp_path / "mine.yaml").write_text(f"data: {{init_args: {{root: {place}}}}}")
    with pytest.raises(UserError) as error:
        check("--config", str(file))
    assert str(error.value) == f"{file}: {message}"
    check("--config", str(file), f"--data.root={tmp_path}")
    check()
    check("--data.root=null")
    check(f"--data.root={tmp_path}")
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "config.yaml").write_text(f"data: {{init_args: {{root: {place}}}}}")
    check(f"--data.root={place}")  # the run may be recorded
    check("--config", str(file))
    (tmp_path / "runs" / "run" / "config.yaml").write_text('data: {init_args: {root: "/now\\x68ere"}}')
    check("--config", str(tmp_path / "runs" / "run" / "config.yaml"))


def test_the_configuration_of_a_missing_folder_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--method=vae", "--data=image_folder", f"--data.root={tmp_path / 'nowhere'}"]
    assert main([*command, "--print_config"]) == 0
    assert "nowhere" in capsys.readouterr().out
