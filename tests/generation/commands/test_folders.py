"""The `views` commands: contents of the folders they make, resuming, and errors."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssl_bench.cli import main
from ssl_bench.data.fingerprint import record_data
from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.generation.commands.arguments import InvertCommand, PerturbCommand, SearchCommand
from ssl_bench.generation.commands.invert import invert_images
from ssl_bench.generation.commands.perturb import perturb_codes
from ssl_bench.generation.commands.search import search_views
from ssl_bench.generation.settings import InvertSettings, Job, PerturbSettings, SearchSettings
from ssl_bench.generation.trained_run import load_run
from ssl_bench.generation.w_perturb import noise, truncate
from ssl_bench.lock import folder_lock
from ssl_bench.methods.checkpoint import load_method
from tests.generation.conftest import CPU, untrained
from tests.generators import FLAGS
from tests.ranks import Ranks
from tests.runs.test_moved_data import photos

QUICK = ["--images=12", "--views=2", "--steps=15", "--batch_size=4", "--shard_rows=2"]
"""A search of seconds."""


def rows_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, except the times."""
    shards = Shards(folder).require_complete("it")
    return {name: shards.read_all(name) for name in shards.tensor_names() if name != "seconds"}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Equal up to rounding: pixels up to one level."""
    for name, rows in theirs.items():
        tolerance = 1.0 if name == "views" else 1e-3
        torch.testing.assert_close(ours[name].float(), rows.float(), atol=tolerance, rtol=0)


def test_truncated_codes_reproduce_their_images(codes: Path, runs: dict[str, Path]) -> None:
    shards, method = Shards(codes), load_method(runs["inversion"])
    truncation = shards.key["settings"]["truncation"]
    assert truncation == 0.7
    assert shards.key["settings"]["perceptual_weight"] == 0, "of a run without a perceptual distance"
    images = method.synthesize(truncate(shards.read_all("codes"), method.mean_code(), truncation))  # type: ignore[operator]
    assert (images.clamp(0, 1) * 255 - shards.read_all("images")).abs().max() <= 0.51


def test_a_search_prints_its_folder_last_and_ends_near_the_boundary(
    codes: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--encoder", str(runs["simclr"]), "--views=2", "--images=10", "--steps=150", "--devices=1"]
    assert main(["views", "search", str(codes), *flags]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder.parent == Path("views")
    shards = Shards(folder)
    assert shards.shape("views") == (2, 1, 8, 8)
    assert shards.notes["eps2"] == pytest.approx(shards.notes["eps1"] + 0.2)
    assert shards.read_all("boundary").mean() < 0.1
    assert main(["views", "show", str(folder), "--out", str(tmp_path / "sheet.png"), "--anchors=3"]) == 0
    shown = capsys.readouterr().out
    assert "mean |d - eps1|" in shown
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_search_resumes_and_gives_the_same_result(
    codes: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["views", "search", str(codes), "--encoder", str(runs["simclr"]), *QUICK, "--devices=1"]
    # Each batch is a shard, wherever the search was killed. In other batches, gradients differ by rounding errors,
    # which Adam's first steps, the signs of the gradients, amplify without bound.
    command += ["--batch_size=2", "--tolerance=0"]
    cut = tmp_path / "cut"
    threads = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_bench.cli", *command, "--steps=100", "--out", str(cut)], env=threads
    )
    deadline = time.monotonic() + 300
    while not list(cut.glob("*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = Shards(cut).missing()
    assert 0 < len(begun) < 6, "killed in the middle"
    before = {file: file.stat().st_mtime_ns for file in cut.glob("*.safetensors")}
    assert main([*command, "--steps=100", "--out", str(cut)]) == 0
    assert "resuming: " in capsys.readouterr().err
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert main([*command, "--steps=100", "--out", str(tmp_path / "whole")]) == 0
    for name, whole in rows_of(tmp_path / "whole").items():
        assert torch.equal(rows_of(cut)[name], whole), name


def in_ranks(codes: Path, encoder: Path, out: Path) -> None:
    job = Job(out / "search", images=12, batch_size=4, shard_rows=2)
    search_views(SearchCommand(codes, encoder, SearchSettings(views=2, steps=15), job), CPU)
    perturb_codes(PerturbCommand(codes, PerturbSettings(views=2), Job(out / "perturb", images=12, shard_rows=5)), CPU)


def test_two_ranks_make_the_same_rows_as_one_process(
    ranks: Ranks, codes: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    in_ranks(codes, runs["simclr"], tmp_path / "one")
    ranks(in_ranks, codes, runs["simclr"], tmp_path / "two")
    for kind in ("search", "perturb"):
        assert_same(rows_of(tmp_path / "two" / kind), rows_of(tmp_path / "one" / kind))


def test_perturb_prints_and_stores_the_noise_after_truncation(codes: Path, tmp_path: Path, capsys: Any) -> None:
    folder = perturb_codes(PerturbCommand(codes, PerturbSettings(views=3, sigma=0.5), Job(tmp_path)), CPU)
    assert Shards(folder).key["settings"]["effective_sigma"] == pytest.approx(0.35)
    assert "0.35 after truncation" in capsys.readouterr().err
    assert Shards(folder).shape("views") == (3, 1, 8, 8)


def test_samples_are_a_folder_of_codes(runs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    sampled, first = tmp_path / "sampled", tmp_path / "first"
    for folder, count in ((sampled, 9), (first, 4)):
        assert main(["views", "sample", str(runs["stylegan2"]), f"--images={count}", "--out", str(folder)]) == 0
    assert torch.equal(Shards(sampled).read_all("images", count=4), Shards(first).read_all("images"))
    latents = noise(torch.arange(9), 0, 5, use="latents")
    torch.testing.assert_close(Shards(sampled).read_all("codes"), load_method(runs["stylegan2"]).codes_of(latents))  # type: ignore[operator]
    assert main(["views", "perturb", str(sampled), "--out", str(tmp_path / "perturbed"), "--sigma=0", "--views=1"]) == 0
    still = Shards(tmp_path / "perturbed").read_all("views")[:, 0].int() - Shards(sampled).read_all("images").int()
    assert still.abs().max() <= 1


def test_a_folder_that_another_process_fills_is_refused(runs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    command = ["views", "sample", str(runs["stylegan2"]), "--images=4", "--devices=1", "--out", str(tmp_path / "out")]
    with folder_lock(tmp_path / "out"):
        assert main(command) == 1
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert f"{tmp_path / 'out'} is in use by process" in capsys.readouterr().err
    assert main([*command, "--wait"]) == 0
    with folder_lock(tmp_path / "out"):
        assert main(command) == 0  # complete: nothing is written


def refused(capsys: Any, *arguments: object) -> str:
    """Run a command that fails with a usage error, and return the line of the error."""
    assert main(["views", *map(str, arguments)]) == 2
    lines: list[str] = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


@pytest.fixture
def ours(codes: Path, tmp_path: Path) -> Path:
    """A copy of the codes that a test may damage."""
    return Path(shutil.copytree(codes, tmp_path / "ours"))


def test_missing_or_incomplete_codes_are_refused(ours: Path, runs: dict[str, Path], capsys: Any) -> None:
    assert "no readable index.json" in refused(capsys, "perturb", ours.parent)
    (ours / "00001.safetensors").unlink()
    assert "8 of 30 rows are missing" in refused(capsys, "perturb", ours)
    assert "8 of 30 rows are missing" in refused(capsys, "search", ours, "--encoder", runs["simclr"])


def test_codes_of_another_generator_are_refused(ours: Path, runs: dict[str, Path], capsys: Any, tmp_path: Path) -> None:
    index = ours / "index.json"
    text = index.read_text()
    index.write_text(text.replace(str(runs["inversion"]), str(runs["stylegan2"])))
    assert "codes of other weights" in refused(capsys, "perturb", ours)
    index.write_text(text)
    for file in ours.glob("*.safetensors"):
        save_file({name: t[:, :3].contiguous() if name == "codes" else t for name, t in load_file(file).items()}, file)
    assert "codes of (3, 6), the generator" in refused(capsys, "perturb", ours)
    index.write_text(text.replace(str(runs["inversion"]), str(tmp_path / "gone")))
    assert "no config.yaml in" in refused(capsys, "perturb", ours)


def test_views_are_refused_as_codes(codes: Path, runs: dict[str, Path], capsys: Any, tmp_path: Path) -> None:
    folder = perturb_codes(PerturbCommand(codes, PerturbSettings(views=1), Job(tmp_path)), CPU)
    for command in (["perturb", folder], ["search", folder, "--encoder", runs["simclr"]]):
        assert "not codes: give a folder of codes" in refused(capsys, *command)


def test_an_inversion_does_not_need_the_run_of_its_generator(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    generator = Path(shutil.copytree(runs["stylegan2"], tmp_path / "g"))
    run = untrained(tmp_path / "e", "inversion", f"--method.generator={generator}", "--method.encoder.width=8",
                    "--method.perceptual=null")  # fmt: skip
    generator.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = invert_images(InvertCommand(run, InvertSettings(steps=0), Job(tmp_path / "codes", images=3)), CPU)
    assert main(["views", "show", str(folder)]) == 0
    assert (folder / "views.png").is_file()


def test_the_data_of_a_run_that_were_moved_are_found_by_a_flag(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    folder, other = photos(tmp_path / "photos"), photos(tmp_path / "other", 4)
    source = ["--data=ssl_bench.data.ImageFolder", f"--data.root={folder}", "--data.size=8"]
    run = untrained(tmp_path / "run", "stylegan2", *FLAGS, *source)
    record_data(load_run(run, CPU).data, run)
    moved, out = shutil.move(folder, tmp_path / "moved"), tmp_path / "codes"
    invert = ["invert", run, "--images=3", "--steps=0", "--out", out, "--data.root"]
    message = refused(capsys, *invert, other)
    assert f"other data than those in {other}" in message
    assert message.strip().endswith("give the folder of the data of the run with --data.root")
    assert main(["views", *map(str, invert), str(moved)]) == 0
    assert main(["views", "show", str(out), "--data.root", str(moved)]) == 0


def test_unsuitable_encoders_are_refused(codes: Path, runs: dict[str, Path], capsys: Any, tmp_path: Path) -> None:
    assert "no projections" in refused(capsys, "search", codes, "--encoder", runs["inversion"])
    assert "no config.yaml" in refused(capsys, "search", codes, "--encoder", tmp_path)
    recipe = "--views.recipe=[{resize: {size: 16}}, normalize]"
    larger = untrained(tmp_path / "larger", "simclr", "--method.backbone.width=4", recipe)
    assert "takes images of (1, 16, 16)" in refused(capsys, "search", codes, "--encoder", larger)


def test_a_folder_of_rows_with_other_settings_is_refused(codes: Path, capsys: Any, tmp_path: Path) -> None:
    assert main(["views", "perturb", str(codes), "--out", str(tmp_path), "--views=1"]) == 0
    line = refused(capsys, "perturb", codes, "--out", tmp_path, "--views=1", "--sigma=0.3")
    assert "settings.sigma is 0.2 there and 0.3 here" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["perturb", "--images=31"], "there are 30 in"),
        (["perturb", "--images=0"], "images must be an integer of at least 1, got 0"),
        (["perturb", "--sigma=-1"], "sigma must be a number of at least 0, got -1"),
        (["perturb", "--sigmas=1"], "unknown argument --sigmas=1: did you mean --sigma"),
        (["search"], "encoder"),
        (["search", "--encoder=none", "--eps1=-1"], "eps1 must be a number in [0, 2], got -1"),
    ],
)
def test_invalid_flags_are_refused(arguments: list[str], message: str, codes: Path, capsys: Any) -> None:
    name, *flags = arguments
    assert message in refused(capsys, name, codes, *flags)


def test_a_search_from_non_finite_codes_is_refused(ours: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    file = ours / "00000.safetensors"
    tensors = load_file(file)
    tensors["codes"] = tensors["codes"].clone().index_fill_(0, torch.tensor([5]), torch.nan)
    save_file(tensors, file)
    command = SearchCommand(
        ours, runs["simclr"], SearchSettings(views=2, steps=3, eps1=0.3), Job(tmp_path / "search", images=8)
    )
    with pytest.raises(UserError, match="the code of image 5 is not finite"):
        search_views(command, CPU)


def test_a_search_that_would_not_move_is_refused(codes: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    command = SearchCommand(codes, runs["simclr"], SearchSettings(views=2, eps1=0.03, uniformity=0.0), Job(tmp_path))
    with pytest.raises(UserError, match=r"with eps1 0\.03 and uniformity 0 .* no view would move"):
        search_views(command, CPU)
    assert not list(tmp_path.iterdir())


def test_a_missing_command_is_refused(capsys: Any) -> None:
    assert "COMMAND is missing: give one of invert, sample" in refused(capsys)
