"""Generative and discriminative self-supervised learning on one scale.

The names in `__all__` are the public API. They are imported when they are first used, so that ``import ssl_bench``
imports neither torch nor Lightning; everything else may change without notice.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_bench.api.arrays import evaluate as evaluate
    from ssl_bench.api.comparison import compare as compare
    from ssl_bench.api.encoder import Encoder as Encoder
    from ssl_bench.api.encoder import load_encoder as load_encoder
    from ssl_bench.api.export import export as export
    from ssl_bench.api.runs import load_run as load_run
    from ssl_bench.api.training import train as train
    from ssl_bench.api.transformer import EncoderTransformer as EncoderTransformer
    from ssl_bench.data.module import DataModule as DataModule
    from ssl_bench.data.views import Views as Views
    from ssl_bench.errors import RunError as RunError
    from ssl_bench.errors import UserError as UserError
    from ssl_bench.methods.base import Method as Method

MODULES = {
    "load_run": "api.runs",
    "load_encoder": "api.encoder",
    "Encoder": "api.encoder",
    "evaluate": "api.arrays",
    "train": "api.training",
    "export": "api.export",
    "compare": "api.comparison",
    "EncoderTransformer": "api.transformer",
    "Method": "methods.base",
    "DataModule": "data.module",
    "Views": "data.views",
    "UserError": "errors",
    "RunError": "errors",
}
"""Modules of the public names."""
__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in MODULES:
        raise AttributeError(f"module 'ssl_bench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ssl_bench.{MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for completion."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
