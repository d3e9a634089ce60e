"""One small run for all tests of the API."""

from pathlib import Path

import pytest

from ssl_bench.cli import main


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE on digits after one epoch, scored by kNN and k-means."""
    out = tmp_path_factory.mktemp("runs")
    flags = ["--evaluation.protocols=[knn,kmeans]", "--trainer.accelerator=cpu", "--trainer.precision=32-true"]
    assert main(["bench", "--method=vae", "--data=digits", "--epochs=1", *flags, f"--out={out}"]) == 0
    (folder,) = out.iterdir()
    return folder
