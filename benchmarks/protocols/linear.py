"""SVM and linear probe beside scikit-learn."""

import numpy as np
import torch

from benchmarks.protocols.arrays import CLASSES, Data, Found, percent, scores, standardised, timed


def hinge_objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
    signs = 2.0 * (y[:, None] == np.arange(CLASSES)) - 1
    slack = np.maximum(0, 1 - signs * (x.astype(np.float64) @ w.T + b))
    return float(0.5 * ((w**2).sum() + (b**2).sum()) + (slack**2).sum())


def svm_whole_grid(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.svm import SVM

    return scores(lambda: SVM()(data.task())[0])


def svm_at_one(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.svm import fit

    task = data.task()
    c = torch.ones(1, 1, dtype=torch.float64, device=data.device)
    result, found = timed(lambda: fit(task, task.fitting, c))
    weights = found[0, 0].cpu().numpy()
    x, y, test_x, test_y = standardised(data)
    w, b = weights[:, :-1], weights[:, -1]
    accuracy = percent((test_x @ w.T + b).argmax(1), test_y)
    return result | {"accuracy": accuracy, "objective": hinge_objective(x, y, w, b)}


def svm_sklearn(data: Data) -> Found:
    from sklearn.svm import LinearSVC

    x, y, test_x, test_y = standardised(data)
    model = LinearSVC(dual="auto", C=1)
    result, _ = timed(lambda: model.fit(x, y))
    objective = hinge_objective(x, y, model.coef_, model.intercept_)
    return result | {"accuracy": percent(model.predict(test_x), test_y), "objective": objective}


def linear_whole_grid(data: Data) -> Found:
    from ssl_bench.evaluation.protocols.linear_probe import LinearProbe

    return scores(lambda: LinearProbe()(data.task())[0])


def linear_sklearn(data: Data) -> Found:
    from sklearn.linear_model import LogisticRegression

    x, y, test_x, test_y = standardised(data)
    model = LogisticRegression(solver="lbfgs", max_iter=1000)
    result, _ = timed(lambda: model.fit(x, y))
    return result | {"accuracy": percent(model.predict(test_x), test_y)}


TABLES = {
    "svm": {
        "ssl_bench svm: 7 values of C, the best refitted": svm_whole_grid,
        "ssl_bench svm: C = 1 alone": svm_at_one,
        'scikit-learn LinearSVC(dual="auto", C=1)': svm_sklearn,
    },
    "linear_probe": {
        "ssl_bench linear_probe: 7 values of L2, the best refitted": linear_whole_grid,
        "scikit-learn LogisticRegression(lbfgs), one fit": linear_sklearn,
    },
}
SLOW = {svm_sklearn}
