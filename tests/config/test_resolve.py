"""Resolved configurations: re-runnable, and built into objects."""

from pathlib import Path

import pytest
import yaml

from ssl_bench.config.resolve import build, resolve, to_dict
from ssl_bench.config.stack import stack
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
