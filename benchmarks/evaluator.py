"""Time, memory and accuracy of the evaluation protocols, beside scikit-learn, scipy, torchmetrics and faiss.

    python benchmarks/evaluator.py                 print the tables (about half an hour on two cores)
    python benchmarks/evaluator.py --only kmeans   the table of one protocol
    python benchmarks/evaluator.py --write         also write them to benchmarks/results/evaluator.md
    python benchmarks/evaluator.py --device cuda   ssl_bench on a GPU, the other libraries on the CPU

All libraries get the same arrays: 50,000 training features (5,000 of them for validation) and 10,000 test features of
dimension 512 in 10 overlapping classes. Every row of a table runs in its own process, so that threads and memory are
measured separately. The rows are alternated in every round; the tables show medians. The other libraries are called as
their documentation shows; faiss is included if it is installed.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ssl_bench.data.types import Target
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task

TRAIN, VALIDATION, TEST, DIM, CLASSES = 45_000, 5_000, 10_000, 512, 10
Found = dict[str, float]
T = TypeVar("T")


def make_data() -> dict[str, np.ndarray]:
    """Gaussian classes around random centres, with correlated features of different scales."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    total = TRAIN + VALIDATION + TEST
    y = torch.randint(CLASSES, (total,), generator=generator)
    centres = normal(CLASSES, 64)
    hidden = centres[y] + 2.9 * normal(total, 64)
    x = hidden @ normal(64, DIM) / 8 + 0.7 * normal(total, DIM)
    x = x * torch.logspace(-1, 1, DIM) + normal(DIM)
    fit, train = TRAIN + VALIDATION, TRAIN
    parts = {"train": slice(train), "validation": slice(train, fit), "test": slice(fit, None)}
    arrays = {f"{split}_x": x[rows].numpy() for split, rows in parts.items()}
    return arrays | {f"{split}_y": y[rows].numpy() for split, rows in parts.items()}


class Data:
    """The arrays in the formats of ssl_bench and of the other libraries."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = torch.device(device)
        self.arrays = {path.stem: np.load(path, mmap_mode="c") for path in folder.glob("*.npy")}

    def rows(self, split: str) -> Rows:
        """Rows of one split."""
        x = torch.from_numpy(self.arrays[f"{split}_x"]).to(self.device)
        return Rows(x, torch.from_numpy(self.arrays[f"{split}_y"])[:, None].to(self.device), self.device)

    def task(self) -> Task:
        """Task with all splits."""
        return Task(self.rows("train"), self.rows("validation"), self.rows("test"), CLASSES)

    def features(self) -> Features:
        """Features of all splits, the input of the whole suite."""
        train, validation, test = (
            FeatureSplit(torch.from_numpy(self.arrays[f"{name}_x"]), torch.from_numpy(self.arrays[f"{name}_y"]))
            for name in ("train", "validation", "test")
        )
        return Features(train, validation, test, (Target("class", tuple(map(str, range(CLASSES)))),))

    def fitting(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of train and validation together."""
        return tuple(np.concatenate([self.arrays[f"train_{a}"], self.arrays[f"validation_{a}"]]) for a in "xy")  # type: ignore[return-value]

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the test split."""
        return self.arrays["test_x"], self.arrays["test_y"]


def percent(predicted: Any, labels: Any) -> float:
    return 100 * float((np.asarray(predicted) == np.asarray(labels)).mean())


def standardised(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """float32 features with mean 0 and standard deviation 1 over the train split, as in scikit-learn's examples."""
    x, y = data.fitting()
    mean, deviation = data.arrays["train_x"].mean(0), data.arrays["train_x"].std(0)
    return (x - mean) / deviation, y, (data.test[0] - mean) / deviation, data.test[1]


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


def statistics_pair() -> tuple[Any, Any]:
    from ssl_bench.evaluation.generative.frechet import Statistics

    generator = torch.Generator().manual_seed(0)
    pairs = []
    for shift in (0.0, 0.05):
        x = torch.randn(10_000, 2048, generator=generator) @ torch.randn(2048, 2048, generator=generator) / 45 + shift
        pairs.append(Statistics(len(x), x.double().mean(0), torch.cov(x.double().T)))
    return pairs[0], pairs[1]


def frechet_ssl_bench(data: Data) -> Found:
    from ssl_bench.evaluation.generative.frechet import Statistics, frechet_distance

    a, b = (Statistics(s.number, s.mean.to(data.device), s.covariance.to(data.device)) for s in statistics_pair())
    result, distance = timed(lambda: frechet_distance(a, b))
    return result | {"objective": distance}


def frechet_torchmetrics(data: Data) -> Found:
    from torchmetrics.image.fid import _compute_fid

    a, b = statistics_pair()
    result, distance = timed(lambda: _compute_fid(a.mean, a.covariance, b.mean, b.covariance))
    return result | {"objective": float(distance)}


def frechet_scipy(data: Data) -> Found:
    from scipy.linalg import sqrtm

    a, b = ((s.mean.numpy(), s.covariance.numpy()) for s in statistics_pair())

    def distance() -> float:
        root = sqrtm(a[1] @ b[1]).real
        return float(((a[0] - b[0]) ** 2).sum() + np.trace(a[1] + b[1] - 2 * root))

    result, found = timed(distance)
    return result | {"objective": found}


def suite_default(data: Data) -> Found:
    from ssl_bench.evaluation.encoder import EvaluatedEncoder
    from ssl_bench.evaluation.suite import Evaluation

    with tempfile.TemporaryDirectory() as folder:
        encoder = EvaluatedEncoder(data.features(), data.device, Path(folder))
        found, result = timed(lambda: Evaluation()(encoder))
    for name, why in result.failed.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    size = sum(part.features.nbytes for part in encoder.features[:3]) / 2**20
    return found | {f"seconds {name}": value for name, value in result.seconds.items()} | {"features_mb": size}


TABLES: dict[str, dict[str, Callable[[Data], Found]]] = {
    "svm": {
        "ssl_bench svm: 7 values of C, the best refitted": svm_whole_grid,
        "ssl_bench svm: C = 1 alone": svm_at_one,
        'scikit-learn LinearSVC(dual="auto", C=1)': svm_sklearn,
    },
    "linear_probe": {
        "ssl_bench linear_probe: 7 values of L2, the best refitted": linear_whole_grid,
        "scikit-learn LogisticRegression(lbfgs), one fit": linear_sklearn,
    },
    "knn": {
        "ssl_bench knn: k = 1, 5, 20, 200, cosine": knn_ssl_bench,
        "ssl_bench knn: the same, cosine and Euclidean": knn_both,
        "scikit-learn KNeighborsClassifier(5, brute)": knn_sklearn,
        "faiss IndexFlatIP, 200 neighbours": knn_faiss,
    },
    "kmeans": {
        "ssl_bench kmeans: 20 restarts, Euclidean": kmeans_ssl_bench,
        "scikit-learn KMeans(n_init=20)": kmeans_sklearn,
    },
    "gmm": {
        "ssl_bench gmm: full, 20 initialisations": gmm_ssl_bench,
        "scikit-learn GaussianMixture(n_init=20)": gmm_sklearn,
    },
    "frechet": {
        "ssl_bench frechet_distance": frechet_ssl_bench,
        "torchmetrics _compute_fid": frechet_torchmetrics,
        "scipy sqrtm": frechet_scipy,
    },
    "suite": {"ssl_bench, the whole default suite": suite_default},
}
ONCE = {svm_sklearn, gmm_sklearn, suite_default}
"""Measured in the first round only, because they are slow."""


def memory(field: str) -> float:
    """Memory of this process in MB: ``VmRSS`` is the current size, ``VmHWM`` the peak since the last reset."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def timed(work: Callable[[], T]) -> tuple[Found, T]:
    """Run `work`; returns its wall time in seconds with its additional peak memory in MB, and its result."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = memory("VmRSS"), time.perf_counter()
    found = work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - start, "mb": memory("VmHWM") - before}, found


def scores(work: Callable[[], Found], accuracy: str = "") -> Found:
    """Scores of a protocol with seconds, memory and the accuracy of that name (default: the first one)."""
    result, found = timed(work)
    known = accuracy or next(name for name in found if name.endswith("/accuracy"))
    return found | result | {"accuracy": found[known]}


def measure(table: str, number: int, folder: Path, device: str) -> Found:
    """Measure one row of a table in a separate process."""
    command = [sys.executable, __file__, "--row", table, str(number), "--folder", str(folder), "--device", device]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"failed": 1.0} if "No module named 'faiss'" in done.stderr else sys.exit(done.stderr)
    print(done.stderr, end="", file=sys.stderr)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, rounds: list[list[Found]]) -> list[str]:
    """Markdown table of medians over the rounds; ratios are to the first row of another library."""
    rows = {
        label: {key: statistics.median(one[number][key] for one in rounds if key in one[number]) for key in found}
        for number, (label, found) in enumerate(zip(TABLES[name], rounds[0], strict=True))
    }
    other = next((found for label, found in rows.items() if not label.startswith("ssl_bench")), None)
    lines = [
        f"## {name}",
        "",
        "| | seconds | ratio | extra memory, MB | accuracy, % | objective |",
        "|---|---|---|---|---|---|",
    ]
    for label, found in rows.items():
        if "failed" in found:
            lines.append(f"| {label} | not installed | | | | |")
            continue
        ratio = f"{found['seconds'] / other['seconds']:.2f}" if other else ""
        accuracy = f"{found['accuracy']:.2f}" if "accuracy" in found else ""
        objective = f"{found['objective']:.7g}" if "objective" in found else ""
        lines.append(f"| {label} | {found['seconds']:.2f} | {ratio} | {found['mb']:.0f} | {accuracy} | {objective} |")
    if name == "suite":
        (found,) = rows.values()
        parts = ", ".join(f"{k.removeprefix('seconds ')} {v:.1f}" for k, v in found.items() if k.startswith("seconds "))
        lines += ["", f"Seconds per protocol: {parts}. The features occupy {found['features_mb']:.0f} MB."]
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        function = list(TABLES[options.row[0]].values())[int(options.row[1])]
        print(json.dumps(function(Data(options.folder, options.device))))
        return
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{os.cpu_count()} CPU cores"
    lines = [
        "# Evaluation protocols beside other libraries",
        "",
        f"`python benchmarks/evaluator.py --rounds {options.rounds}`, {datetime.date.today()}, {where} "
        f"({platform.machine()}), torch {torch.__version__}. 50,000 training and 10,000 test features of dimension "
        "512, 10 overlapping classes. Medians over the rounds; the ratio is to the first other library in the table.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, array in make_data().items():
            np.save(Path(folder) / f"{name}.npy", array)
        for name in options.only:
            rounds: list[list[Found]] = []
            for round_ in range(options.rounds):
                rounds.append(
                    [
                        rounds[0][number]
                        if round_ and function in ONCE
                        else measure(name, number, Path(folder), options.device)
                        for number, function in enumerate(TABLES[name].values())
                    ]
                )
            lines += (shown := show(name, rounds))
            print("\n".join(shown), flush=True)
    if options.write:
        path = Path(__file__).parent / "results" / f"evaluator{'-gpu' if options.device == 'cuda' else ''}.md"
        path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
