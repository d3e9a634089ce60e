"""Resolved configurations for the tests of `ssl_bench.config`."""

from typing import Any

from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack


def resolved(experiment: str | None = None, *flags: str) -> dict[str, Any]:
    """The configuration of an experiment, by default of SimVAE on digits, with flags."""
    files = stack(None, None, experiment) if experiment else stack("simvae", "digits", None)
    return to_dict(resolve([*files, *flags]))
