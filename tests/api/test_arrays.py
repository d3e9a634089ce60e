"""Scores of arrays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ssl_bench
from ssl_bench.cli import main

X, Y = load_digits(return_X_y=True)
OF_FEATURES = ["linear_probe", "linear_probe_sgd", "svm", "mlp_probe", "knn", "kmeans", "gmm", "rank"]
"""All protocols that need neither the encoder nor images."""
TRAIN, TEST = (X[:600], Y[:600]), (X[600:900], Y[600:900])


def test_scores_are_those_of_the_command_on_the_same_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all protocols of features, with named classes and validation images; records have nine digits."""
    names = np.array([f"digit {i}" for i in range(10)])
    splits = {"train": TRAIN, "test": TEST, "validation": (X[900:1000], Y[900:1000])}
    named = {split: (x, names[y]) for split, (x, y) in splits.items()}
    arrays = {f"{split}_features": x for split, (x, _) in named.items()}
    arrays |= {f"{split}_labels": y for split, (_, y) in named.items()}
    np.savez(tmp_path / "f.npz", **arrays)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    flags = [f"--evaluation.protocols=[{','.join(OF_FEATURES)}]", f"--out={tmp_path / 'runs'}", "--devices=1"]
    assert main(["evaluate", str(tmp_path / "f.npz"), *flags]) == 0
    (file,) = tmp_path.glob("runs/*/metrics.json")
    record = json.loads(file.read_text())
    assert not record["failed"]
    scores = ssl_bench.evaluate(named["train"], named["test"], named["validation"], protocols=OF_FEATURES, device="cpu")
    assert {name: float(f"{value:.9g}") for name, value in scores.items()} == record["metrics"]


def test_arrays_tensors_names_and_types_are_the_same() -> None:
    expected = ssl_bench.evaluate(TRAIN, TEST, protocols=["knn"])
    kinds: list[Callable[[Any, Any], tuple[Any, Any]]] = [
        lambda x, y: (torch.tensor(x), torch.tensor(y)),
        lambda x, y: (x.astype(np.float32), np.array([f"digit {label}" for label in y])),
        lambda x, y: (x.tolist(), [str(label) for label in y]),
    ]
    for kind in kinds:
        assert ssl_bench.evaluate(kind(*TRAIN), kind(*TEST), protocols=["knn"]) == expected


def test_a_result_is_a_dict_and_prints_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    scores = ssl_bench.evaluate(TRAIN, TEST, protocols=["knn"], knn={"k": [5, 900], "distances": ["cosine"]})
    assert list(scores) == ["knn_5/accuracy"]
    assert repr(scores).splitlines()[0] == f"knn_5/accuracy [%]  {scores['knn_5/accuracy']:.1f}"
    assert "k = 900 left out" in repr(scores)
    assert scores.seconds.keys() == {"knn"}
    assert capsys.readouterr().out == ""


def test_validation_images_choose_the_settings() -> None:
    validation = (X[900:1000], Y[900:1000])
    scores = ssl_bench.evaluate(TRAIN, TEST, validation, protocols=["knn"])
    both = (np.concatenate([TRAIN[0], validation[0]]), np.concatenate([TRAIN[1], validation[1]]))
    assert scores == ssl_bench.evaluate(both, TEST, protocols=["knn"])  # the bank has both splits


def test_figures_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    ssl_bench.evaluate(TRAIN, TEST, protocols=["knn"], figures=tmp_path, maps={"method": "pca"})
    assert (tmp_path / "figures" / "map.png").is_file()


def test_a_protocol_that_fails_is_named() -> None:
    scores = ssl_bench.evaluate((np.ones((20, 3)), Y[:20]), TEST_OF_ONES, protocols=["knn"])
    assert scores == {}
    assert "knn failed: the features of all" in repr(scores)


TEST_OF_ONES = (np.ones((20, 3)), Y[:20])


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((X, TEST), {}, "train: ndarray, expected a pair of features"),
        (((X[:10], Y[:9]), TEST), {}, "the arrays: 10 train_features but 9 train_labels"),
        (((X[:10, 0], Y[:10]), TEST), {}, r"train_features of shape \(10,\)"),
        (((X * np.nan, Y), TEST), {}, "train_features of 1797 of 1797 images are not finite"),
        ((TRAIN, (X[:5, :3], Y[:5])), {}, "all splits must come from one encoder"),
        ((TRAIN, TEST), {"protocols": ["knm"]}, "no protocol 'knm': did you mean knn"),
        ((TRAIN, TEST), {"protocols": "knn"}, "protocols is the text 'knn', expected a list"),
        ((TRAIN, TEST), {"knn": {"k": [0]}}, "k.*at least 1"),
        ((TRAIN, TEST), {"knm": {}}, "evaluate got the setting 'knm': did you mean knn"),
        ((TRAIN, TEST), {"device": "gpu"}, "device 'gpu'"),
        ((TRAIN, TEST), {"device": "meta:99x"}, "device 'meta:99x'"),
        ((TRAIN, TEST), {"protocols": ["maps"]}, "protocols has 'maps', which makes plots: give figures=FOLDER"),
        ((([[1.0], [1.0, 2.0]], [0, 1]), TEST), {}, "train_features: rows of different lengths, expected"),
        (((X.astype(complex), Y), TEST), {}, "train_features"),
        (((X > 3, Y), TEST), {}, "train_features"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(arguments: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ssl_bench.UserError, match=message) as error:
        ssl_bench.evaluate(*arguments, **settings)
    assert "\n" not in str(error.value)
