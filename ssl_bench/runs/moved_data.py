"""Check that data at another root than that of a run folder are the data of the run."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from ssl_bench.config.resolve import build_data, to_dict
from ssl_bench.data.fingerprint import check_data


def check_moved_data(config: Namespace, folder: Path) -> None:
    """Read the data and check them, if a root is given that is not the one in the configuration of the run folder.

    The configuration of the run folder, and a record that is only printed, thereby belong to the given data. The hash
    in the name of the folder does not depend on the root.

    Raises:
        UserError: see `check_data`.
    """

    def root(resolved: dict[str, Any]) -> Any:
        return resolved["data"].get("init_args", {}).get("root")

    file = folder / "config.yaml"
    given = config.data.get("init_args", {}).get("root")
    if given is None or not file.is_file():
        return
    if root(to_dict(config)) != root(yaml.safe_load(file.read_text(encoding="utf-8"))):
        data = build_data(config)
        data.setup()
        check_data(data, folder)
