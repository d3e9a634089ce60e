"""K-means and mixtures of Gaussians beside scikit-learn."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.protocols.arrays import CLASSES, Data, Found, scores, timed
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task


def kmeans_ssl_bench(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.kmeans import KMeans

    task = data.task()
    found = scores(lambda: KMeans(distances=("euclidean",))(task)[0], accuracy="kmeans_euclidean_best/accuracy")
    return found | {"objective": found["kmeans_euclidean_best/inertia"]}


def kmeans_sklearn(data: Data) -> Found:
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans

    x, y = np.array(data.test[0]), data.test[1]
    model = KMeans(CLASSES, n_init=20, random_state=0)
    result, _ = timed(lambda: model.fit(x))
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (model.labels_, y), 1)
    matched = table[linear_sum_assignment(-table)].sum() / len(y)
    return result | {"accuracy": 100 * float(matched), "objective": float(model.inertia_)}


def gmm_arrays(data: Data) -> Tensor:
    """First 64 principal components of the test features, scaled to a common standard deviation of 1."""
    x = torch.from_numpy(np.array(data.test[0]))
    x = x - x.mean(0)
    components = torch.linalg.eigh((x.T @ x).double()).eigenvectors[:, -64:].float()
    x = x @ components
    scaled: Tensor = (x / x.std()).contiguous()
    return scaled


def gmm_ssl_bench(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.gmm import GMM

    x, y = gmm_arrays(data).to(data.device), torch.from_numpy(data.test[1])[:, None].to(data.device)
    rows = Rows(x, y, data.device)
    task = Task(rows, rows, rows, CLASSES)
    found = scores(lambda: GMM()(task)[0])
    return found | {"objective": found["gmm/log_likelihood"]}


def gmm_sklearn(data: Data) -> Found:
    from sklearn.mixture import GaussianMixture

    x = gmm_arrays(data).numpy()
    model = GaussianMixture(CLASSES, n_init=20, random_state=0)
    result, _ = timed(lambda: model.fit(x))
    return result | {"objective": float(model.score(x))}


TABLES = {
    "kmeans": {
        "ssl_bench kmeans: 20 restarts, Euclidean": kmeans_ssl_bench,
        "scikit-learn KMeans(n_init=20)": kmeans_sklearn,
    },
    "gmm": {
        "ssl_bench gmm: full, 20 initialisations": gmm_ssl_bench,
        "scikit-learn GaussianMixture(n_init=20)": gmm_sklearn,
    },
}
SLOW = {gmm_sklearn}
