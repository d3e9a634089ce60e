"""How well clusters match classes: accuracy by optimal assignment, NMI, ARI and purity, from counts alone."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def contingency(clusters: Tensor, labels: Tensor, num_clusters: int, num_classes: int) -> Tensor:
    """Count images by cluster and class, for every clustering and every target. Counts of blocks add up.

    Args:
        clusters: int64 ``(N, R)`` in ``[0, num_clusters)``, each image's cluster in R clusterings.
        labels: int64 ``(N, T)`` in ``[0, num_classes)``, its class for T targets.
        num_clusters: K.
        num_classes: C.

    Returns:
        int64 ``(T, R, K, C)``.
    """
    runs, targets = clusters.shape[1], labels.shape[1]
    table = torch.arange(targets * runs, device=labels.device).view(targets, runs)
    cell = (table * num_clusters + clusters.unsqueeze(1)) * num_classes + labels.unsqueeze(2)  # (N, T, R)
    counts = torch.bincount(cell.flatten(), minlength=targets * runs * num_clusters * num_classes)
    return counts.view(targets, runs, num_clusters, num_classes)


def figures(table: Tensor) -> dict[str, Tensor]:
    """Figures of clusterings, all in percent; in every one 100 is a clustering that equals the classes.

    - ``accuracy``: images whose cluster is matched with their class, by the one-to-one matching of clusters with
      classes that makes this largest (Yang et al. 2010, Eq. 17). Where K is not C, what is left over is wrong.
    - ``nmi``: mutual information over the arithmetic mean of the entropies, as scikit-learn's default; 0 where
      there is none, 100 where there is one cluster and one class.
    - ``ari``: Rand index adjusted for chance (Hubert & Arabie 1985, Eq. 5); about 0 for a random clustering, and
      the only one that can be below 0.
    - ``purity``: images that are of the most frequent class of their cluster. It grows with the number of clusters.

    Args:
        table: counts ``(..., K, C)`` as :func:`contingency` gives them, of one image or more.

    Returns:
        float64 ``(...)`` by name.
    """
    counts = table.double()
    n = counts.sum((-2, -1))
    clusters, classes = counts.sum(-1), counts.sum(-2)
    matched = [one[linear_sum_assignment(one, maximize=True)].sum() for one in table.cpu().flatten(0, -3).numpy()]
    return {
        "accuracy": 100 * torch.tensor(matched, dtype=n.dtype, device=n.device).view(n.shape) / n,
        "nmi": 100 * _normalised_information(counts, clusters, classes, n),
        "ari": 100 * _adjusted_rand_index(counts, clusters, classes, n),
        "purity": 100 * counts.amax(-1).sum(-1) / n,
    }


def _normalised_information(counts: Tensor, clusters: Tensor, classes: Tensor, n: Tensor) -> Tensor:
    def entropy(sizes: Tensor) -> Tensor:
        result: Tensor = torch.special.entr(sizes / n.unsqueeze(-1)).sum(-1)
        return result

    mean = (entropy(clusters) + entropy(classes)) / 2
    information = 2 * mean - entropy(counts.flatten(-2))
    # A difference of entropies that is rounding error is none.
    information = torch.where(information > 1e-12, information, 0.0)
    return torch.where(mean > 0, information / mean, 1.0)


def _adjusted_rand_index(counts: Tensor, clusters: Tensor, classes: Tensor, n: Tensor) -> Tensor:
    def pairs(sizes: Tensor) -> Tensor:
        return (sizes * (sizes - 1) / 2).sum(-1)

    together, by_cluster, by_class = pairs(counts.flatten(-2)), pairs(clusters), pairs(classes)
    expected = by_cluster * by_class / pairs(n.unsqueeze(-1)).clamp_min(1)
    most = (by_cluster + by_class) / 2
    # 0/0 is one cluster and one class, or every image its own of both: the same clustering.
    return torch.where(most > expected, (together - expected) / (most - expected), 1.0)
