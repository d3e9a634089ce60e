"""SwAV: frozen and normalised prototypes, the queue, and batches that do not fit into it."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from ssl_bench.cli import main
from ssl_bench.losses.swav import codes, swapped_prediction
from ssl_bench.methods.swav import SwAV
from tests.methods.test_contract import tiny, tiny_flags, trained_weights, views_of


def test_prototypes_are_not_trained_in_the_first_epochs(tmp_path: Path) -> None:
    flags = ["--method.queue_size=0", "--method.frozen_epochs"]
    frozen = trained_weights("swav", tmp_path / "frozen", flags[0], f"{flags[1]}=2")["prototypes.weight"]
    initial = tiny("swav").method
    assert isinstance(initial, SwAV)
    torch.testing.assert_close(frozen, F.normalize(initial.prototypes.weight.detach(), dim=1))
    trained = trained_weights("swav", tmp_path / "trained", flags[0], f"{flags[1]}=1")["prototypes.weight"]
    assert not torch.allclose(trained, frozen, atol=1e-4)


@pytest.mark.parametrize("queue_epoch", [0, 1])
def test_codes_use_the_queue_from_its_epoch_on(queue_epoch: int) -> None:
    method = tiny("swav", f"--method.queue_epoch={queue_epoch}").method
    assert isinstance(method, SwAV)
    assert method.queue is not None
    z, c = F.normalize(torch.randn(2, 8, 16), dim=2), method.prototypes.weight.detach()
    queued = [method.queue[name] @ c.T if queue_epoch == 0 else None for name in ("first", "second")]
    q = torch.stack([codes(view @ c.T, rows) for view, rows in zip(z, queued, strict=True)])
    torch.testing.assert_close(method.objective(z)["loss"], swapped_prediction(z @ c.T, q))


def test_a_step_enqueues_the_projections_of_both_views() -> None:
    run = tiny("swav")
    batch = views_of(run, 8)
    assert isinstance(run.method, SwAV)
    assert run.method.queue is not None
    run.method.training_step(batch, 0)
    with torch.no_grad():
        z = F.normalize(run.method.embed_views(batch.images), dim=2)
    torch.testing.assert_close(run.method.queue["first"][:8], z[0])
    torch.testing.assert_close(run.method.queue["second"][:8], z[1])


def test_a_batch_larger_than_the_queue_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [flag for flag in tiny_flags("swav") if "queue_size" not in flag]
    command = ["fit", "--method=swav", "--data=digits", f"--out={tmp_path}", *flags, "--method.queue_size=64"]
    assert main([*command, "--data.batch_size=65"]) == 2
    error = capsys.readouterr().err
    assert "a queue of 64 is shorter than the batch of 65 images" in error
    assert error.count("\n") == 1
