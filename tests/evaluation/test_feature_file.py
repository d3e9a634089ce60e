from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ssl_bench.errors import UserError
from ssl_bench.evaluation.feature_file import read_features

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3
Arrays = dict[str, np.ndarray]
WHOLE: Arrays = {"features": X, "labels": Y}
SPLIT: Arrays = {"train_features": X[:40], "train_labels": Y[:40], "test_features": X[40:], "test_labels": Y[40:]}


def npz(path: Path, arrays: Arrays) -> Path:
    file = path / "features.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


def safetensors(path: Path, arrays: Arrays) -> Path:
    file = path / "features.safetensors"
    save_file({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, file)
    return file


@pytest.mark.parametrize("write", [npz, safetensors])
class TestBothFormats:
    def test_splits_that_are_given_are_kept(self, write: Callable[[Path, Arrays], Path], tmp_path: Path) -> None:
        validation: Arrays = {"validation_features": X[:8], "validation_labels": Y[:8]}
        features = read_features(write(tmp_path, SPLIT | validation))
        assert [len(part.features) for part in features[:3]] == [40, 8, 20]
        assert torch.equal(features.test.features, torch.from_numpy(X[40:]))
        assert torch.equal(features.test.labels, torch.from_numpy(Y[40:]))
        assert features.targets[0].classes == ("0", "1", "2")

    def test_a_validation_split_is_held_out_of_train(
        self, write: Callable[[Path, Arrays], Path], tmp_path: Path
    ) -> None:
        features = read_features(write(tmp_path, SPLIT))
        assert [len(part.features) for part in features[:3]] == [37, 3, 20]
        together = torch.cat([features.train.features, features.validation.features])
        assert torch.equal(together.sort(0).values, torch.from_numpy(X[:40]).sort(0).values)

    def test_test_is_held_out_too_if_there_is_one_set(
        self, write: Callable[[Path, Arrays], Path], tmp_path: Path
    ) -> None:
        features = read_features(write(tmp_path, WHOLE))
        assert [len(part.features) for part in features[:3]] == [42, 6, 12]
        assert torch.bincount(features.test.labels).tolist() == [4, 4, 4]


def test_features_and_labels_may_be_in_two_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    features = read_features(tmp_path / "x.npy", tmp_path / "y.npy")
    assert [len(part.features) for part in features[:3]] == [42, 6, 12]


def test_labels_may_be_names_and_minus_one_is_no_label(tmp_path: Path) -> None:
    words = {"train_labels": np.array(["cat", "dog"] * 20), "test_labels": np.array(["dog"] * 20)}
    named = read_features(npz(tmp_path, SPLIT | words))
    assert named.targets[0].classes == ("cat", "dog")
    assert set(named.test.labels.tolist()) == {1}
    unlabelled = read_features(npz(tmp_path, WHOLE | {"labels": np.where(Y == 2, -1.0, Y)}))
    assert unlabelled.targets[0].classes == ("0", "1")
    assert int((unlabelled.train.labels == -1).sum()) == 20


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": X}, r"no labels \(it contains features\)"),
        (WHOLE | {"labels": Y[:50]}, "60 features but 50 labels"),
        (WHOLE | {"features": np.where(X > 2, np.nan, X)}, "features of [0-9]+ of 60 images are not finite"),
        (WHOLE | {"features": X[:, 0]}, r"features of shape \(60,\) with labels of shape \(60,\)"),
        (SPLIT | {"test_features": X[40:, :2]}, "all splits must come from one encoder"),
    ],
)
def test_invalid_arrays_are_refused_in_one_line(tmp_path: Path, arrays: Arrays, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_features(npz(tmp_path, arrays))
    assert "\n" not in str(caught.value)


def test_damaged_and_unknown_files_are_refused(tmp_path: Path) -> None:
    file = npz(tmp_path, WHOLE)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot read"):
        read_features(file)
    with pytest.raises(UserError, match=r"features are read from \.safetensors"):
        read_features(tmp_path / "features.csv")
