"""Names and flags to the stack of files."""

from pathlib import Path

import pytest

from ssl_bench.config.identity import names
from ssl_bench.config.resolve import resolve
from ssl_bench.config.stack import experiment_names, inherited_files, stack
from ssl_bench.errors import UserError
from tests.config.resolved import resolved


def test_files_are_stacked_in_order_and_flags_come_last() -> None:
    assert resolved()["trainer"]["max_epochs"] == 60  # the experiment's, over the method's 400
    assert resolved(None, "--trainer.max_epochs=3")["trainer"]["max_epochs"] == 3


def test_an_experiment_is_not_run_under_the_name_of_another_method_or_data() -> None:
    with pytest.raises(UserError, match="is of simvae on mnist, not of simvae on digits"):
        stack("simvae", "digits", "simvae-mnist-released")


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


def test_an_installed_method_has_its_name_and_brings_its_settings(their_package: Path) -> None:
    arguments = stack("pairs", "digits", None)
    assert arguments[-4:] == ["--method", "their_package.model.Pairs", "--config", str(their_package / "pairs.yaml")]
    config = resolve([*arguments, "--trainer.max_epochs=5"])
    assert (config.views.num_views, config.trainer.max_epochs) == (2, 5)
    assert config.method.class_path == "their_package.model.Pairs"


def test_an_installed_method_needs_no_settings(their_package: Path) -> None:
    (their_package / "pairs.yaml").unlink()
    assert stack("pairs", "digits", None)[-2:] == ["--method", "their_package.model.Pairs"]


def test_a_variant_is_stacked_on_its_base_experiment_and_on_each_prefix() -> None:
    assert [path.stem for path in inherited_files("simvae-mnist-released")] == ["simvae-mnist", "simvae-mnist-released"]
    inherited = ["simclr-generated-imagenet", "simclr-generated-imagenet-a1"]
    assert [path.stem for path in inherited_files("simclr-generated-imagenet-a1")] == inherited
    assert [path.stem for path in inherited_files("ssgan-cifar100-mimicry")] == ["ssgan-cifar100-mimicry"]


def test_a_variant_keeps_its_bases_settings_and_replaces_lists_as_a_whole() -> None:
    base, variant = resolved("structural_gan-imagenet10"), resolved("structural_gan-imagenet10-flip")
    assert variant["data"] == base["data"]
    assert variant["trainer"] == base["trainer"]
    assert [next(iter(step)) for step in variant["views"]["recipe"]] == ["horizontal_flip", "center_crop", "normalize"]


def test_a_variant_that_names_another_class_keeps_only_arguments_of_that_class() -> None:
    base, variant = (resolved(name)["method"]["init_args"] for name in ("simvae-celeba", "simvae-celeba-released"))
    assert base["encoder"]["init_args"]["stem"] == "imagenet"
    assert variant["encoder"]["class_path"].endswith("ThreeStageEncoder")
    assert variant["encoder"]["init_args"]["stem"] == 4
    assert "blocks" not in variant["encoder"]["init_args"]
    optimizer = resolved("simclr-generated-imagenet")["method"]["init_args"]["optimizer"]
    assert optimizer["class_path"].endswith("LARS")
    assert optimizer["init_args"]["momentum"] == 0.9  # SGD's, from the method's file
    assert "nesterov" not in optimizer["init_args"]


def test_a_reference_is_not_inherited() -> None:
    assert resolved("ssgan-mnist")["reference"]["metrics"] == {"fid": 215.51}
    assert resolved("ssgan-mnist-hinge")["reference"] == {"source": "", "metrics": {}}


def test_flags_come_after_a_row_of_a_table() -> None:
    row = resolved("assimilation_7/sigma_0.4")
    assert row["views"]["generated"]["init_args"]["settings"] == {"kind": "perturb", "sigma": 0.4}
    assert names(row) == ("simclr-a2_w_perturb_sigma_0.4", "cifar10")
    assert row["reference"]["metrics"] == {"linear_probe/accuracy": 91.852}
    assert resolved("assimilation_7/sigma_0.4", "--method.alpha=0.9")["method"]["init_args"]["alpha"] == 0.9


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("simvae-mnist-relased", "no experiment named 'simvae-mnist-relased': did you mean simvae-mnist-released"),
        ("assimilation_7", "no experiment named 'assimilation_7': did you mean assimilation_7/sigma_0"),
        ("assimilation_3/sigma_0.1", "no table named 'assimilation_3': did you mean assimilation_"),
        ("assimilation_7/sigma_0.3", "no row named 'sigma_0.3' in table assimilation_7: did you mean sigma_0"),
        ("simvae", "no experiment named 'simvae': did you mean simvae-mnist"),
    ],
)
def test_a_wrong_experiment_or_row_is_one_line_with_the_nearest(experiment: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        stack(None, None, experiment)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_rows_of_tables_are_experiments_with_a_description() -> None:
    description = experiment_names()["assimilation_9/eps_0.1_0.15"]
    assert description.startswith("eps1 0.1, eps2 0.15. SimCLR with A2 on CIFAR-10, distances")
