"""Rows of a folder, looked up by the ids of training images."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.module import RESIDENT_SHARE, DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.distributed import rank
from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.generation.image_identity import match_rows


class RowsById:
    """One tensor of a folder, indexed by the ids of the training images (split ``fit``).

    The rows are kept on the GPU if they take at most `RESIDENT_SHARE` of its free memory. Otherwise, they are read from
    disk.

    Args:
        folder: the folder of rows.
        name: name of the tensor.
        identity: images of the rows, see `ssl_bench.generation.image_identity`.
        data: data module, set up.
        device: device of the returned rows.

    Raises:
        UserError: the rows belong to other images, or training images have no row.
    """

    def __init__(self, folder: Shards, name: str, identity: dict[str, Any], data: DataModule, device: torch.device):
        self.folder, self.name, self.device = folder, name, device
        self.rows = match_rows(folder, identity, data)
        self.resident: Tensor | None = None
        if device.type == "cuda" and folder.nbytes(name) <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.resident, self.rows = folder.read_all(name, device), self.rows.to(device)

    def __call__(self, ids: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the rows ``(N, ...)`` of ids ``(N,)``.

        Args:
            ids: int64 ``(N,)``.
            columns: int64 ``(N, J)``; if given, only these entries of each row are returned, ``(N, J, ...)``.
        """
        rows = self.rows[ids.to(self.rows.device)]
        if self.resident is not None:
            return self.resident[rows] if columns is None else self.resident[rows.unsqueeze(1), columns]
        chosen = None if columns is None else columns.cpu()
        return self.folder.read(self.name, rows, chosen).to(self.device, non_blocking=True)


def pin_rows(folder: Shards, trainer: Any) -> None:
    """Record in the run folder which rows a run is trained with, and refuse other rows when the run resumes.

    Args:
        folder: the folder of rows.
        trainer: Lightning's trainer; nothing is recorded if it has no run folder.

    Raises:
        UserError: the run was started with other rows.
    """
    run = Path(trainer.default_root_dir)
    if not (run / "config.yaml").is_file():
        return
    file, what = run / "views.json", json.dumps([folder.key, folder.count], sort_keys=True)
    now = {"folder": str(folder.folder), "hash": hashlib.sha256(what.encode()).hexdigest()}
    before = json.loads(file.read_text(encoding="utf-8")) if trainer.ckpt_path and file.is_file() else now
    if before["hash"] != now["hash"]:
        raise UserError(
            f"{folder.folder} has been made anew since {run} was started: restore the previous folder, or delete the "
            "run to start over"
        )
    if rank() == 0:
        with replacing(file) as new:
            new.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
