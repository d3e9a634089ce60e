"""What views tell about each other: the same by one process and by two, and kept in the folder."""

import json
from pathlib import Path

from ssl_bench.cli import main
from ssl_bench.data.shards import Shards
from ssl_bench.generation.commands import perturb_codes
from ssl_bench.generation.information import measure_information
from ssl_bench.generation.job import Job
from ssl_bench.generation.perturb import Perturb
from tests.generation.conftest import CPU
from tests.ranks import Ranks


def test_two_ranks_find_what_one_process_does(ranks: Ranks, codes: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    folder = perturb_codes(codes, Job(tmp_path), CPU, Perturb(views=2))
    flags = ["--encoder", str(runs["simclr"]), "--epochs=1", "--batch_size=8", "--width=4", "--devices=1"]
    assert main(["views", "information", str(folder), *flags]) == 0
    found = json.loads((folder / "information.json").read_text())
    assert list(found) == ["original_generated", "original_expert", "generated_expert", "ceiling"]
    (folder / "information.json").unlink()
    ranks(measure_information, folder, runs["simclr"], CPU, 1, 8, 5e-3, 4)
    again = json.loads((folder / "information.json").read_text())
    assert all(abs(again[name] - nats) < 1e-3 for name, nats in found.items())
    assert Shards(folder).count == 30
