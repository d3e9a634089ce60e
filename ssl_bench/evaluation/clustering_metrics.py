"""Agreement of clusters with classes: accuracy under the best matching, NMI, ARI and purity, from a table of counts."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def count_pairs(table: Tensor, clusters: Tensor, labels: Tensor) -> None:
    """Add the number of images in each cluster and class, for every clustering and every target, to a table.

    Args:
        table: int64 ``(T, R, K, C)``, contiguous; counts of T targets and R clusterings.
        clusters: int64 ``(N, R)`` in ``[0, K)``, cluster of each image in each clustering.
        labels: int64 ``(N, T)`` in ``[0, C)``, class of each image for each target.
    """
    targets, runs, num_clusters, num_classes = table.shape
    number = torch.arange(targets * runs, device=labels.device).view(targets, runs)
    cell = ((number * num_clusters + clusters.unsqueeze(1)) * num_classes + labels.unsqueeze(2)).flatten()  # (N, T, R)
    table.view(-1).index_add_(0, cell, torch.ones_like(cell))


def clustering_metrics(table: Tensor) -> dict[str, Tensor]:
    """Metrics of clusterings in percent. All metrics are 100 if the clusters equal the classes.

    - ``accuracy``: percentage of images whose cluster is matched with their class, under the one-to-one matching of
      clusters with classes that maximises the accuracy (Yang et al. 2010, Eq. 17). If K differs from C, images of
      unmatched clusters or classes are counted as wrong.
    - ``nmi``: mutual information divided by the arithmetic mean of the entropies (scikit-learn's default). It is 0 if
      the mutual information is 0, and 100 for one cluster and one class.
    - ``ari``: Rand index adjusted for chance (Hubert & Arabie 1985, Eq. 5). It is about 0 for a random clustering, and
      the only metric that can be negative.
    - ``purity``: percentage of images that belong to the most frequent class of their cluster. It grows with the number
      of clusters.

    Args:
        table: counts ``(..., K, C)`` as computed by :func:`count_pairs`, of at least one image.

    Returns:
        Metrics, float64 ``(...)``, by name.
    """
    counts = table.double()
    n = counts.sum((-2, -1))
    clusters, classes = counts.sum(-1), counts.sum(-2)
    matched = [one[linear_sum_assignment(one, maximize=True)].sum() for one in table.cpu().flatten(0, -3).numpy()]
    return {
        "accuracy": 100 * torch.tensor(matched, dtype=n.dtype, device=n.device).view(n.shape) / n,
        "nmi": 100 * _normalised_mutual_information(counts, clusters, classes, n),
        "ari": 100 * _adjusted_rand_index(counts, clusters, classes, n),
        "purity": 100 * counts.amax(-1).sum(-1) / n,
    }


def _normalised_mutual_information(counts: Tensor, clusters: Tensor, classes: Tensor, n: Tensor) -> Tensor:
    def entropy(sizes: Tensor) -> Tensor:
        result: Tensor = torch.special.entr(sizes / n.unsqueeze(-1)).sum(-1)
        return result

    mean = (entropy(clusters) + entropy(classes)) / 2
    information = 2 * mean - entropy(counts.flatten(-2))
    # A difference of entropies this small is rounding error.
    information = torch.where(information > 1e-12, information, 0.0)
    return torch.where(mean > 0, information / mean, 1.0)


def _adjusted_rand_index(counts: Tensor, clusters: Tensor, classes: Tensor, n: Tensor) -> Tensor:
    def pairs(sizes: Tensor) -> Tensor:
        return (sizes * (sizes - 1) / 2).sum(-1)

    same_both, same_cluster, same_class = pairs(counts.flatten(-2)), pairs(clusters), pairs(classes)
    expected = same_cluster * same_class / pairs(n.unsqueeze(-1)).clamp_min(1)
    largest = (same_cluster + same_class) / 2
    # 0/0 occurs for one cluster and one class, and if every image is its own cluster and class. Both mean that clusters
    # and classes are equal.
    return torch.where(largest > expected, (same_both - expected) / (largest - expected), 1.0)
