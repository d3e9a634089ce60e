"""Settings that are checked before torch and Lightning are imported."""

from pathlib import Path
from typing import Any

import pytest

from ssl_bench.config.known_settings import FLAGS, KEYS, TRAINER, check_flags, check_settings, check_trainer
from ssl_bench.config.schema import make_parser
from ssl_bench.errors import UserError

FILE = Path("mine.yaml")


def test_known_keys_are_those_of_the_parser() -> None:
    keys = {action.dest for action in make_parser()._actions if "help" not in action.dest}
    assert {key.partition(".")[0] for key in keys} == {*KEYS, *FLAGS}
    assert {key.removeprefix("trainer.") for key in keys if key.startswith("trainer.")} == TRAINER.keys()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("log_every_n_steps", "-1", "an integer of at least 0 or null"),
        ("log_every_n_steps", "a", "an integer of at least 0 or null"),
        ("gradient_clip_val", "-1", "a number of at least 0 or null"),
        ("gradient_clip_val", "None", "a number of at least 0 or null"),
        ("gradient_clip_val", "nan", "a number of at least 0 or null"),
        ("max_epochs", "1.5", "an integer of at least -1 or null"),
        ("limit_train_batches", "1.5", "an integer of at least 1 or a number in (0, 1] or null"),
        ("accelerator", "abacus", "one of 'auto', 'cpu', 'gpu', 'cuda', 'mps', 'tpu'"),
        ("detect_anomaly", "maybe", "one of True, False"),
        ("num_nodes", "0", "an integer of at least 1"),
    ],
)
def test_a_value_of_the_trainer_out_of_its_range_is_refused_in_flags_and_files(
    key: str, value: str, expected: str
) -> None:
    for flags in ([f"--trainer.{key}={value}"], [f"--trainer.{key}", value]):
        with pytest.raises(UserError) as error:
            check_flags(flags)
        assert str(error.value) == f"--trainer.{key} must be {expected}, got {value!r}"
    with pytest.raises(UserError) as error:
        check_settings({"trainer": {key: value}}, FILE)
    assert str(error.value) == f"mine.yaml: trainer.{key} must be {expected}, got {value!r}"


@pytest.mark.parametrize("devices", ["0", "three", "1.5", str(2**40), None])
def test_a_number_of_devices_that_cannot_be_is_refused(devices: Any) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices must be a number of devices"):
        check_settings({"trainer": {"devices": devices}}, FILE)


@pytest.mark.parametrize(
    ("key", "value"),
    [("gradient_clip_val", "1e-3"), ("gradient_clip_val", "null"), ("max_epochs", "-1"), ("max_epochs", "3"),
     ("limit_train_batches", "0.5"), ("limit_train_batches", 3), ("precision", "32"), ("precision", "bf16-mixed"),
     ("deterministic", "warn"), ("benchmark", "true"), ("devices", "0,1"), ("max_time", "00:01:00:00")],
)  # fmt: skip
def test_a_value_of_the_trainer_in_its_range_is_accepted_as_text_and_as_a_number(key: str, value: Any) -> None:
    check_trainer({key: value})


@pytest.mark.parametrize("seed", ["-1", str(2**32), str(2**40), "a", "0.5", "true", "", None, {"a": 1}])
def test_a_seed_that_numpy_does_not_accept_is_refused(seed: Any) -> None:
    with pytest.raises(UserError) as error:
        check_settings({"seed": seed}, FILE)
    assert str(error.value) == f"mine.yaml: seed must be an integer in [0, 4294967295], got {seed!r}"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--sed=1", "no key 'sed': did you mean seed?"),
        ("--trainer.max_epoch=3", "no key 'trainer.max_epoch': did you mean max_epochs or"),
        ("--trainer.logger=true", "no key 'trainer.logger': "),
    ],
)
def test_an_unknown_key_names_the_nearest(flag: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_flags([flag])
    assert str(error.value).startswith(message)


def test_an_unknown_key_of_the_trainer_in_a_file_names_the_file() -> None:
    with pytest.raises(UserError) as error:
        check_settings({"trainer": {"max_epoch": 3}}, FILE)
    assert str(error.value).startswith("mine.yaml: no key 'trainer.max_epoch': did you mean max_epochs or")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer": None}, "trainer got None, expected keys with values"),
        ({"evaluation": [1]}, "evaluation got [1], expected keys with values"),
        ({"method": 3}, "method got 3, expected class_path with init_args"),
        ({"method": {"class_path": {"a": 1}}}, "method.class_path got {'a': 1}, expected the import path of a class"),
        ({"method": {"class_path": ""}}, "method.class_path got '', expected the import path of a class"),
        ({"data": {"init_args": 3}}, "data.init_args got 3, expected keys with values"),
        ({"method": {"init_args": {"optimizer": {"class_path": 3}}}}, "method.optimizer.class_path got 3, expected"),
        ({"method": {"class_path": "x.Y", "init_arg": {}}}, "method has the key 'init_arg' beside class_path and "
         "init_args: did you mean init_args?"),
        ({"method": {"class_path": "x.Y", "beta": 1}}, "method has the key 'beta' beside class_path and init_args: "
         "put it under method.init_args"),
    ],
)  # fmt: skip
def test_a_value_of_another_form_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_settings(settings, FILE)
    assert str(error.value).startswith(f"mine.yaml: {message}")
