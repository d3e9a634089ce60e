import importlib
import math
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.errors import RunError, UserError
from ssl_bench.evaluation import LABEL_FREE, LABELLED, PROTOCOLS
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit, by_columns
from ssl_bench.evaluation.protocols.gmm import GMM
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.protocols.linear_probe import LinearProbe
from ssl_bench.evaluation.protocols.linear_probe_sgd import LinearProbeSGD
from ssl_bench.evaluation.protocols.maps import Maps
from ssl_bench.evaluation.protocols.mlp_probe import MLPProbe
from ssl_bench.evaluation.protocols.rank import rankme
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.evaluation.task import LabelledProtocol, Task
from ssl_bench.evaluation.task_groups import task_groups
from ssl_bench.results.record import Record
from ssl_bench.runs.score import add_result
from tests.evaluation.conftest import rows, task
from tests.full_disk import largest_file
from tests.ranks import Ranks

CPU = torch.device("cpu")
YES_NO = ("no", "yes")
QUICK = Evaluation(
    knn=KNN(k=(1, 5)),
    linear_probe_sgd=LinearProbeSGD(epochs=10),
    mlp_probe=MLPProbe(hidden=16, learning_rate=1e-2, max_epochs=30, patience=3),
    kmeans=KMeans(restarts=4),
    gmm=GMM(inits=3),
    maps=Maps(method="pca", images=60),
)


def protocol(name: str) -> LabelledProtocol:
    chosen: LabelledProtocol = getattr(QUICK, name)
    return (lambda task: chosen(layered(task))) if name in ("layer_probe", "noise_probe") else chosen


def layered(task: Task) -> Task:
    """With the first half of the features as the first layer, and all of them as the second; the same with noise."""
    half = [
        replace(rows, features=rows.features[:, : rows.dim // 2 + 1])
        for rows in (task.train, task.validation, task.test)
    ]
    layers = (Task(half[0], half[1], half[2], task.num_classes), task)
    return replace(task, layers=layers, noisy={0: layers[:1], 11: layers})


def encoder(
    parts: Task, folder: Path, labels: list[Tensor] | None = None, targets: tuple[Target, ...] = ()
) -> EvaluatedEncoder:
    splits = parts.train, parts.validation, parts.test
    labels = labels or [split.y[:, 0] for split in splits]
    train, validation, test = (FeatureSplit(s.features, y) for s, y in zip(splits, labels, strict=True))
    digit = Target("digit", tuple("0123456789"))
    features = Features(train, validation, test, targets or (digit,))
    return EvaluatedEncoder(features, CPU, folder, layers=(features, features), noisy={11: (features, features)})


def blobs(counts: tuple[int, int, int] = (150, 30, 60)) -> Task:
    """Three separated classes."""
    y = torch.arange(sum(counts)) % 3
    x = 5 * torch.eye(3)[y] + 0.1 * torch.randn(len(y), 3, generator=torch.Generator().manual_seed(0))
    train, validation, test = zip(x.split(counts), y.split(counts), strict=True)
    return task(train, validation, test, 3)


@pytest.fixture
def separated() -> Task:
    return blobs()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_documented_module_and_a_setting_of_its_name(name: str) -> None:
    assert name in {field.name for field in fields(Evaluation)}
    first = (importlib.import_module(f"ssl_bench.evaluation.protocols.{name}").__doc__ or "").splitlines()[0]
    assert "arXiv" in first


@pytest.mark.parametrize("name", LABELLED)
class TestEveryLabelledProtocol:
    def test_scores_separated_classes_in_percent_under_its_own_name(self, name: str, separated: Task) -> None:
        (found,) = protocol(name)(separated)
        assert all(key.startswith(name) for key in found)
        scores = [value for key, value in found.items() if key.endswith("/accuracy") and "_sd/" not in key]
        assert scores
        assert max(scores) == 100
        assert min(scores) == 100 or name == "kmeans"  # whose mean is over restarts, lucky or not

    def test_is_reproducible_and_does_not_change_the_random_state(self, name: str, digits: Task) -> None:
        small = rows(digits.train.features[:300], digits.train.y[:300])
        state = torch.get_rng_state()
        assert protocol(name)(replace(digits, train=small, shared={})) == protocol(name)(
            replace(digits, train=small, shared={})
        )
        assert torch.equal(torch.get_rng_state(), state)

    def test_does_not_change_its_input(self, name: str, separated: Task) -> None:
        splits = separated.train, separated.validation, separated.test
        before = [split.features.clone() for split in splits]
        protocol(name)(separated)
        assert all(torch.equal(a, b.features) for a, b in zip(before, splits, strict=True))

    def test_test_labels_change_the_score_and_nothing_else(self, name: str, separated: Task) -> None:
        wrong = replace(separated, test=replace(separated.test, y=(separated.test.y + 1) % 3), shared={})
        (honest,), (swapped,) = protocol(name)(separated), protocol(name)(wrong)
        for key, value in swapped.items():
            if name in ("kmeans", "gmm"):  # clusters are matched with the labels there are
                assert value == pytest.approx(honest[key])
            else:
                assert value == (0 if key.endswith("/accuracy") else honest[key])

    def test_each_target_is_scored_independently(self, name: str, digits: Task) -> None:
        def with_labels(columns: list[int]) -> Task:
            def some(split: str, n: int) -> tuple[Tensor, Tensor]:
                part = getattr(digits, split)
                parity = torch.stack([part.y[:, 0] % 2, (part.y[:, 0] > 4).long()], 1)
                return part.features[:n], parity[:n, columns]

            return task(some("train", 400), some("validation", 100), some("test", 200), 2)

        together = protocol(name)(with_labels([0, 1]))
        for column, found in enumerate(together):
            (alone,) = protocol(name)(with_labels([column]))
            for key, value in alone.items():
                assert found[key] == pytest.approx(value, rel=1e-5, abs=0.51 if key.endswith("/accuracy") else 1e-5)

    def test_accepts_a_constant_feature_and_a_class_that_never_occurs(self, name: str, separated: Task) -> None:
        def widen(split: str) -> tuple[Tensor, Tensor]:
            part = getattr(separated, split)
            return torch.cat([part.features, torch.full((len(part), 1), 0.1)], 1), part.y

        (found,) = protocol(name)(task(widen("train"), widen("validation"), widen("test"), 4))
        best = max(value for key, value in found.items() if key.endswith("/accuracy"))
        # Four clusters for three classes split one of them.
        assert best == 100 if name not in ("kmeans", "gmm") else best > 60


def scored(parts: Task, folder: Path, name: str) -> tuple[dict[str, float], dict[str, str]]:
    result = replace(QUICK, protocols=(name,))(encoder(parts, folder))
    return result.metrics, result.failed


@pytest.mark.parametrize("name", [*LABELLED, "rank", "maps"])
def test_metrics_do_not_depend_on_the_number_of_processes(
    name: str, ranks: Ranks, digits: Task, tmp_path: Path
) -> None:
    """1,078 training images are two blocks and 450 test images one: uneven on 2 ranks, none on some of 3 and 4."""
    expected, _ = scored(digits, tmp_path, name)
    for size in (1, 2, 3, 4):
        for metrics, failed in ranks(scored, digits, tmp_path, name, size=size):
            assert failed == {}
            assert metrics == pytest.approx(expected, rel=1e-5)
            for key in expected:
                if key.endswith("/accuracy"):  # so predictions are the same, one by one
                    assert metrics[key] == pytest.approx(expected[key], rel=1e-12)


def scored_by_halves(parts: Task, folder: Path) -> dict[str, float]:
    whole = encoder(parts, folder)
    halves = by_columns(whole.features, [parts.train.dim // 2, parts.train.dim - parts.train.dim // 2])
    probe = LinearProbe(l2=(1e-3, 1e-1))  # in tens of passes; the weakest of the default take all that are allowed
    return replace(QUICK, protocols=("layer_probe",), linear_probe=probe)(replace(whole, layers=halves)).metrics


def test_unlike_layers_do_not_depend_on_the_number_of_processes(ranks: Ranks, digits: Task, tmp_path: Path) -> None:
    """Half of the pixels are ill-conditioned: beside a process with as many threads as a rank, which is one."""
    (expected,) = ranks(scored_by_halves, digits, tmp_path, size=1)
    assert expected["layer_probe_1/accuracy"] != expected["layer_probe_2/accuracy"]
    for size in (2, 3):
        for metrics in ranks(scored_by_halves, digits, tmp_path, size=size):
            assert metrics == pytest.approx(expected, rel=1e-12)


def one_of(split: FeatureSplit, value: float) -> FeatureSplit:
    return split._replace(features=torch.full_like(split.features, value))


def collapse(features: Features) -> Features:
    return features._replace(train=one_of(features.train, 0.5))


def shrink(features: Features) -> Features:
    train, validation, test = (FeatureSplit(part.features[:4], part.labels[:4]) for part in features[:3])
    return Features(train, validation, test, features.targets)


def test_features_that_are_zero_in_float32_are_scored_in_float64(separated: Task, tmp_path: Path) -> None:
    parts = (separated.train, separated.validation, separated.test)
    train, validation, test = (replace(part, features=1e-60 * part.features.double()) for part in parts)
    given = encoder(Task(train, validation, test, 3), tmp_path)
    result = replace(QUICK, protocols=("linear_probe", "knn", "rank", "maps"))(given)
    assert result.failed == {}
    assert result.metrics["linear_probe/accuracy"] == result.metrics["knn_5/accuracy"] == 100
    assert result.metrics["rank/rankme"] == pytest.approx(rankme(separated.test), rel=1e-6)


BAD = {"collapsed": (collapse, "are the same"), "small": (shrink, "")}


def fail(name: str, bad: str, folder: Path) -> tuple[dict[str, str], dict[str, float]]:
    change, _ = BAD[bad]
    whole = encoder(blobs(), folder)
    bad_one = replace(whole, features=change(whole.features), layers=tuple(map(change, whole.layers)))
    result = replace(QUICK, protocols=(name, "rank"))(bad_one)
    return result.failed, result.metrics


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", [*LABELLED, "rank"])
def test_bad_features_give_metrics_or_one_line_on_every_process(
    name: str, bad: str, ranks: Ranks, tmp_path: Path
) -> None:
    alone = fail(name, bad, tmp_path)
    for found in ranks(fail, name, bad, tmp_path, size=2):
        assert found[0] == alone[0]
        assert found[1] == pytest.approx(alone[1])
    assert all(math.isfinite(value) for value in alone[1].values())
    for reason in alone[0].values():
        assert "\n" not in reason
        assert BAD[bad][1] in reason
    if bad == "collapsed" and name in LABELLED:
        assert name in alone[0]


@pytest.mark.parametrize("name", LABELLED)
def test_a_class_with_one_image_is_learned_or_refused_in_one_line(name: str, separated: Task, tmp_path: Path) -> None:
    y = separated.train.y[:, 0].clone()
    y[y == 2] = 0
    y[0] = 2
    labels = [y, separated.validation.y[:, 0], separated.test.y[:, 0]]
    result = replace(QUICK, protocols=(name,))(encoder(separated, tmp_path, labels))
    assert result.metrics or result.failed
    assert all("\n" not in reason for reason in result.failed.values())


@pytest.fixture
def attributes(separated: Task, tmp_path: Path) -> EvaluatedEncoder:
    """Four targets: two binary ones, a constant one, and three classes of which only some images are labelled."""

    def columns(y: Tensor) -> Tensor:
        hair = torch.where(torch.arange(len(y)) % 4 == 0, -1, y)
        return torch.stack([(y == 0).long(), (y == 1).long(), torch.zeros_like(y), hair], 1)

    targets = (Target("Male", YES_NO), Target("Hat", YES_NO), Target("Bald", YES_NO), Target("hair", ("a", "b", "c")))
    labels = [columns(split.y[:, 0]) for split in (separated.train, separated.validation, separated.test)]
    labels[2][:, 1] = 1 - labels[2][:, 1]  # Hat is always predicted wrongly
    return encoder(separated, tmp_path, labels, targets)


def test_metrics_of_one_target_have_no_suffix(digits: Task, tmp_path: Path) -> None:
    result = Evaluation(protocols=("knn",), knn=KNN(k=(1, 5), distances=("cosine",)))(encoder(digits, tmp_path))
    assert set(result.metrics) == {"knn_1/accuracy", "knn_5/accuracy"}
    assert set(result.seconds) == {"knn"}
    assert result.skipped_targets == ()


def test_metrics_of_several_targets_have_suffixes_and_a_mean_over_two_class_targets(
    attributes: EvaluatedEncoder,
) -> None:
    result = Evaluation(protocols=("linear_probe",))(attributes)
    scores = {key: value for key, value in result.metrics.items() if "/accuracy" in key}
    assert scores == {
        "linear_probe/accuracy": 50,
        "linear_probe/accuracy_Male": 100,
        "linear_probe/accuracy_Hat": 0,
        "linear_probe/accuracy_hair": 100,
    }
    assert result.skipped_targets == ("Bald",)


def test_targets_with_equal_classes_are_one_task_without_unlabelled_images(
    attributes: EvaluatedEncoder,
) -> None:
    groups, skipped = task_groups(attributes)
    assert [[target.name for target in targets] for targets, _ in groups] == [["Male", "Hat"], ["hair"]]
    assert [(len(task.train), task.num_targets, task.num_classes) for _, task in groups] == [(150, 2, 2), (112, 1, 3)]
    assert skipped == ("Bald",)
    features = attributes.features.train
    labelled = features.labels[:, 3] >= 0
    assert torch.equal(groups[1][1].train.take(slice(0, 112)), features.features[labelled])
    assert torch.equal(groups[1][1].train.y[:, 0], features.labels[labelled, 3])


def test_tasks_on_the_same_images_share_moments(separated: Task, tmp_path: Path) -> None:
    y = [split.y[:, 0] for split in (separated.train, separated.validation, separated.test)]
    labels = [torch.stack([part, part == 1], 1).long() for part in y]
    groups, _ = task_groups(
        encoder(separated, tmp_path, labels, (Target("which", tuple("abc")), Target("one", YES_NO)))
    )
    (_, first), (_, second) = groups
    assert first.moments() is second.moments()


def test_a_target_constant_in_test_only_is_skipped(separated: Task, tmp_path: Path) -> None:
    labels = [separated.train.y[:, 0], separated.validation.y[:, 0], torch.zeros(60, dtype=torch.int64)]
    result = Evaluation(protocols=("knn", "linear_probe"))(encoder(separated, tmp_path, labels))
    assert result.metrics == {}
    assert result.skipped_targets == ("digit",)


def test_a_protocol_that_fails_is_recorded_and_the_others_run(separated: Task, tmp_path: Path) -> None:
    result = Evaluation(protocols=("knn", "linear_probe"), knn=KNN(k=(500,)))(encoder(separated, tmp_path))
    assert result.failed == {"knn": "knn: k = 500 neighbours of a bank of 180 labelled images; give a k of at most 180"}
    assert result.metrics["linear_probe/accuracy"] == 100


def test_what_a_protocol_leaves_out_is_recorded(separated: Task, tmp_path: Path) -> None:
    given = encoder(separated, tmp_path)
    result = Evaluation(protocols=("knn", "rank"), knn=KNN(k=(5, 500), distances=("cosine",)))(given)
    assert result.failed == {}
    assert result.notes == {"knn": "knn: k = 500 left out, because the bank has 180 labelled images"}
    old = {"rank": "old", "svm": "kept"}
    Record("vae", "digits", 0, 1, "a0", "a", None, "ssl-bench bench", "cpu", notes=old).write(tmp_path)
    assert add_result(Record.read(tmp_path), result, given, {}).notes == {"svm": "kept"} | result.notes


def test_metrics_that_some_targets_lack_have_no_mean(attributes: EvaluatedEncoder) -> None:
    few = attributes.features.train.labels.clone()
    few[:, 1] = torch.where(torch.arange(len(few)) < 40, few[:, 1], -1)  # Hat is known of 40 training images only
    features = attributes.features._replace(train=attributes.features.train._replace(labels=few))
    knn = KNN(k=(5, 100), distances=("cosine",))
    result = Evaluation(protocols=("knn",), knn=knn)(replace(attributes, features=features))
    assert result.failed == {}
    assert {"knn_5/accuracy", "knn_5/accuracy_Hat", "knn_100/accuracy_Male"} <= result.metrics.keys()
    assert not {"knn_100/accuracy", "knn_100/accuracy_Hat"} & result.metrics.keys()


def test_a_full_disk_ends_the_evaluation_and_is_not_recorded_as_a_failed_protocol(
    separated: Task, tmp_path: Path
) -> None:
    with largest_file(100), pytest.raises(RunError, match=r"cannot write .*\.png: File too large"):
        Evaluation(protocols=("maps", "knn"))(encoder(separated, tmp_path))


def test_protocols_run_by_default_unless_others_are_named(separated: Task, tmp_path: Path) -> None:
    features = encoder(separated, tmp_path)
    by_itself = Evaluation().chosen(features)
    assert set(by_itself) == {*LABELLED, "rank", "maps"} - {"linear_probe_sgd", "noise_probe"}
    assert Evaluation(protocols=("generation",)).chosen(features) == ["generation"]


@pytest.mark.parametrize("name", LABEL_FREE)
def test_protocols_that_need_an_encoder_fail_on_features_alone(name: str, separated: Task, tmp_path: Path) -> None:
    result = replace(QUICK, protocols=(name,))(encoder(separated, tmp_path))
    if name in ("rank", "maps"):
        assert result.failed == {}
    else:
        assert len(result.failed[name]) > 20


def test_an_unknown_protocol_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="no protocol 'linear_prob': did you mean linear_probe"):
        Evaluation(protocols=("linear_prob",))


def test_passes_are_encoded_only_for_chosen_protocols() -> None:
    sgd = LinearProbeSGD(passes=3)
    assert Evaluation(linear_probe_sgd=sgd).augmented_passes == 0
    assert Evaluation(linear_probe_sgd=sgd, protocols=("linear_probe_sgd",)).augmented_passes == 3
    assert Evaluation(passes=2).augmented_passes == 2


def test_layers_are_encoded_only_for_chosen_protocols() -> None:
    assert Evaluation().layers
    assert Evaluation(protocols=("svm", "layer_probe")).layers
    assert Evaluation(protocols=("noise_probe",)).noise
    assert not Evaluation().noise
    assert not Evaluation(protocols=("svm",)).layers


def test_an_error_of_a_single_process_is_recorded_outside_a_group(separated: Task, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Broken:
        def __call__(self, task: Task) -> list[dict[str, float]]:
            raise RuntimeError("out of memory\nand more")

    result = Evaluation(protocols=("knn",), knn=Broken())(encoder(separated, tmp_path))  # type: ignore[arg-type]
    assert result.failed == {"knn": "out of memory"}


def test_a_protocol_is_announced_before_it_runs(separated: Task, tmp_path: Path) -> None:
    output = tmp_path / "output"

    @dataclass(frozen=True)
    class Reader:
        def __call__(self, task: Task) -> list[dict[str, float]]:
            return [{"knn/is_announced": output.read_text().endswith("knn ")}]

    with output.open("w") as file, redirect_stdout(file):  # buffered, like a pipe
        result = Evaluation(protocols=("kmeans", "knn"), knn=Reader())(encoder(separated, tmp_path))  # type: ignore[arg-type]
    assert result.metrics["knn/is_announced"]


def test_every_setting_can_be_given_on_a_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Evaluation, "evaluation")
    given = parser.parse_args(
        ["--evaluation.protocols=[knn]", "--evaluation.linear_probe.l2=[0.1,1]", "--evaluation.knn.k=[3]"]
    )
    evaluation = parser.instantiate(given).evaluation
    assert evaluation.protocols == ("knn",)
    assert evaluation.linear_probe.l2 == (0.1, 1)
    assert evaluation.knn.k == (3,)
