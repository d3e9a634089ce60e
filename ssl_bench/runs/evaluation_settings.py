"""Settings of the evaluation of features that belong to no run."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from ssl_bench.config.parse_errors import one_line
from ssl_bench.errors import UserError
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.trust import enforce


def read_evaluation(settings: Sequence[str] | Mapping[str, Any], program: str) -> tuple[Evaluation, dict[str, Any]]:
    """The evaluation, and its configuration with all settings.

    Args:
        settings: flags such as ``--evaluation.knn.k=[5]``, or a dict such as ``{"knn": {"k": [5]}}``.
        program: the command that error messages name.

    Raises:
        UserError: a protocol or setting does not exist, or has a wrong value.
    """
    enforce()
    parser = ArgumentParser(prog=program, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--evaluation", type=Evaluation, default=Evaluation())
    try:
        if isinstance(settings, Mapping):
            config = parser.parse_object({"evaluation": dict(settings)})
        else:
            config = parser.parse_args(list(settings))
        evaluation: Evaluation = parser.instantiate(config).evaluation
    except (ArgumentError, ImportError) as error:
        raise UserError(one_line(str(error), parser)) from error
    return evaluation, yaml.safe_load(parser.dump(config, skip_unset=False))["evaluation"]
