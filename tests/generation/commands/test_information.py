"""Mutual information of views: equal for one process and two, and written into the folder."""

import json
from pathlib import Path

from ssl_bench.cli import main
from ssl_bench.data.shards import Shards
from ssl_bench.generation.commands.arguments import InformationCommand, PerturbCommand
from ssl_bench.generation.commands.information import measure_information
from ssl_bench.generation.commands.perturb import perturb_codes
from ssl_bench.generation.settings import Job, MineSettings, PerturbSettings
from tests.generation.conftest import CPU
from tests.ranks import Ranks


def test_two_ranks_give_the_same_estimates_as_one_process(
    ranks: Ranks, codes: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = perturb_codes(PerturbCommand(codes, PerturbSettings(views=2), Job(tmp_path)), CPU)
    flags = ["--encoder", str(runs["simclr"]), "--epochs=1", "--batch_size=8", "--width=4", "--devices=1"]
    assert main(["views", "information", str(folder), *flags]) == 0
    found = json.loads((folder / "information.json").read_text())
    assert list(found) == ["original_generated", "original_expert", "generated_expert", "ceiling"]
    (folder / "information.json").unlink()
    settings = MineSettings(epochs=1, batch_size=8, width=4)
    ranks(measure_information, InformationCommand(folder, runs["simclr"], settings), CPU)
    again = json.loads((folder / "information.json").read_text())
    assert all(abs(again[name] - nats) < 1e-3 for name, nats in found.items())
    assert Shards(folder).count == 30
