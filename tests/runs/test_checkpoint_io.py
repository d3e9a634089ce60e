"""Checkpoints of runs: full disks, damaged files and checkpoints of other runs."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.cli import main
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack
from ssl_bench.errors import RunError, UserError
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.runs.checkpoint_io import RunCheckpointIO
from tests.full_disk import largest_file

TINY = [
    "--method.encoder.hidden=[32]", "--method.decoder.hidden=[32]", "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1000", "--evaluation.protocols=[knn,maps]",
]  # fmt: skip
COMMAND = ["--method=vae", "--data=digits", "--epochs=2", *TINY]


def only_run(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".part", ".partial"))]


def written(content: Any, path: Path) -> bytes:
    RunCheckpointIO(to_dict(resolve([*stack("vae", "digits", None), *TINY]))).save_checkpoint(content, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs")
    assert main(["bench", *COMMAND, f"--out={out}"]) == 0
    return only_run(out)


@pytest.mark.parametrize("rows", [10, 1_000_000])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.9, 1.0])
def test_the_previous_checkpoint_survives_a_full_disk_at_any_byte(tmp_path: Path, share: float, rows: int) -> None:
    """Large tensors bypass the buffer of the file, so that their errors take another way through torch."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    before = written({"state_dict": {"w": torch.zeros(rows)}}, path)
    with (
        largest_file(int(share * (len(before) - 1))),
        pytest.raises(
            RunError, match=r"^cannot write .*last\.ckpt: File too large: its previous content is kept; free"
        ),
    ):
        written({"state_dict": {"w": torch.ones(rows)}}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_checkpoint_is_not_written_to_another_file_system_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    written({"state_dict": {}}, tmp_path / "last.ckpt")


def test_a_full_disk_during_training_ends_the_run_and_the_same_command_resumes_it(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(self: object, trainer: Any, module: object) -> None:
        if trainer.current_epoch == 1:
            disk.__enter__()

    command, disk = ["fit", *COMMAND, f"--out={tmp_path}"], largest_file(20_000)
    with monkeypatch.context() as patch:
        patch.setattr(Stopwatch, "on_train_epoch_start", fill_disk)
        try:
            assert main(command) == 1
        finally:
            disk.__exit__(None, None, None)
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("ssl-bench: cannot write ")
    assert "last.ckpt: File too large: its previous content is kept; free some space, and the same" in error[-1]
    assert not unfinished(tmp_path)
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "epoch 2/2" in output
    assert "epoch 1/2" not in output
    expected, found = (load_method(run).state_dict() for run in (undisturbed, only_run(tmp_path)))
    assert all(torch.equal(expected[name], value) for name, value in found.items())


@pytest.mark.parametrize("size", [0, 6_000, 30_000, 60_000])
def test_a_full_disk_during_scoring_leaves_a_run_that_the_same_command_completes(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """The limits stop the configuration, the features of two splits and the figures."""
    command = ["bench", *COMMAND, f"--out={tmp_path}"]
    folder = tmp_path / undisturbed.name
    written_before = ("config.yaml", "checkpoints/last.ckpt")
    for name in written_before:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((undisturbed / name).read_bytes())
    with largest_file(size):
        assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ssl-bench: cannot write ")
    assert "File too large" in line
    assert not unfinished(tmp_path)
    assert not (folder / "metrics.json").exists()
    assert main(command) == 0
    assert metrics(folder) == metrics(undisturbed)


def metrics(folder: Path) -> dict[str, float]:
    from ssl_bench.results.record import Record

    return Record.read(folder).metrics


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "is empty: delete it to train the run anew"),
        (lambda content: content[: len(content) // 2], "is damaged"),
        (lambda content: content.replace(content[20_000:20_064], b"\1" * 64), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_named_by_the_command_that_would_resume_from_it(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, message: str
) -> None:
    folder = tmp_path / undisturbed.name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_bytes((undisturbed / "config.yaml").read_bytes())
    (folder / "checkpoints/last.ckpt").write_bytes(damage((undisturbed / "checkpoints/last.ckpt").read_bytes()))
    for command in (["fit", *COMMAND, f"--out={tmp_path}"], ["evaluate", str(folder)]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"ssl-bench: {folder}/checkpoints/last.ckpt ")
        assert message in line


def test_a_run_does_not_resume_from_the_checkpoint_of_another_run(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", *COMMAND, "--seed=1", f"--out={tmp_path}"]
    assert main([*command, "--epochs=0"]) == 0
    config = tmp_path / only_run(tmp_path).name
    (config / "checkpoints/last.ckpt").write_bytes((undisturbed / "checkpoints/last.ckpt").read_bytes())
    capsys.readouterr()
    assert main([*command, "--epochs=0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "last.ckpt is of another run than its folder: seed is 0, not 1; trainer.max_epochs is 2, not 0: " in line


def test_a_checkpoint_contains_the_configuration_of_its_run_and_no_path_of_this_machine(undisturbed: Path) -> None:
    content = (undisturbed / "checkpoints/last.ckpt").read_bytes()
    assert str(undisturbed.parent).encode() not in content
    assert torch.load(undisturbed / "checkpoints/last.ckpt", weights_only=True)["config"]["seed"] == 0


def test_a_checkpoint_without_a_configuration_is_no_checkpoint_of_a_run(tmp_path: Path) -> None:
    torch.save({"method": {"class_path": "a"}, "state_dict": {"w": torch.ones(1)}}, tmp_path / "last.ckpt")
    config = to_dict(resolve([*stack("vae", "digits", None), *TINY]))
    with pytest.raises(UserError, match=r"last\.ckpt does not contain the configuration of its run"):
        RunCheckpointIO(config).load_checkpoint(tmp_path / "last.ckpt")
