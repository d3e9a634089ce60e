"""From names and flags to a configuration: stacking, hashing, errors, and what every experiment file resolves to."""

import json
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssl_bench.catalogue import config_names
from ssl_bench.config.files import stack
from ssl_bench.config.identity import config_hash, names, run_folder
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.data.types import Batch
from ssl_bench.errors import UserError
from tests.methods.test_contract import losses_of

SNAPSHOT = Path(__file__).parent / "resolved_experiments.yaml"
EXPERIMENTS = sorted(config_names("experiment"))
ALIKE = {"cifar100": "cifar10", "imagenet100": "imagenet10"}
"""Data sets with images of the same size, for which every experiment builds the same networks."""


def twin(experiment: str) -> str | None:
    """The experiment of that name for the data set that stands for this one's."""
    method, data, *variant = experiment.split("-")
    return "-".join([method, ALIKE[data], *variant]) if data in ALIKE else None


def resolved(experiment: str | None = None, *flags: str) -> dict[str, Any]:
    files = stack(None, None, experiment) if experiment else stack("simvae", "digits", None)
    return to_dict(resolve([*files, *flags]))


def snapshot(experiment: str) -> dict[str, Any]:
    """What an experiment decides; Lightning's and torch's own defaults are left out, since they move with versions."""
    config = resolved(experiment)
    config["trainer"] = {key: config["trainer"][key] for key in ("max_epochs", "precision", "log_every_n_steps")}
    optimizer = config["method"]["init_args"]["optimizer"]["init_args"]
    config["method"]["init_args"]["optimizer"]["init_args"] = {
        key: optimizer[key]
        for key in ("lr", "momentum", "nesterov", "betas", "eps", "weight_decay", "trust_coeff", "fused")
        if key in optimizer
    }
    return config


@cache
def as_before() -> dict[str, Any]:
    """The snapshot, read once: reading it takes longer than resolving an experiment."""
    return yaml.safe_load(SNAPSHOT.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_resolves_to_what_it_resolved_to_before(experiment: str) -> None:
    """After a change that is meant: ``python -m tests.test_experiment`` writes the snapshot anew; read its diff."""
    assert snapshot(experiment) == as_before()[experiment]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_named_after_its_method_and_data(experiment: str) -> None:
    method, data, *_ = experiment.split("-")
    assert method in config_names("method")
    assert data in config_names("data")


def generator(experiment: str) -> list[str]:
    """What inverts a generator is given the one of the same data, and does without a network that is downloaded."""
    if not experiment.startswith("inversion-"):
        return []
    method = build(resolve(stack(None, None, experiment.replace("inversion", "stylegan2")))).method
    return [f"--method.generator={json.dumps(method.config)}", "--method.perceptual=null"]


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if twin(name) not in EXPERIMENTS])
def test_every_experiment_takes_a_step_at_its_full_size(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which computes shapes and nothing else."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which meta does not know
    with torch.device("meta"):
        run = build(resolve([*stack(None, None, experiment), *generator(experiment)]))
        run.method.to("meta")
        views = torch.rand(run.views.num_views + (run.views.generated is not None), 4, *run.views.output_shape)
        batch = Batch(views, torch.zeros(4), torch.arange(4))
        losses = {network: loss(batch) for network, loss in losses_of(run.method).items()}
        features = run.method.encode(views[0])
    assert all(loss.shape == () for loss in losses.values())
    assert features.shape == (4, run.method.feature_dim)


def test_files_are_stacked_in_order_and_flags_come_last() -> None:
    assert resolved()["trainer"]["max_epochs"] == 60  # the experiment's, over the method's 400
    assert resolved(None, "--trainer.max_epochs=3")["trainer"]["max_epochs"] == 3


def test_a_resolved_configuration_is_re_runnable(tmp_path: Path) -> None:
    config = resolved(None, "--method.sigma2=0.3", "--seed=5")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert to_dict(resolve(["--config", str(tmp_path / "config.yaml")])) == config


def test_hash_tells_settings_apart_and_forgets_what_they_are_called() -> None:
    config = resolved()
    assert config_hash(config) == config_hash(resolved(None, "--out=elsewhere", "--names.method=other"))
    assert config_hash(config) != config_hash(resolved(None, "--data.root=/elsewhere"))
    assert config_hash(config) != config_hash(resolved(None, "--views.recipe=[normalize]"))
    assert config_hash(config) != config_hash(resolved(None, "--method.sigma2=0.3"))
    assert config_hash(config) != config_hash(resolved(None, "--seed=1"))
    assert config_hash(config, seed=False) == config_hash(resolved(None, "--seed=1"), seed=False)


def test_run_folder_is_named_after_method_data_seed_and_hash() -> None:
    config = resolved(None, "--seed=3", "--out=there")
    assert run_folder(config) == Path("there") / f"simvae-digits-s3-{config_hash(config)}"


def test_a_variant_is_part_of_the_methods_name() -> None:
    assert names(resolved("simvae-mnist-released")) == ("simvae-released", "mnist")
    assert names(resolved("vae-fashion_mnist")) == ("vae", "fashion_mnist")


def test_an_experiment_is_not_run_under_the_name_of_another_method_or_data() -> None:
    with pytest.raises(UserError, match="is of simvae on mnist, not of simvae on digits"):
        stack("simvae", "digits", "simvae-mnist-released")


def test_a_method_sees_the_size_that_the_views_have() -> None:
    recipe = '--views.recipe=[{"random_resized_crop": {"size": 16}}, {"center_crop": {"size": 16}}]'
    run = build(resolve([*stack("vae", "mnist", None), recipe]))
    views = run.views(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert run.method.training_step(Batch(views, torch.zeros(2), torch.arange(2)), 0) is not None
    assert run.method.config is not None
    assert run.method.config["init_args"]["image_shape"] == [1, 16, 16]


def test_switching_the_optimizer_leaks_nothing_into_it_but_what_the_file_set() -> None:
    """Adam's eps or AdamW's weight decay in SGD would be silent and wrong; the file's learning rate is kept."""
    optimizer = resolved(None, "--method.optimizer=SGD")["method"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.SGD"
    assert optimizer["init_args"]["weight_decay"] == 0
    assert "eps" not in optimizer["init_args"]
    assert optimizer["init_args"]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.sigm2=1"], "no key 'method.sigm2': did you mean sigma2?"),
        (["--method.encoder.hiden=[1]"], "no key 'method.encoder.hiden': did you mean hidden?"),
        (["--data.rot=x"], "no key 'data.rot': did you mean root?"),
        (["--sed=1"], "no key 'sed': did you mean seed?"),
        (["--trainer.max_epoch=1"], "no key 'trainer.max_epoch': did you mean trainer.max_epochs"),
        (["--method.sigma2=x"], "method.sigma2 got 'x', expected float"),
        (["--method.optimizer.lr=x"], "method.optimizer.lr got 'x', expected float"),
        (["--trainer.max_epochs=x"], "trainer.max_epochs got 'x', expected int"),
        (["--method.encoder=Foo"], "method.encoder got 'Foo': no class or value of that kind"),
        (
            ["--method.prior=flat"],
            "method.prior got 'flat', expected Literal['uniform', 'gaussian', 'gaussian_plug_in']",
        ),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_what_is_right(flags: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        resolved(None, *flags)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--evaluation.protocols=[linear]", "evaluation.protocols: no protocol 'linear': did you mean linear_probe"),
        ("--method.schedule.warmup=3", "schedule: warmup 3.0"),
        ("--views.recipe=[flop]", "views: unknown step 'flop'"),
    ],
)
def test_a_value_that_only_the_object_can_judge_is_one_line_too(flag: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        build(resolve([*stack("simvae", "digits", None), flag]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_typo_in_a_file_is_found_like_one_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("method: {init_args: {sigm2: 1}}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no key 'method\.sigm2': did you mean sigma2"):
        resolved(None, f"--config={tmp_path / 'typo.yaml'}")


@pytest.mark.parametrize(
    ("method", "data", "message"),
    [
        ("simvea", "digits", "no method named 'simvea': did you mean simvae or"),
        ("simvae", "digts", "no data named 'digts': did you mean digits?"),
        ("simvae", None, "--data is missing: give one of"),
        ("nowhere.Method", "digits", "no method at import path 'nowhere.Method'"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(method: str, data: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        stack(method, data, None)


def test_a_class_that_is_no_method_is_refused() -> None:
    with pytest.raises(UserError, match="method"):
        resolve(stack("pathlib.Path", "digits", None))


def test_a_method_installed_under_the_entry_point_group_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_package.py").write_text("from ssl_bench.methods.vae import VAE\nclass Theirs(VAE): ...\n")
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssl_bench.methods]\ntheirs = their_package:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "their_package.Theirs" in stack("theirs", "digits", None)
    sys.modules.pop("their_package", None)


if __name__ == "__main__":
    SNAPSHOT.write_text(yaml.safe_dump({name: snapshot(name) for name in EXPERIMENTS}), encoding="utf-8")
