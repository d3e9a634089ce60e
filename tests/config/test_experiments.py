"""Every experiment: what it resolves to, what its file says, and one step at its full size."""

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn.utils import parametrizations

from ssl_bench.catalogue import config_file, config_names
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import experiment_names, inherited_files, stack
from ssl_bench.config.tables import read_row, row_names
from ssl_bench.data.types import Batch
from ssl_bench.methods.supervised import Supervised
from tests.config import snapshot
from tests.methods.test_contract import losses_of

EXPERIMENTS = sorted(experiment_names())
FILES = sorted(config_names("experiment"))
ALIKE = {"cifar100": "cifar10", "imagenet100": "imagenet10"}
"""Data sets with images of the same size, for which every experiment builds the same networks."""


def twin(experiment: str) -> str | None:
    """The experiment of the same method and variant on the data set that represents this one's."""
    method, data, *variant = snapshot.base_of(experiment).split("-")
    return "-".join([method, ALIKE[data], *variant]) if data in ALIKE else None


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def files_below(experiment: str) -> list[Path]:
    """The files on which an experiment's own file is stacked."""
    method, data, *_ = experiment.split("-")
    inherited = [path for path in inherited_files(experiment) if path.stem != experiment]
    return [config_file("data", data), config_file("method", method), *inherited]


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Lines that name each key that differs, with its value before and now."""
    keys = sorted(set(was) | set(now))
    pairs = {key: (was.get(key, snapshot.ABSENT), now.get(key, snapshot.ABSENT)) for key in keys}
    return [f"{key}: {old!r} -> {new!r}" for key, (old, new) in pairs.items() if old != new]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_resolves_to_what_it_resolved_to_before(experiment: str) -> None:
    changed = differences(snapshot.recorded_settings(experiment), snapshot.resolved_settings(experiment))
    if changed:
        lines = "\n  ".join(changed)
        pytest.fail(f"{experiment} changed:\n  {lines}\nIf this is intended: {snapshot.COMMAND}", pytrace=False)


def test_the_snapshot_has_no_experiments_that_do_not_exist() -> None:
    assert sorted(snapshot.recorded()["experiments"]) == EXPERIMENTS


def test_a_changed_setting_is_reported_by_its_key() -> None:
    was = snapshot.recorded_settings("simclr-cifar10")
    changed = differences(was, was | {"method.init_args.alpha": 0.7})
    assert changed == ["method.init_args.alpha: 0.5 -> 0.7"]


@pytest.mark.parametrize("experiment", FILES)
def test_every_experiment_is_named_after_its_method_and_data(experiment: str) -> None:
    method, data, *_ = experiment.split("-")
    assert method in config_names("method")
    assert data in config_names("data")


@pytest.mark.parametrize("experiment", FILES)
def test_no_experiment_repeats_a_setting_of_the_files_below_it(experiment: str) -> None:
    below: dict[str, Any] = {}
    for path in files_below(experiment):
        below = merge(below, read(path) | {"reference": {}})
    own, inherited = (dict(snapshot.flatten(config)) for config in (read(config_file("experiment", experiment)), below))
    assert [key for key, value in own.items() if key in inherited and inherited[key] == value] == []


@pytest.mark.parametrize("experiment", FILES)
def test_every_experiment_begins_with_its_description_and_its_command(experiment: str) -> None:
    description, command = config_file("experiment", experiment).read_text(encoding="utf-8").split("\n")[:2]
    assert description.startswith("# ")
    assert description.endswith(".")
    words = shlex.split(command)
    assert words[:5] == ["#", "ssl-bench", "bench", "--experiment", experiment]
    if flags := words[5:]:
        resolve([*stack(None, None, experiment), *flags])


@pytest.mark.parametrize("table", sorted(config_names("table")))
def test_every_table_begins_with_its_description_and_its_command_or_that_of_a_row(table: str) -> None:
    description, command = config_file("table", table).read_text(encoding="utf-8").split("\n")[:2]
    assert description.startswith("# ")
    assert description.endswith(".")
    *words, last = shlex.split(command)
    name, _, scale = table.partition("-")
    if scale:
        assert [*words, last][:7] == ["#", "ssl-bench", "sweep", "--table", name, "--scale", scale]
    elif words[2] == "table":
        assert [*words, last] == ["#", "ssl-bench", "table", table]
    else:
        assert words == ["#", "ssl-bench", "bench", "--experiment"]
        assert last in row_names()
        assert last.startswith(f"{table}/")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_reference_is_the_experiments_own(experiment: str) -> None:
    """The results that a paper reports for the base experiment are not those of a variant."""
    is_row = "/" in experiment
    own = vars(read_row(experiment)) if is_row else read(config_file("experiment", experiment))
    assert snapshot.resolved(experiment)["reference"] == own.get("reference", {"source": "", "metrics": {}})


def test_the_knn_of_the_simvae_paper_is_euclidean() -> None:
    references = [read(config_file("experiment", name)).get("reference", {}) for name in FILES]
    simvae_paper = [one["metrics"] for one in references if "SimVAE paper" in one.get("source", "")]
    knn = [[name for name in metrics if name.startswith("knn")] for metrics in simvae_paper]
    assert len(knn) == 31
    assert all(name.partition("/accuracy")[0] == "knn_5_euclidean" for (name,) in knn)


def generator(experiment: str) -> list[str]:
    """Flags that give an inversion the generator of the same data, and no network that is downloaded."""
    if not experiment.startswith("inversion-"):
        return []
    method = build(resolve(stack(None, None, experiment.replace("inversion", "stylegan2")))).method
    return [f"--method.generator={json.dumps(method.config)}", "--method.perceptual=null"]


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if twin(name) not in FILES])
def test_every_experiment_takes_a_step_at_its_full_size(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which computes shapes and nothing else."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not implemented on the meta device
    # Changes values, not shapes, and the meta device runs it in Python: tens of seconds for a deep network.
    monkeypatch.setattr(parametrizations._SpectralNorm, "_power_method", lambda *_: None)
    with torch.device("meta"):
        run = build(resolve([*stack(None, None, experiment), *generator(experiment)]))
        if isinstance(run.method, Supervised):
            run.method.make_classifier((10,))  # otherwise made when the data have been read
        run.method.to("meta")
        views = torch.rand(run.views.num_views + (run.views.generated is not None), 4, *run.views.output_shape)
        batch = Batch(views, torch.zeros(4, dtype=torch.int64), torch.arange(4))
        losses = {network: loss(batch) for network, loss in losses_of(run.method).items()}
        features = run.method.encode(views[0])
    assert all(loss.shape == () for loss in losses.values())
    assert features.shape == (4, run.method.feature_dim)
