"""Runs on own images: named after their folder, found after it was moved, refused for other images."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.config.resolve import build_data, resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.data.fingerprint import record_data
from ssl_bench.errors import UserError
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.runs.moved_data import check_moved_data
from ssl_bench.runs.train import make_folder
from tests.data.samples import encoded, write
from tests.runs.test_train import QUICK, only_run

EVALUATE = ["evaluate", "pixels", "--data=image_folder", "--data.size=8", "--trainer.accelerator=cpu"]
KNN = ["--evaluation.protocols=[knn]", "--evaluation.knn.k=[1]"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))


def photos(folder: Path, first_grey: int = 0) -> Path:
    """A folder of two classes of images."""
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            write(folder / name / f"{i}.png", encoded(first_grey + label + i % 2, (8, 8), "PNG"))
    return folder


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("config.yaml", "metrics.json", "data.json")}


def test_a_scored_encoder_is_refused_for_another_folder_of_the_same_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first, second = tmp_path / "runs", photos(tmp_path / "a" / "photos"), photos(tmp_path / "b" / "photos", 4)
    score = [*EVALUATE, *KNN, f"--out={out}"]
    monkeypatch.setattr(sys, "argv", ["ssl-bench", *score, f"--data.root={first}"])
    assert command(*score, f"--data.root={first}") == 0
    run = only_run(out)
    assert run.name.startswith("pixels-photos-s0-")
    before = contents(run)
    record = json.loads(before["metrics.json"])
    assert record["data"] == "photos"
    assert record["fingerprint"] == json.loads(before["data.json"])
    assert "--data.root=.../photos" in record["command"]
    assert str(tmp_path).encode() not in before["metrics.json"] + before["data.json"]

    capsys.readouterr()
    assert command(*score, f"--data.root={second}") == 2
    advice = "give --data.name NAME to distinguish the data sets, or another --out"
    message = f"ssl-bench: {run} is a run on other data than those in {second}: different pixels; {advice}\n"
    assert capsys.readouterr().err == message
    assert contents(run) == before
    assert only_run(out) == run

    assert command(*score, f"--data.root={second}", "--data.name=others") == 0
    assert {path.name.split("-")[1] for path in out.iterdir()} == {"photos", "others"}


def test_only_the_data_are_built_to_check_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the encoder was built")

    folder, moved = photos(tmp_path / "a" / "photos"), photos(tmp_path / "b" / "photos", 4)
    configs = [
        resolve([*stack("simclr", "image_folder", None), "--data.size=8", f"--data.root={root}"])
        for root in (folder, moved)
    ]
    make_folder(tmp_path / "run", to_dict(configs[0]))
    data = build_data(configs[0])
    data.setup()
    record_data(data, tmp_path / "run")
    monkeypatch.setattr(SimCLR, "__init__", refuse)
    with pytest.raises(UserError, match="different pixels"):
        check_moved_data(configs[1], tmp_path / "run")


def test_a_run_is_found_after_its_data_were_moved(tmp_path: Path) -> None:
    out, folder = tmp_path / "runs", photos(tmp_path / "a" / "photos")
    assert command(*EVALUATE, *KNN, f"--out={out}", f"--data.root={folder}") == 0
    moved = shutil.move(folder, tmp_path / "photos")
    assert command(*EVALUATE, *KNN, f"--out={out}", f"--data.root={moved}") == 0
    record = json.loads((only_run(out) / "metrics.json").read_text())
    assert len(record["evaluations"]) == 1


def test_evaluate_refuses_a_run_whose_images_were_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, folder = tmp_path / "runs", photos(tmp_path / "photos")
    assert command(*EVALUATE, *KNN, f"--out={out}", f"--data.root={folder}") == 0
    run = only_run(out)
    before = contents(run)
    shutil.rmtree(folder)
    photos(folder, 4)
    capsys.readouterr()
    assert command("evaluate", run, *KNN) == 2
    assert capsys.readouterr().err == (
        f"ssl-bench: {run} is a run on other data than those in {folder}: different pixels; "
        "give the folder of the data of the run with --data.root\n"
    )
    assert contents(run) == before


def test_a_trained_run_neither_resumes_nor_is_printed_for_other_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "runs", photos(tmp_path / "a" / "photos")
    other = photos(tmp_path / "b" / "photos", 4)
    settings = ["--data=image_folder", "--data.size=8", "--data.batch_size=4", f"--out={out}", *QUICK, *KNN]
    train = ["--method=simvae", "--epochs=1", *settings]
    assert command("fit", *train, f"--data.root={folder}") == 0
    run = only_run(out)
    assert run.name.startswith("simvae-photos-s0-")
    config = (run / "config.yaml").read_bytes()
    capsys.readouterr()
    for name in ("fit", "bench"):
        assert command(name, *train, f"--data.root={other}") == 2
        assert f"{run} is a run on other data than those in {other}: different pixels" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == config
    assert not (run / "metrics.json").exists()

    shutil.rmtree(folder)
    photos(folder, 4)  # in place: found when the run resumes, without reading the data twice
    assert command("bench", *train, f"--data.root={folder}") == 2
    assert "different pixels" in capsys.readouterr().err
    shutil.rmtree(folder)
    photos(folder)
    assert command("bench", *train, f"--data.root={folder}") == 0
    assert command("bench", *train, f"--data.root={other}") == 2
    output, error = capsys.readouterr()
    assert "already recorded" not in output
    assert "different pixels" in error
