import importlib
from dataclasses import dataclass, fields, replace

import pytest
import torch
from jsonargparse import ArgumentParser

from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.knn import KNN
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.evaluation.task import EvaluationProtocol, Task

CPU = torch.device("cpu")
YES_NO = ("no", "yes")


def protocol(name: str) -> EvaluationProtocol:
    chosen: EvaluationProtocol = getattr(Evaluation(), name)
    return chosen


def features(task: Task, labels: list[torch.Tensor] | None = None, targets: tuple[Target, ...] = ()) -> Features:
    labels = labels or [task.train_y, task.validation_y, task.test_y]
    xs = task.train_x, task.validation_x, task.test_x
    parts = [FeatureSplit(x, y, torch.arange(len(x))) for x, y in zip(xs, labels, strict=True)]
    digit = Target("digit", tuple("0123456789"))
    return Features(parts[0], parts[1], parts[2], targets or (digit,))


@pytest.fixture(scope="module")
def separated() -> Task:
    """Three classes that nothing can confuse."""
    y = torch.arange(240) % 3
    x = 5 * torch.eye(3)[y] + 0.1 * torch.randn(240, 3, generator=torch.Generator().manual_seed(0))
    return Task(x[:150], y[:150], x[150:180], y[150:180], x[180:], y[180:], 3)


@pytest.mark.parametrize("name", PROTOCOLS)
class TestEveryProtocol:
    def test_is_a_documented_module_and_a_setting_of_the_same_name(self, name: str) -> None:
        assert name in {field.name for field in fields(Evaluation)}
        first = (importlib.import_module(f"ssl_bench.evaluation.{name}").__doc__ or "").splitlines()[0]
        assert "arXiv" in first

    def test_scores_separated_classes_in_percent_under_its_own_name(self, name: str, separated: Task) -> None:
        found = protocol(name)(separated)
        scores = {key: value for key, value in found.items() if key.endswith("/accuracy")}
        assert scores
        assert all(key.startswith(name) for key in found)
        assert all(value == 100 for value in scores.values())

    def test_twice_is_the_same_and_leaves_the_random_state_alone(self, name: str, digits: Task) -> None:
        small = replace(digits, train_x=digits.train_x[:300], train_y=digits.train_y[:300], shared={})
        state = torch.get_rng_state()
        assert protocol(name)(small) == protocol(name)(replace(small, shared={}))
        assert torch.equal(torch.get_rng_state(), state)

    def test_does_not_change_its_input(self, name: str, separated: Task) -> None:
        before = [separated.train_x.clone(), separated.validation_x.clone(), separated.test_x.clone()]
        protocol(name)(replace(separated, shared={}))
        now = [separated.train_x, separated.validation_x, separated.test_x]
        assert all(map(torch.equal, before, now))

    def test_test_labels_change_the_score_and_nothing_else(self, name: str, separated: Task) -> None:
        wrong = replace(separated, test_y=(separated.test_y + 1) % 3, shared={})
        honest, swapped = protocol(name)(separated), protocol(name)(wrong)
        for key, value in swapped.items():
            assert value == (0 if key.endswith("/accuracy") else honest[key])

    def test_copes_with_a_constant_feature_and_a_class_that_never_occurs(self, name: str, separated: Task) -> None:
        def widen(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, torch.full((len(x), 1), 0.1)], 1)

        task = replace(
            separated,
            train_x=widen(separated.train_x),
            validation_x=widen(separated.validation_x),
            test_x=widen(separated.test_x),
            num_classes=5,
            shared={},
        )
        found = protocol(name)(task)
        assert all(value == 100 for key, value in found.items() if key.endswith("/accuracy"))


@pytest.fixture(scope="module")
def attributes(separated: Task) -> Features:
    """Four targets: two binary ones, a constant one, and three classes of which only some images are labelled."""

    def columns(y: torch.Tensor) -> torch.Tensor:
        hair = torch.where(torch.arange(len(y)) % 4 == 0, -1, y)
        return torch.stack([(y == 0).long(), (y == 1).long(), torch.zeros_like(y), hair], 1)

    targets = (Target("Male", YES_NO), Target("Hat", YES_NO), Target("Bald", YES_NO), Target("hair", ("a", "b", "c")))
    labels = [columns(y) for y in (separated.train_y, separated.validation_y, separated.test_y)]
    labels[2][:, 1] = 1 - labels[2][:, 1]  # Hat is always predicted wrongly
    return features(separated, labels, targets)


def test_one_target_has_plain_names(digits: Task) -> None:
    result = Evaluation(protocols=("knn",))(features(digits), CPU)
    assert set(result.metrics) == {"knn_1/accuracy", "knn_5/accuracy", "knn_20/accuracy"}
    assert set(result.seconds) == {"knn"}
    assert result.left_out == ()


def test_many_targets_each_have_a_name_and_the_mean_is_over_those_with_two_classes(attributes: Features) -> None:
    result = Evaluation(protocols=("linear_probe",))(attributes, CPU)
    scores = {key: value for key, value in result.metrics.items() if "/accuracy" in key}
    assert scores == {
        "linear_probe/accuracy": 50,
        "linear_probe/accuracy_Male": 100,
        "linear_probe/accuracy_Hat": 0,
        "linear_probe/accuracy_hair": 100,
    }
    assert result.left_out == ("Bald",)


def test_images_without_a_label_are_left_out_for_that_target_only(attributes: Features) -> None:
    seen: list[tuple[int, int]] = []

    @dataclass(frozen=True)
    class Count:
        def __call__(self, task: Task) -> dict[str, float]:
            seen.append((len(task.train_x), int(task.train_y.min())))
            return {}

    Evaluation(protocols=("knn",), knn=Count())(attributes, CPU)  # type: ignore[arg-type]
    assert seen == [(150, 0), (150, 0), (112, 0)]


def test_what_targets_on_the_same_images_share_is_computed_once(attributes: Features) -> None:
    computed: list[int] = []

    @dataclass(frozen=True)
    class Shares:
        def __call__(self, task: Task) -> dict[str, float]:
            task.once("mean", lambda: computed.append(len(task.train_x)))
            return {}

    Evaluation(protocols=("knn",), knn=Shares())(attributes, CPU)  # type: ignore[arg-type]
    assert computed == [150, 112]


def test_a_target_constant_in_test_only_is_left_out_too(separated: Task) -> None:
    labels = [separated.train_y, separated.validation_y, torch.zeros_like(separated.test_y)]
    result = Evaluation()(features(separated, labels), CPU)
    assert result.metrics == {}
    assert result.left_out == ("digit",)


def test_a_protocol_that_fails_is_recorded_and_the_others_run(separated: Task) -> None:
    result = Evaluation(protocols=("knn", "linear_probe"), knn=KNN(k=(500,)))(features(separated), CPU)
    assert result.failed == {"knn": "knn: k = 500 neighbours of a bank of 180 labelled images; give a smaller k"}
    assert result.metrics["linear_probe/accuracy"] == 100


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no protocol 'linear_prob'; nearest: linear_probe"):
        Evaluation(protocols=("linear_prob",))


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
