"""Commands that are refused leave no run folder, and change none that existed."""

from pathlib import Path

import numpy as np
import pytest

from ssl_bench.cli import main
from ssl_bench.errors import RunError, UserError
from ssl_bench.runs.refused import removed_if_refused
from tests.runs.test_train import QUICK

SIMVAE = ["fit", "--method=simvae", "--data=digits", "--epochs=1", *QUICK]


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--method=simvae", "--data=cifar10", "--data.root=nowhere", *QUICK],
        [*SIMVAE, "--trainer.gradient_clip_algorithm=none"],
        [*SIMVAE, "--trainer.strategy=nothing"],
        [*SIMVAE, "--data.fit_images=100000"],
        [*SIMVAE, "--names.method=../../x"],
        ["fit", "--method=simclr", "--data=digits", "--views.num_views=1"],
        ["evaluate", "timm/no_such_model", "--data=digits"],
        ["evaluate", "pixels", "--data=cifar10", "--data.root=nowhere"],
        ["evaluate", "features.npz", "--data=../x"],
    ],
)
def test_a_refused_command_leaves_no_run_folder(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("features.npz", features=np.eye(8, dtype=np.float32), labels=np.arange(8) % 2)
    out = tmp_path / "runs"
    assert main([*command, f"--out={out}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not out.exists()


def test_files_of_a_new_folder_are_removed_with_a_usage_error_only(tmp_path: Path) -> None:
    def fail(folder: Path, error: Exception) -> None:
        with removed_if_refused(folder):
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").touch()
            raise error

    def write(folder: Path, error: Exception) -> None:
        with pytest.raises(type(error)):
            fail(folder, error)

    write(tmp_path / "kept", RunError("non-finite loss"))
    write(tmp_path / "kept", UserError("no such data"))  # the folder has a configuration already
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"config.yaml", "logs"}
    write(tmp_path / "removed", UserError("no such data"))
    assert not (tmp_path / "removed").exists()
    (tmp_path / "trained" / "checkpoints").mkdir(parents=True)
    (tmp_path / "trained" / "checkpoints" / "last.ckpt").touch()
    write(tmp_path / "trained", UserError("no such protocol"))
    assert (tmp_path / "trained" / "checkpoints" / "last.ckpt").exists()


def test_files_that_were_in_the_folder_before_a_refused_command_are_kept(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("notes.txt", "logs/old.csv", ".lock"):
        (tmp_path / name).touch()

    @removed_if_refused(tmp_path)
    def fail() -> None:
        (tmp_path / "wandb").mkdir()
        (tmp_path / "wandb" / "latest").symlink_to(tmp_path / "logs")
        for name in ("config.yaml", "logs/new.csv"):
            (tmp_path / name).touch()
        raise UserError("no such data")

    with pytest.raises(UserError):
        fail()
    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert kept == {"notes.txt", "logs", "logs/old.csv", ".lock"}
