"""The wheel: the installed package works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from ssl_bench.catalogue import config_root

ROOT = Path(__file__).parent.parent


def test_the_wheel_carries_package_and_configs_and_its_command_works(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    configs = {str(path.relative_to(config_root())) for path in config_root().rglob("*.yaml")}
    installed = tmp_path / "site" / "ssl_bench" / "configs"
    assert {str(path.relative_to(installed)) for path in installed.rglob("*.yaml")} == configs
    assert (tmp_path / "site" / "ssl_bench" / "py.typed").is_file()
    code = "from ssl_bench.config.stack import stack; print(stack('simvae', 'digits', None)); "
    code += "print(stack(None, None, 'assimilation_9/eps_0.1_0.15'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(installed / "experiment" / "simvae-digits.yaml") in done.stdout
    assert str(installed / "experiment" / "simclr-cifar10-a2_w_search.yaml") in done.stdout
