"""Benchmarks compare equivalent computations on the same images."""

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import (
    baselines,
    decay,
    double_spiral,
    evaluator,
    forgetting,
    inputs,
    mae_ddpm,
    mnist,
    precision,
    presets,
    processes,
    rounds,
    scoring,
    ssgan,
    start_up,
    structural_gan,
    validation_curve,
    views,
    w_search,
    wide,
)
from benchmarks.forgetting import measure, prepare
from benchmarks.forgetting_results import VARIANTS, figure, recovery, table
from benchmarks.mutations.settings import mutate_flag
from benchmarks.protocols import arrays
from benchmarks.simclr import Ours
from ssl_bench.catalogue import config_names
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.module import DataModule
from ssl_bench.data.spiral import double_spiral as spiral_points
from ssl_bench.data.types import Target
from ssl_bench.generation.settings import SearchSettings
from ssl_bench.methods.ssgan import SSGAN
from ssl_bench.methods.structural_gan import StructuralGAN
from ssl_bench.results.record import Record
from tests.results.records import record


@pytest.mark.parametrize("benchmark", [structural_gan, ssgan])
def test_both_formulations_have_the_same_losses_and_gradients(benchmark: ModuleType) -> None:
    differences = benchmark.deviation(batch=4, width=8)
    assert len(differences) == 4
    assert max(differences.values()) < benchmark.TOLERANCE


class Levels(DataModule):
    """Images of a constant grey level, 100 times their class."""

    name, image_shape, mean, std, licence = "levels", (1, 8, 8), (0.5,), (0.3,), "none"

    def read(self) -> DatasetContents:
        labels = torch.arange(90) % 3
        images = (100 * labels).byte().view(-1, 1, 1, 1).expand(-1, *self.image_shape).contiguous()
        return DatasetContents(images, labels, (Target("level", ("black", "grey", "white")),), torch.arange(90))


def test_forgetting_changes_the_class_and_gives_both_variants_the_same_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss_of, logits_of = SSGAN.logits_and_rotation_loss, SSGAN.logits
    spied: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
    examined: list[Tensor] = []

    def spy(self: SSGAN, x: Tensor, task: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        weights = torch.cat([weights.detach().flatten() for weights in self.discriminator.parameters()])
        if self.training:
            spied[task is not None].append((level(x), weights))
        return loss_of(self, x, task)

    def examine(self: SSGAN, x: Tensor) -> Tensor:
        if not self.training:
            examined.append(level(x))
        return logits_of(self, x)

    monkeypatch.setattr(SSGAN, "logits_and_rotation_loss", spy)
    monkeypatch.setattr(SSGAN, "logits", examine)
    monkeypatch.setattr(forgetting, "probe", lambda run, method, device: 10.0)
    flags = ["--data.batch_size=8", "--method.discriminator.width=4", "--method.generator.width=4"]
    for seed in range(2):
        run = prepare(f"{__name__}.Levels", flags, seed, torch.device("cpu"))
        found = measure(run, seed, iterations=2, tested=6, device=torch.device("cpu"))
        assert torch.tensor(found["rotation"]).shape == (len(VARIANTS),)
        assert torch.tensor(found["probe"]).shape == (len(VARIANTS), 6)  # two cycles of three classes
        assert torch.tensor(found["accuracy"]).shape == (len(VARIANTS), 6, 2)  # at the start and the end of each task

    (vanilla, plain), (rotation, helped) = ([torch.stack(v) for v in zip(*seen, strict=True)] for seen in spied)
    assert torch.equal(vanilla, rotation)
    assert torch.equal(plain[::12], helped[::12])  # the start of each seed
    assert not torch.equal(plain[0], plain[12])
    assert not torch.equal(plain[1:12], helped[1:12])

    task = torch.arange(6).repeat_interleave(2).repeat(2).unsqueeze(1) % 3
    assert (vanilla[:, :4] == task).all()
    assert (vanilla[:, 4:] != task).all()
    task = torch.arange(6).repeat_interleave(2).repeat(4).unsqueeze(1) % 3
    assert (torch.stack(examined)[:, :3] == task).all()
    assert (torch.stack(examined)[:, 3:] != task).all()


def level(x: Tensor) -> Tensor:
    """The class of images of `Levels` in [-1, 1]."""
    return ((x[:, 0, 0, 0] + 1) * 255 / 200).round().long()


def test_forgetting_table_and_figure_separate_the_cycles() -> None:
    found = torch.zeros(2, 3, 4, 3, dtype=torch.float64)  # two classes, so two tasks a cycle; after 0, 5 and 10 steps
    found[1, :, 2:] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)  # rotation helps, in the second cycle only
    found[:, :, 0, 0] = 99.0  # of the untrained network
    probes = torch.arange(4.0).expand(2, 3, 4).double()
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in table(found, probes, 10).splitlines()[2:]}
    assert rows["| cycle 1, just after a shift"][:3] == ["0.0 / 0.0 / 0.0", "0.0 / 0.0 / 0.0", "+0.0 / +0.0 / +0.0"]
    assert rows["| cycle 2, mean within its tasks"][1:] == ["1.0 / 2.0 / 3.0", "+1.0 / +2.0 / +3.0", "+2.00", "0.58 |"]
    assert rows["| cycle 2 less cycle 1, within tasks"][1] == "-11.4 / -10.4 / -9.4"  # less 99 / 4 of one task of two
    assert rows["| end of the last task"][1:] == rows["| cycle 2, mean within its tasks"][1:]
    assert rows["| linear probe of all classes, after cycle 1"][0] == "1.0 / 1.0 / 1.0"
    assert rows["| linear probe of all classes, after cycle 2"][0] == "3.0 / 3.0 / 3.0"
    lines = recovery(found, 10).splitlines()
    assert lines[0] == "| accuracy in % after iteration | 0 | 5 | 10 |"
    assert lines[2] == "| vanilla, cycle 1 | 0.0 | 0.0 | 0.0 |"
    assert lines[-1] == "| with rotation, cycle 2 | 2.0 | 2.0 | 2.0 |"

    *panels, _ = figure(found, probes, iterations=10).axes
    for panel, values in zip(panels, found, strict=True):
        curve, _, second_cycle = panel.lines
        assert second_cycle.get_xdata() == [20, 20]
        assert torch.as_tensor(curve.get_xdata()).tolist() == [0, 5, 10, 10, 15, 20, 20, 25, 30, 30, 35, 40]
        assert torch.equal(torch.as_tensor(curve.get_ydata()), values.mean(0).flatten())


def test_a_recorded_seed_is_not_trained_again_and_other_settings_are_refused(tmp_path: Path) -> None:
    settings = {"data": "cifar10", "flags": []}
    assert forgetting.recorded(tmp_path / "seed0.json", settings) is None
    (tmp_path / "seed0.json").write_text(json.dumps({"settings": settings, "found": {"probe": [1]}}))
    assert forgetting.recorded(tmp_path / "seed0.json", settings) == {"probe": [1]}
    with pytest.raises(SystemExit, match="has other settings"):
        forgetting.recorded(tmp_path / "seed0.json", settings | {"data": "mnist"})


def test_measures_of_separated_spirals_are_perfect_and_of_mixed_ones_near_chance() -> None:
    points, arms = spiral_points(800, 1)
    apart = double_spiral.feature_measures(points + 100 * arms[:, None], arms)
    assert apart["200-NN share"] == apart["spectral"] == 100
    assert apart["gap"] > 0.5
    mixed = double_spiral.feature_measures(torch.randn(800, 2, generator=torch.Generator().manual_seed(0)), arms)
    assert 48 < mixed["200-NN share"] < 52
    assert mixed["gap"] < 0.1
    small = double_spiral.feature_measures(points, arms)
    shares = []  # against a loop
    for i in range(0, 800, 40):
        order = (points - points[i]).norm(dim=1).argsort()[1:201]
        shares.append(float((arms[order] == arms[i]).float().mean()))
    assert small["200-NN share"] == pytest.approx(100 * sum(shares) / len(shares), abs=5)


def test_samples_on_the_arms_are_precise_and_cover_what_they_reach() -> None:
    points, arms = spiral_points(800, 1)
    found = double_spiral.sample_measures(points[arms == 0], points)
    assert found["precision, 7 sd"] == 100
    assert 50 <= found["coverage, 3 sd"] < 60
    assert double_spiral.sample_measures(points + 2.0, points)["precision, 7 sd"] < 70


def test_the_update_of_embeddings_descends_the_loss() -> None:
    run = build(resolve([*stack("structural_gan", "double_spiral", None)]))
    method = run.method
    assert isinstance(method, StructuralGAN)
    points, _ = spiral_points(200, 1)
    torch.manual_seed(0)
    z, moved = double_spiral.update_of_embeddings(method, points)
    assert method.smoothness_weight == 5
    assert torch.allclose((moved - z).norm(dim=1), torch.full((200,), double_spiral.STEP), atol=0.01)


def test_decay_table_and_figure_show_the_curves() -> None:
    curves = {"EE": [[(0, 100.0), (10, 20.0)], [(0, 100.0), (10, 30.0)]], "EI": [[(0, 100.0), (10, 50.0)]] * 2}
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in decay.table(curves).splitlines()}
    assert rows["| step"] == ["EE", "EI |"]
    assert rows["| 10"] == ["25.00 ± 7.07", "50.00 ± 0.00 |"]
    assert rows["| start / end"] == ["4.17 ± 1.18", "2.00 ± 0.00 |"]
    lines = decay.figure(curves, "distance", "title").axes[0].lines
    assert [torch.as_tensor(line.get_xydata()).tolist() for line in lines[:2]] == [
        [[0, 100], [10, 20]],
        [[0, 100], [10, 30]],
    ]
    assert len(lines) == 4


def test_ratios_are_medians_over_rounds() -> None:
    clocks = {"first": iter([4.0, 8.0, 6.0]), "second": iter([2.0, 2.0, 6.0])}
    seconds = rounds.alternate({name: values.__next__ for name, values in clocks.items()}, 3)
    assert seconds == {"first": [4.0, 8.0, 6.0], "second": [2.0, 2.0, 6.0]}
    assert rounds.speed_up(seconds, "second") == 2.0
    assert rounds.table(seconds, "step", 12).splitlines()[-1] == "| second | 2 | 2 to 6 | 6.0 | 2.00x | 0.50x |"
    assert rounds.compare_with_goal("a step", 1.05, 1.1, at_most=True).endswith("at most 1.1x: reached.")
    assert rounds.compare_with_goal("a step", 1.05, 1.1).endswith("at least 1.1x: not reached.")


SIZES = "rounds=1 steps=1 batch=8 width=4 narrow=2 images=16 trained=16 epochs=1 queries=50 cached=16"
TINY = views.parser().parse_args(["--data=digits", *(f"--{size}" for size in SIZES.split())])


@pytest.mark.parametrize("part", views.PARTS)
def test_every_part_of_the_views_benchmark_makes_a_table(part: str) -> None:
    text = views.PARTS[part]([], TINY)
    assert text.startswith("## ")
    assert "ssl_bench, channels_last and bf16 |" in text or "two expert views and a cached one |" in text


def test_simclr_has_the_loss_of_lightly_and_a_similar_one_in_bf16() -> None:
    ours = Ours([], TINY, 16, 64)
    images = ours.data.split("fit")[torch.arange(64)].images
    found = views.differences(ours.run.views(images), ours)
    assert found.pop("ssl_bench in bf16 loss") < 0.02
    del found["ssl_bench in bf16 gradient"]
    assert max(found.values(), default=0.0) < 1e-4  # lightly, if it is installed


def test_searches_with_and_without_retiring_anchors_are_the_same() -> None:
    networks = w_search.Networks(8, 4, "cpu")
    anchors, settings = networks.anchors(3), SearchSettings(views=3, steps=3, tolerance=0.0)
    kept = w_search.Case(networks, anchors, settings, 2, until=lambda loss: loss.mean() <= 0)
    retired = w_search.Case(networks, anchors, settings, 2)
    for case in (kept, retired):
        assert case() > 0
    assert (kept.losses < 0.06).all()  # from 0.09
    # Adam's first steps depend on the sign of the gradient, so on rounding too.
    torch.testing.assert_close(retired.losses, kept.losses, rtol=0.05, atol=0.0)
    assert torch.equal(retired.steps, kept.steps)


def test_w_search_benchmark_labels_its_extrapolation() -> None:
    sizes = "--rounds 1 --generator 4 --encoder 2 --anchors 2 --compared 2 --batch 2 --steps 2 --published 4 2 --few 1"
    *_, text = w_search.parts(w_search.parser().parse_args(sizes.split()))
    assert "Extrapolation, not a measurement: 50,000 images of 8 views, 3.0 steps each" in text


def test_a_run_survives_one_fault_of_each_kind() -> None:
    """The numbers of benchmarks/results/faults.md, with fewer faults."""
    words = "--kills 2 --disks 1 --starts 1 --signals 2 --seed 1"
    done = subprocess.run(
        [sys.executable, "benchmarks/faults.py", *words.split()],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False, timeout=900,
        env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:6] for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    kinds = {"| kill": "2", "| disk": "1", "| start": "1", "| SIGTERM": "2"}
    assert rows == [[kind, count, "0", "0", "0", "0"] for kind, count in kinds.items()]


def test_odd_inputs_of_all_kinds_have_right_answers() -> None:
    kinds = list(inputs.KINDS)
    done = subprocess.run(
        [sys.executable, "benchmarks/inputs.py", "--share=0.05", "--seed=1"],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False, timeout=900,
        env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [kind for kind, *_ in rows] == [*kinds, "all"]
    assert all(counts[1:] == ["0"] * len(inputs.FAULTS) for _, *counts in rows)


@pytest.mark.parametrize("protocol", wide.CASES)
def test_protocols_on_few_images_are_measured_beside_scikit_learn(protocol: str) -> None:
    found = wide.beside(protocol, 50, 70, torch.device("cpu"), rounds=1)
    assert all(value > 0 for value in found.values())
    assert abs(found["accuracy"] - found["other accuracy"]) < (2 if protocol != "gmm" else 20)
    assert wide.table({f"{protocol}, 50 x 70": found})[2].startswith(f"| {protocol}, 50 x 70 | ")


@pytest.mark.parametrize("name", ["svm", "linear_probe", "knn", "kmeans", "gmm"])
def test_protocols_are_measured_beside_other_libraries(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, value in {"TRAIN": 1000, "VALIDATION": 200, "TEST": 500, "DIM": 70}.items():
        monkeypatch.setattr(arrays, constant, value)
    for split, array in arrays.make_data().items():
        np.save(tmp_path / f"{split}.npy", array)
    ours, *others = (
        row(arrays.Data(tmp_path, "cpu")) for label, row in evaluator.TABLES[name].items() if "faiss" not in label
    )
    assert all(found["seconds"] > 0 for found in (ours, *others))
    for found in others:
        if "accuracy" in found:
            assert found["accuracy"] == pytest.approx(ours["accuracy"], abs=6)
        else:  # the log-likelihood of a mixture of Gaussians, which few points determine badly
            assert math.isfinite(found["objective"])


def test_gradients_in_bfloat16_are_measured_per_block() -> None:
    found = precision.measure(width=4, batch=8, seeds=1)
    blocks = ["loss", "stem", *(f"block {i}" for i in range(1, 9)), "projector", "all", "cosine of the gradients"]
    for results in found.values():
        assert list(results) == blocks
        assert 0 < results["all"][0] < 1
        assert results["cosine of the gradients"][0] > 0.8
    assert precision.table(found).count("\n") == len(blocks) + 1


def test_rounding_ends_with_the_block() -> None:
    layer = torch.nn.Linear(3, 2)
    weight, x = layer.weight.detach().clone(), torch.rand(4, 3)
    with precision.rounded(layer):
        inside = layer(x)
        assert torch.equal(inside, inside.bfloat16().float())
        assert torch.equal(layer.weight, weight.bfloat16().float())
    assert torch.equal(layer.weight, weight)
    assert not torch.equal(layer(x), inside)


def test_the_time_of_protocols_is_without_encoding() -> None:
    runs = [record(seconds={"extract": 9.0, "fit": 9.0, "knn": knn, "svm": 1.0}) for knn in (1.0, 2.0, 4.0)]
    lines = scoring.table({"pixels": runs}).splitlines()
    assert lines[-3:] == [
        "| knn | 2.0 (1.0 to 4.0) |",
        "| svm | 1.0 (1.0 to 1.0) |",
        "| all protocols | 3.0 (2.0 to 5.0) |",
    ]


def test_a_command_that_fails_is_not_measured() -> None:
    assert start_up.seconds(["-c", "raise SystemExit(2)"], 2) > 0
    with pytest.raises(SystemExit, match="exit code 2"):
        start_up.seconds(["-c", "raise SystemExit(2)"], 0)


def test_processes_are_compared_with_one_process_of_two_threads() -> None:
    cases = {"one process, one thread": [50.0], "one process, two threads": [80.0], "two processes": [72.0, 72.0]}
    cases = {name: values * 2 if len(values) == 1 else values for name, values in cases.items()}
    lines = processes.table({"simvae": cases}).splitlines()
    assert lines[-1] == "| simvae: two processes | 72 | 72 to 72 | 90 % |"


def test_nothing_is_recorded_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["steps.py", "--write"])
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    with pytest.raises(
        SystemExit, match=r"^the load of this machine is 1\.50, and timings are recorded at 0\.5 or less"
    ):
        rounds.provenance()
    monkeypatch.setattr(sys, "argv", ["steps.py", "--out", "/somewhere/runs", "--data.root=/somewhere/cifar10"])
    assert rounds.provenance().startswith("`python benchmarks/steps.py --data.root=cifar10`, ")


def test_figure_of_a_diffusion_model_shows_samples_trajectory_and_curves(tmp_path: Path) -> None:
    small = ["--method.network.width=8", "--method.network.groups=4", "--method.sampling_steps=4"]
    protocols = ["--evaluation.protocols=[noise_probe]", "--evaluation.noise_probe.t=[0,100]"]
    flags = [*small, *protocols, "--trainer.max_epochs=2", "--trainer.limit_train_batches=2"]
    folder = baselines.run("ddpm-digits", flags, tmp_path)
    curves = mnist.noise_curves(Record.read(folder).metrics)
    blocks = len(curves)
    assert [t for t, _ in curves[1]] == [0, 100]
    axes = mnist.figure(folder).axes
    assert len(axes) == 3 + mnist.SHOWN + 2
    assert len(axes[-2].lines) == blocks > 1


def test_steps_and_encoding_of_mae_and_ddpm_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mae_ddpm, "IMAGES", 60)
    text = mae_ddpm.main(["--rounds=1", "--batch=2", "--width=32"])
    for case in ("ssl_bench, channels_last", "bare loop, channels_last", "visible patches", "extract"):
        assert f"| {case} | " in text
    assert text.count("goal at ") == 5


def test_share_of_the_validation_curve_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--experiments", "simclr-digits", "--method.backbone.width=4", "--trainer.max_epochs=4"]
    code = validation_curve.main([*flags, "--validation.every=2"])
    printed = capsys.readouterr().out
    assert "| simclr-digits | 4 | 3 | " in printed  # the untrained encoder, too
    assert code == int("not reached" in printed)


def test_a_mutated_flag_is_given_once(tmp_path: Path) -> None:
    cases = [mutate_flag(random.Random(seed), tmp_path) for seed in range(300)]
    names = [[word.partition("=")[0] for word in case.arguments] for case in cases]
    assert all(len(set(words)) == len(words) for words in names)
    assert any("--trainer.accelerator=gpu" in case.arguments for case in cases)


def test_presets_benchmark_has_every_method_and_every_variant_on_digits() -> None:
    variants = {name for name in config_names("experiment") if name.split("-")[1] == "digits"}
    methods = set(config_names("method"))
    assert set(presets.presets()) == methods | {
        name for name in variants if name.removesuffix("-digits") not in methods
    }


@pytest.mark.parametrize(("epochs", "result", "code"), [(60, "pass", 0), (0, "fail", 1)])
def test_a_preset_passes_only_if_it_is_better_than_its_untrained_network(
    epochs: int, result: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--seeds=1", f"--trainer.max_epochs={epochs}", "--trainer.accelerator=cpu"]
    assert presets.main(["--methods", "vae", *flags]) == code
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| vae "))
    name, trained_epochs, _, probe, neighbours, distance, found = line.strip("| ").split(" | ")
    assert (name, trained_epochs, found) == ("vae", str(epochs), result)
    for cell in (probe, neighbours, distance):
        before, after = map(float, cell.partition(" (")[0].split(" -> "))
        assert (before == after) is (epochs == 0)


@pytest.mark.parametrize(
    ("trained", "result"),
    [
        (presets.Scores(1, 1.0, 81.0, 91.0, 2.0), True),
        (presets.Scores(1, 1.0, 81.0, 91.0, None), True),
        (presets.Scores(1, 1.0, 80.0, 91.0, 2.0), False),
        (presets.Scores(1, 1.0, 81.0, 90.0, 2.0), False),
        (presets.Scores(1, 1.0, 81.0, 91.0, 2.1), False),
        (presets.Scores(1, 1.0, math.nan, 91.0, 2.0), False),
    ],
)
def test_a_preset_passes_only_if_no_score_fails(trained: presets.Scores, result: bool) -> None:
    assert presets.passes([presets.Scores(0, 0.0, 80.0, 90.0, 4.0)], [trained]) is result


@pytest.mark.parametrize(
    ("probes", "text", "result"),
    [((83.0, 79.0, 81.0), "(+1.0 ± 1.2)", "pass"), ((82.0, 79.0, 79.0), "(+0.0 ± 1.0)", "fail")],
)
def test_presets_are_compared_on_average_over_seeds(probes: tuple[float, ...], text: str, result: str) -> None:
    untrained = [presets.Scores(0, 0.0, 80.0, 90.0, 4.0)] * 3
    trained = [presets.Scores(1, 1.0, probe, 91.0, 1.0) for probe in probes]
    assert presets.row("supervised", untrained, [presets.Scores(1, 1.0, 80.0, 91.0, None, True)] * 3).startswith(
        "| supervised (trained with labels) | "
    )
    line = presets.row("vae", untrained, trained)
    mean = sum(probes) / 3
    assert line == f"| vae | 1 | 1 | 80.0 -> {mean:.1f} {text} | 90.0 -> 91.0 (+1.0 ± 0.0) | 4.00 -> 1.00 | {result} |"
