"""Metrics of clusterings against scikit-learn, against every permutation, and where the answer is known."""

from itertools import permutations

import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from ssl_bench.evaluation.clustering_metrics import clustering_metrics, count_pairs

RANDOM = torch.Generator().manual_seed(0)


def integers(n: int, high: int) -> Tensor:
    return torch.randint(high, (n,), generator=RANDOM)


def partly(labels: Tensor, k: int) -> Tensor:
    """Clusters that mostly follow the classes."""
    noisy = torch.rand(len(labels), generator=RANDOM) < 0.3
    return torch.where(noisy, integers(len(labels), k), labels % k)


def contingency(clusters: Tensor, labels: Tensor, k: int, c: int) -> Tensor:
    table = torch.zeros(labels.shape[1], clusters.shape[1], k, c, dtype=torch.int64)
    count_pairs(table, clusters, labels)
    return table


def of(clusters: Tensor, labels: Tensor, k: int, c: int) -> dict[str, float]:
    return {
        name: value.item()
        for name, value in clustering_metrics(contingency(clusters[:, None], labels[:, None], k, c)).items()
    }


FOUR = integers(200, 4)
CASES = {
    "random": (integers(200, 4), FOUR, 4, 4),
    "partly right": (partly(FOUR, 4), FOUR, 4, 4),
    "fewer clusters than classes": (partly(FOUR, 3), FOUR, 3, 4),
    "more clusters than classes": (partly(FOUR, 4) + 4 * integers(200, 2), FOUR, 8, 4),
    "one cluster": (torch.zeros(200, dtype=torch.int64), FOUR, 1, 4),
    "one class": (integers(200, 4), torch.zeros(200, dtype=torch.int64), 4, 1),
    "one cluster, one class": (torch.zeros(9, dtype=torch.int64), torch.zeros(9, dtype=torch.int64), 1, 1),
    "empty clusters and classes": (2 * integers(50, 2) + 1, 2 * integers(50, 2), 6, 5),
    "every image its own cluster": (torch.arange(20), integers(20, 3), 20, 3),
    "one image": (torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64), 2, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_mutual_information_and_rand_index_agree_with_scikit_learn(case: str) -> None:
    clusters, labels, _, _ = CASES[case]
    found = of(*CASES[case])
    assert found["nmi"] == pytest.approx(100 * normalized_mutual_info_score(labels, clusters), abs=1e-9)
    assert found["ari"] == pytest.approx(100 * adjusted_rand_score(labels, clusters), abs=1e-9)


@pytest.mark.parametrize(
    "case", ["random", "partly right", "fewer clusters than classes", "empty clusters and classes"]
)
def test_accuracy_is_the_best_of_all_matchings(case: str) -> None:
    clusters, labels, k, c = CASES[case]
    every = permutations(range(max(k, c)))  # a class that does not exist matches no image
    best = max((torch.tensor(classes)[clusters] == labels).double().mean().item() for classes in every)
    assert of(*CASES[case])["accuracy"] == pytest.approx(100 * best)


def test_renamed_classes_score_100() -> None:
    renamed = torch.tensor([2, 0, 3, 1])[FOUR]
    assert of(renamed, FOUR, 4, 4) == pytest.approx(dict.fromkeys(("accuracy", "nmi", "ari", "purity"), 100.0))


def test_a_case_by_hand() -> None:
    # Clusters {a a b}, {b b a}, {c}: one-to-one a, b, c gives 2 + 2 + 1 of 7, and so does the majority.
    found = of(torch.tensor([0, 0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 1, 0, 2]), 3, 3)
    assert found["accuracy"] == found["purity"] == pytest.approx(100 * 5 / 7)


def test_two_clusters_of_one_class_count_for_purity_but_not_accuracy() -> None:
    found = of(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 0]), 2, 2)
    assert (found["accuracy"], found["purity"]) == (50, 100)


def test_large_counts_do_not_overflow() -> None:
    table = torch.tensor([[3_000_000_000, 0], [0, 3_000_000_000]])[None]
    assert clustering_metrics(table)["ari"].item() == pytest.approx(100)


def test_clusterings_and_targets_are_scored_independently() -> None:
    labels, clusters = torch.stack([FOUR, 3 - FOUR, integers(200, 4)], 1), torch.stack([partly(FOUR, 4), FOUR], 1)
    table = contingency(clusters, labels, 5, 4)
    assert table.shape == (3, 2, 5, 4)
    together = clustering_metrics(table)
    for t in range(3):
        for r in range(2):
            alone = of(clusters[:, r], labels[:, t], 5, 4)
            assert {name: value[t, r].item() for name, value in together.items()} == pytest.approx(alone)


def test_blocks_are_added_to_a_table() -> None:
    clusters, labels = integers(200, 3)[:, None], FOUR[:, None]
    total = torch.zeros(1, 1, 3, 4, dtype=torch.int64)
    for part in zip(clusters.split(70), labels.split(70), strict=True):
        count_pairs(total, *part)
    assert torch.equal(total, contingency(clusters, labels, 3, 4))
