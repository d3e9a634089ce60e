"""Names of protocols in settings; needs neither torch nor the protocols."""

from collections.abc import Iterable

from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.evaluation import PROTOCOLS

METRICS_OF_GENERATION = ("fid", "kid", "inception_score")
"""Metrics that may be mistaken for protocols."""


def check_protocols(names: Iterable[str]) -> None:
    """Check that there are protocols with these names.

    Raises:
        UserError: there is no such protocol.
    """
    for name in names:
        if name not in PROTOCOLS:
            hint = "did you mean generation?" if name in METRICS_OF_GENERATION else did_you_mean(name, PROTOCOLS)
            raise UserError(f"evaluation.protocols: no protocol {name!r}: {hint}")
