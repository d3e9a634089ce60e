"""Resolved configurations: re-runnable, and built into objects."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml

from ssl_bench.config.identity import config_hash, data_hash, encoder_hash
from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.data import Digits
from ssl_bench.errors import UserError
from tests.config.resolved import resolved


def test_a_resolved_configuration_is_re_runnable(tmp_path: Path) -> None:
    config = resolved(None, "--method.sigma2=0.3", "--seed=5")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert to_dict(resolve(["--config", str(tmp_path / "config.yaml")])) == config


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--evaluation.protocols=[linear]", "evaluation.protocols: no protocol 'linear': did you mean linear_probe"),
        ("--method.schedule.warmup=3", "Schedule: warmup must be a number in [0, 1], got 3.0"),
        ("--views.recipe=[flop]", "views: unknown step 'flop'"),
    ],
)
def test_a_value_that_only_its_class_can_check_is_one_line_too(flag: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        build(resolve([*stack("simvae", "digits", None), flag]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


class TestGlobalBatch:
    def batch(self, *flags: str, experiment: str | None = None) -> object:
        files = stack(None, None, experiment) if experiment else stack("vae", "digits", None)
        return to_dict(resolve([*files, "--trainer.accelerator=cpu", *flags]))["data"]["init_args"]["batch_size"]

    def test_is_divided_by_processes_and_accumulated_batches(self) -> None:
        flags = ["--trainer.devices=2", "--trainer.num_nodes=3", "--trainer.accumulate_grad_batches=4"]
        assert self.batch("--data.global_batch_size=240", *flags) == 10
        assert self.batch(experiment="simclr-generated-imagenet") == 4096

    def test_of_an_experiment_is_replaced_by_the_batch_of_a_process(self) -> None:
        assert self.batch("--data.batch_size=64", experiment="simclr-generated-imagenet") == 64

    def test_is_replaced_by_a_batch_that_is_given_after_it_in_flags_or_files(self, tmp_path: Path) -> None:
        file = tmp_path / "few.yaml"
        file.write_text("data: {init_args: {batch_size: 32}}")
        assert self.batch(f"--config={file}", experiment="simclr-generated-imagenet") == 32
        assert self.batch("--data.init_args.batch_size=16", experiment="simclr-generated-imagenet") == 16
        assert self.batch(f"--config={file}", "--data.global_batch_size=8") == 8
        assert self.batch("--data.global_batch_size=8", f"--config={file}") == 32

    def test_that_cannot_be_divided_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"^data\.global_batch_size 64 cannot be divided into 3 equal batches"):
            self.batch("--data.global_batch_size=64", "--trainer.devices=3")

    def test_is_divided_by_the_command_line_only(self) -> None:
        with pytest.raises(UserError, match="divides global_batch_size among processes: give batch_size"):
            Digits(global_batch_size=64)

    def test_gives_the_run_of_the_same_batch(self) -> None:
        flags = ["--trainer.accelerator=cpu", "--trainer.devices=2"]
        given, divided = (
            config_hash(to_dict(resolve([*stack("vae", "digits", None), *flags, batch])))
            for batch in ("--data.batch_size=32", "--data.global_batch_size=64")
        )
        assert given == divided

    def test_is_in_no_hash_so_that_earlier_runs_keep_theirs(self) -> None:
        config = resolved(None)
        earlier = deepcopy(config)
        del earlier["data"]["init_args"]["global_batch_size"]
        nested, before = deepcopy(config), deepcopy(earlier)
        nested["data"]["init_args"]["real"], before["data"]["init_args"]["real"] = config["data"], earlier["data"]
        method = torch.nn.Linear(2, 2)
        for one, other in ((config, earlier), (nested, before)):
            assert config_hash(one) == config_hash(other)
            assert data_hash(one) == data_hash(other)
            assert encoder_hash(method, one) == encoder_hash(method, other)


def test_the_precision_of_a_configuration_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("bf16-mixed", "32-true"):
        monkeypatch.setattr("ssl_bench.config.resolve.automatic", lambda accelerator, chosen=precision: chosen)
        assert to_dict(resolve(stack("vae", "mnist", None)))["trainer"]["precision"] == precision
        assert to_dict(resolve(stack("vae", "digits", None)))["trainer"]["precision"] == "32-true"
    assert resolve(stack("vae", "mnist", None), on_this_machine=False).trainer.precision == "auto"
