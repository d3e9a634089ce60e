"""Names of settings of one method in a table: the keys in which their configurations differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ssl_bench.errors import shorten
from ssl_bench.results.record import Record

NOT_NAMED = (
    "names.", "reference.", "validation.", "seed", "data.root", "data.num_workers", "trainer.accelerator",
    "trainer.log_every_n_steps",
)  # fmt: skip
"""Keys that do not change the result."""
LONGEST = 24
"""Most characters of a value."""
MOST = 3
"""Most keys in a name."""


def difference_names(firsts: list[Record]) -> list[str]:
    """Names of settings such as ``method.sigma2 0.1, seed 2``, one for each.

    Args:
        firsts: a record of each setting. Names are the hashes of the settings if a run has no configuration beside its
            record, or if more than `MOST` keys would be needed to tell the settings apart.
    """
    configs = [_configuration(record.folder) for record in firsts]
    if not all(configs):
        return [record.setting_hash for record in firsts]
    absent = object()
    keys = [
        key
        for key in dict.fromkeys(key for config in configs for key in config)
        if not key.startswith(NOT_NAMED) and any(config.get(key, absent) != configs[0].get(key) for config in configs)
    ]
    names = [", ".join(f"{key} {_short(config.get(key))}" for key in keys[:MOST]) for config in configs]
    hashes = {record.setting_hash for record in firsts}
    if len({*names}) < len(hashes):
        return [f"{name} {record.setting_hash}".strip() for name, record in zip(names, firsts, strict=True)]
    return names


def _configuration(folder: Path | None) -> dict[str, Any]:
    """Leaves of the configuration of a run by their keys, without ``init_args``; empty if there is none."""
    if folder is None:
        return {}
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return dict(_leaves(config)) if isinstance(config, dict) else {}


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, keys if key == "init_args" else (*keys, str(key)))
    else:
        yield ".".join(keys), value


def _short(value: Any) -> str:
    text = str(value).rpartition(".")[2] if isinstance(value, str) and value.startswith("ssl_bench.") else str(value)
    return shorten(text, LONGEST)
