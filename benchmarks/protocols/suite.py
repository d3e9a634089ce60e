"""The whole default suite."""

import sys
import tempfile
from pathlib import Path

from benchmarks.protocols.arrays import Data, Found, timed


def suite_default(data: Data) -> Found:
    from ssl_bench.evaluation.encoder import EvaluatedEncoder
    from ssl_bench.evaluation.suite import Evaluation

    with tempfile.TemporaryDirectory() as folder:
        encoder = EvaluatedEncoder(data.features(), data.device, Path(folder))
        found, result = timed(lambda: Evaluation()(encoder))
    for name, why in result.failed.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    size = sum(part.features.nbytes for part in encoder.features[:3]) / 2**20
    return found | {f"seconds {name}": value for name, value in result.seconds.items()} | {"features_mb": size}


TABLES = {"suite": {"ssl_bench, the whole default suite": suite_default}}
SLOW = {suite_default}
