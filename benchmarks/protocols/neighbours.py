"""Nearest neighbours beside scikit-learn and faiss."""

from typing import Any

import numpy as np

from benchmarks.protocols.arrays import CLASSES, DIM, Data, Found, percent, scores, timed


def knn_ssl_bench(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.knn import KNN

    return scores(lambda: KNN(distances=("cosine",))(data.task())[0], accuracy="knn_5/accuracy")


def knn_both(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.knn import KNN

    return scores(lambda: KNN()(data.task())[0], accuracy="knn_5/accuracy")


def unit(x: np.ndarray) -> np.ndarray:
    normalised: np.ndarray = x / np.linalg.norm(x, axis=1, keepdims=True)
    return normalised


def knn_sklearn(data: Data) -> Found:
    from sklearn.neighbors import KNeighborsClassifier

    (x, y), (test_x, test_y) = data.fitting(), data.test
    result, predicted = timed(lambda: KNeighborsClassifier(5, algorithm="brute").fit(unit(x), y).predict(unit(test_x)))
    return result | {"accuracy": percent(predicted, test_y)}


def knn_faiss(data: Data) -> Found:
    import faiss

    (x, y), (test_x, test_y) = data.fitting(), data.test

    def query() -> Any:
        index = faiss.IndexFlatIP(DIM)
        index.add(unit(x))
        return index.search(unit(test_x), 200)[1]

    result, found = timed(query)
    votes = y[found[:, :5]]
    majority = [np.bincount(row, minlength=CLASSES).argmax() for row in votes]
    return result | {"accuracy": percent(majority, test_y)}


TABLES = {
    "knn": {
        "ssl_bench knn: k = 1, 5, 20, 200, cosine": knn_ssl_bench,
        "ssl_bench knn: the same, cosine and Euclidean": knn_both,
        "scikit-learn KNeighborsClassifier(5, brute)": knn_sklearn,
        "faiss IndexFlatIP, 200 neighbours": knn_faiss,
    }
}
