"""`ssl-bench bench` and `ssl-bench fit`: run folders, records, resuming, non-finite losses."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.results.record import SCHEMA
from ssl_bench.results.training_log import read_log
from ssl_bench.runs.trainer_checks import check_accelerator

QUICK = [
    "--method.encoder.hidden=[32]",
    "--method.decoder.hidden=[32]",
    "--evaluation.mlp_probe.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=5",
]
NOT_BY_DEFAULT = {"linear_probe_sgd", "posthoc_reconstruction", "generation", "noise_probe"}
OF_LAYERS = {"layer_probe"}
BENCH = ["bench", "--method", "simvae", "--data", "digits", "--epochs", "2", *QUICK]


def only_run(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run for the tests that only look at it."""
    out = tmp_path_factory.mktemp("runs")
    assert main([*BENCH, f"--out={out}"]) == 0
    return only_run(out)


def test_a_run_folder_holds_config_checkpoint_features_metrics_figures_and_logs(run: Path) -> None:
    assert re.fullmatch(r"simvae-digits-s0-[0-9a-f]{8}", run.name)
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert found >= {
        "config.yaml",
        "metrics.json",
        "checkpoints/last.ckpt",
        "features/manifest.json",
        *(f"features/{split}.safetensors" for split in ("train", "validation", "test")),
        *(
            f"figures/{name}.png"
            for name in ("loss", "map", "confusion", "classes", "neighbours", "views", "reconstructions", "samples")
        ),
        "logs/version_0/metrics.csv",
    }
    assert not [name for name in found if name.endswith((".part", ".tmp"))]


def test_the_record_holds_the_run_and_its_metrics(run: Path) -> None:
    record = json.loads((run / "metrics.json").read_text())
    assert record["schema"] == SCHEMA
    assert (record["method"], record["data"], record["seed"], record["epochs"]) == ("simvae", "digits", 0, 2)
    assert record["untrained"] is False
    assert run.name.endswith(record["config_hash"])
    assert set(record["seconds"]) == {"fit", "extract", *PROTOCOLS} - NOT_BY_DEFAULT - OF_LAYERS
    assert record["seconds"]["fit"] > 0
    assert record["peak_memory_mb"] > 100
    assert record["parameters"] > 1_000
    assert record["images_seen"] > 2 * 1_000
    assert 50 < record["metrics"]["knn_5/accuracy"] <= 100
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_same_command_prints_the_recorded_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "metrics.json").stat().st_mtime_ns
    assert main([*BENCH, f"--out={run.parent}"]) == 0
    assert "already recorded at commit" in capsys.readouterr().out
    assert (run / "metrics.json").stat().st_mtime_ns == before


def test_a_run_in_which_nothing_can_be_scored_exits_with_1_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--epochs=0", "--evaluation.protocols=[knn]", "--evaluation.knn.k=[100000]", f"--out={tmp_path}"]
    assert main([*BENCH, *flags]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "no protocol has scores; 1 failed, knn: knn: k = 100000" in message
    assert main([*BENCH, *flags]) == 1
    output, error = capsys.readouterr()
    assert "already recorded" in output
    assert error.splitlines() == [message]
    assert main(["fit", *BENCH[1:], *flags]) == 0  # the training has succeeded


def test_no_commit_is_named_if_the_record_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--epochs=0", "--evaluation.protocols=[knn]", f"--out={tmp_path}"]
    assert main([*BENCH, *flags]) == 0
    file = only_run(tmp_path) / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"commit": None}))
    capsys.readouterr()
    assert main([*BENCH, *flags]) == 0
    assert f"already recorded: delete {file.parent} to run it again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "fits"),
    [("gpu", False, False, False), ("cuda", False, True, False), ("mps", True, False, False),
     ("gpu", True, False, True), ("gpu", False, True, True), ("auto", False, False, True), ("cpu", False, False, True)],
)  # fmt: skip
def test_an_accelerator_that_the_machine_lacks_is_refused(
    accelerator: str, cuda: bool, mps: bool, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    if fits:
        check_accelerator(accelerator)
        return
    with pytest.raises(UserError, match=f"trainer.accelerator is {accelerator}, but torch finds no such GPU"):
        check_accelerator(accelerator)


def test_table_prints_the_recorded_runs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(run.parent)]) == 0
    assert "simvae" in capsys.readouterr().out


def test_a_checkpoint_loads_as_its_method(run: Path) -> None:
    method = load_method(run / "checkpoints" / "last.ckpt")
    assert type(method).__name__ == "SimVAE"
    assert not method.training
    assert method.encode(torch.rand(2, 1, 8, 8)).shape == (2, method.feature_dim)


def test_an_interrupted_run_resumes_from_its_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object, trainer: object, module: object) -> None:
        if getattr(trainer, "current_epoch", 0) == 1:
            raise KeyboardInterrupt

    command = ["fit", *BENCH[1:], f"--out={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr("ssl_bench.callbacks.seeding.EpochSeed.on_train_epoch_start", stop)
        assert main(command) == 1
    output, error = capsys.readouterr()
    assert "epoch 1/2" in output
    assert error.strip().endswith("interrupted; the same command resumes from the last checkpoint")
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "epoch 2/2" in output
    assert "epoch 1/2" not in output

    weights = load_method(only_run(tmp_path)).state_dict()
    assert main(["bench", *command[1:]]) == 0  # training is complete: the run is scored
    assert "epoch" not in capsys.readouterr().out.replace("epochs", "")
    assert (only_run(tmp_path) / "metrics.json").is_file()
    after = load_method(only_run(tmp_path))
    assert all(torch.equal(weights[name], value) for name, value in after.state_dict().items())
    manifest = only_run(tmp_path) / "features" / "manifest.json"
    encoded = manifest.stat().st_mtime_ns
    assert main(["evaluate", str(only_run(tmp_path)), "--evaluation.protocols=[knn]"]) == 0
    assert (
        manifest.stat().st_mtime_ns == encoded
    )  # the features are those of the checkpoint: they are not encoded again


KILLED = """
import os, pkgutil, signal, sys

place, calls, *arguments = sys.argv[1:]
owner, name = pkgutil.resolve_name(place.rpartition(".")[0]), place.rpartition(".")[2]
function, left = getattr(owner, name), int(calls)

def kill(*given, **named):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*given, **named)

setattr(owner, name, kill)
from ssl_bench.cli import main
main(arguments)
"""


def test_a_run_that_is_killed_at_any_place_is_recorded_as_if_it_were_not(run: Path, tmp_path: Path) -> None:
    command = [*BENCH, f"--out={tmp_path / 'runs'}"]
    (tmp_path / "killed.py").write_text(KILLED)
    for place, calls in {
        "ssl_bench.callbacks.progress.EpochLine.on_train_batch_end": 18,  # in the second epoch
        "ssl_bench.evaluation.row_file.RowFile.write": 3,
        "ssl_bench.runs.score.plot_run": 1,
    }.items():
        script = [sys.executable, "killed.py", place, str(calls), *command]
        assert subprocess.run(script, cwd=tmp_path, timeout=300).returncode == -signal.SIGKILL, place
    assert main(command) == 0
    folder = only_run(tmp_path / "runs")
    metrics, expected = (json.loads((one / "metrics.json").read_text())["metrics"] for one in (folder, run))
    assert metrics == expected
    assert read_log(folder / "logs", "train/") == read_log(run / "logs", "train/")
    assert {file.name for file in folder.rglob("*.png")} == {file.name for file in run.rglob("*.png")}
    assert not [*folder.rglob("*.part"), *folder.rglob("*.partial")]


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_finite_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_bench.methods.simvae import SimVAE
    from ssl_bench.methods.vae import Posteriors

    objective = SimVAE.objective

    def diverge(self: SimVAE, q: Posteriors) -> dict[str, torch.Tensor]:
        terms = objective(self, q)
        return terms | {"loss": terms["loss"] / (0 if self.global_step == 30 else 1)}

    monkeypatch.setattr(SimVAE, "objective", diverge)
    assert main([*BENCH, "--epochs=3", f"--out={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert re.search(r"^ssl-bench: non-finite loss at step 31 \(epoch 1\)", error, re.MULTILINE)
    weights = load_method(only_run(tmp_path)).state_dict()
    assert all(value.isfinite().all() for value in weights.values())


def test_non_finite_weights_are_not_checkpointed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite loss can have a non-finite gradient, on the last step before a checkpoint."""
    from ssl_bench.methods.vae import VAE

    def poison(self: VAE) -> None:
        if self.trainer.is_last_batch and self.current_epoch == 1:
            next(self.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]

    monkeypatch.setattr(VAE, "on_after_backward", poison)
    assert main([*BENCH, "--epochs=3", f"--out={tmp_path}"]) == 1
    assert re.search(r"^ssl-bench: non-finite weights at step \d+ \(epoch 1\)", capsys.readouterr().err)
    assert all(value.isfinite().all() for value in load_method(only_run(tmp_path)).state_dict().values())


def test_gradients_are_clipped_with_a_fused_optimizer_in_bfloat16(tmp_path: Path) -> None:
    flags = ["--trainer.gradient_clip_val=1e-12", "--trainer.precision=bf16-mixed", "--method.optimizer=SGD"]
    fused = ["--method.optimizer.fused=true", "--method.optimizer.lr=1.0"]
    assert main(["fit", *BENCH[1:], f"--out={tmp_path / 'clipped'}", *flags, *fused]) == 0
    assert main(["fit", *BENCH[1:], f"--out={tmp_path / 'none'}", "--epochs=0", *flags, *fused]) == 0
    clipped, start = (load_method(only_run(tmp_path / name)).state_dict() for name in ("clipped", "none"))
    for name, value in start.items():
        if not name.startswith("latent_"):
            torch.testing.assert_close(clipped[name], value)


def test_channels_last_changes_the_layout_of_convolutions_and_no_loss(tmp_path: Path) -> None:
    encoder = "--method.encoder=ssl_bench.networks.resnet.ResNetEncoder"
    command = ["fit", "--method", "vae", "--data", "digits", "--epochs=1", "--trainer.accelerator=cpu", encoder]
    weights = {}
    for layout in ("true", "false"):
        flags = [f"--channels_last={layout}", "--method.encoder.width=8", f"--out={tmp_path / layout}"]
        assert main([*command, *flags, "--trainer.limit_train_batches=2"]) == 0
        state = torch.load(only_run(tmp_path / layout) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        weights[layout] = state["encoder.backbone.3.conv1.weight"]
    assert weights["true"].is_contiguous(memory_format=torch.channels_last)
    assert not weights["false"].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weights["true"], weights["false"], rtol=1e-3, atol=1e-3)


def test_without_an_account_wandb_logs_the_metrics_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "argv", ["ssl-bench", "--unrecorded_flag", f"--data.root={tmp_path}"])
    assert main([*BENCH, "--epochs=1", f"--out={tmp_path}", "--evaluation.protocols=[knn]"]) == 0
    wandb.teardown()  # ends its writer process: `finish` may return before the log is on disk
    (log,) = only_run(tmp_path).glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    assert b"knn_5/accuracy" in content
    assert b"seconds/fit" in content  # of the summary
    assert b"peak_memory_mb" in content
    assert b"figures/views" in content
    assert b"sigma2" in content  # the configuration
    assert b"unrecorded_flag" not in content  # the command line
    assert str(tmp_path).encode() not in content
