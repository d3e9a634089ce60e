"""Files of rows that several processes write."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from ssl_bench.evaluation.row_file import RowFile


def test_a_process_still_running_after_its_run_was_killed_does_not_write_to_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    left = RowFile(path, {"features": (torch.float32, (2, 3))})
    with RowFile(path, {"features": (torch.float32, (2, 3))}) as file:
        file.write("features", torch.arange(2), torch.ones(2, 3))
        left.write("features", torch.arange(2), torch.zeros(2, 3))
    left.file.close()
    assert torch.equal(load_file(path)["features"], torch.ones(2, 3))
