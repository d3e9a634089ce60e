import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.feature_file import read_features
from ssl_bench.evaluation.features import FeatureSplit
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.suite import Evaluation

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


def values(split: FeatureSplit) -> Tensor:
    return Rows.of(split, torch.device("cpu")).take(slice(None))


@pytest.mark.parametrize("write", [npz, safetensors])
class TestBothFormats:
    def test_splits_that_are_given_are_kept(self, write: Callable[[Path, Arrays], Path], tmp_path: Path) -> None:
        validation: Arrays = {"validation_features": X[:8], "validation_labels": Y[:8]}
        features = read_features(write(tmp_path, SPLIT | validation))
        assert [len(part.labels) for part in features[:3]] == [40, 8, 20]
        assert torch.equal(values(features.test), torch.from_numpy(X[40:]))
        assert torch.equal(features.test.labels, torch.from_numpy(Y[40:]))
        assert features.targets[0].classes == ("0", "1", "2")

    def test_a_validation_split_is_held_out_of_train(
        self, write: Callable[[Path, Arrays], Path], tmp_path: Path
    ) -> None:
        features = read_features(write(tmp_path, SPLIT))
        assert [len(part.labels) for part in features[:3]] == [37, 3, 20]
        together = torch.cat([values(features.train), values(features.validation)])
        assert torch.equal(together.sort(0).values, torch.from_numpy(X[:40]).sort(0).values)

    def test_test_is_held_out_too_if_there_is_one_set(
        self, write: Callable[[Path, Arrays], Path], tmp_path: Path
    ) -> None:
        features = read_features(write(tmp_path, WHOLE))
        assert [len(part.labels) for part in features[:3]] == [42, 6, 12]
        assert torch.bincount(features.test.labels).tolist() == [4, 4, 4]


def test_features_and_labels_may_be_in_two_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    features = read_features(tmp_path / "x.npy", tmp_path / "y.npy")
    assert [len(part.labels) for part in features[:3]] == [42, 6, 12]


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
        (SPLIT | {"trian_labels": Y}, r"array 'trian_labels' is not used: did you mean train_labels"),
        (WHOLE | {"paths": Y}, "array 'paths' is not used"),
        (WHOLE | SPLIT, "contains features and test_features; give the splits, or features and labels alone"),
        (
            SPLIT | {"val_features": X, "valid_features": X},
            "val_features and valid_features are both for the validation",
        ),
        (SPLIT | {"val_features": X}, r"no validation_labels"),
        (SPLIT | {"val_labels": Y}, r"no validation_features"),
        (WHOLE | {"features": X.astype(np.complex64)}, "features of type complex64, expected real numbers"),
        (WHOLE | {"features": X.astype(np.longdouble)}, "features of type float128, expected real numbers"),
        (WHOLE | {"features": X > 0}, "features of type bool, expected real numbers"),
        (WHOLE | {"features": X.astype("U4")}, "features of type <U4, expected real numbers"),
        (WHOLE | {"features": X.astype(np.float64) * 1e300}, "above the range of float32, 3.4e38; rescale"),
        (WHOLE | {"features": X[:, :0]}, r"features of shape \(60, 0\)"),
        (WHOLE | {"labels": Y + 0.5}, "labels that are not integers; number the classes"),
        (WHOLE | {"labels": np.where(Y == 1, np.nan, Y)}, "labels that are not integers"),
        (WHOLE | {"labels": np.eye(3)[Y]}, r"labels of shape \(60, 3\)"),
        (WHOLE | {"labels": Y.astype(complex)}, "labels of type complex128, expected integers or names"),
        (WHOLE | {"labels": Y.astype(object)}, "contains Python objects; save arrays of numbers"),
        (WHOLE | {"labels": Y - 2}, "labels contains -2; expected class numbers of at least 0, or -1 for no label"),
        (WHOLE | {"labels": np.array([b"caf\xe9", b"dog", b"emu"])[Y]}, "labels of bytes that are not UTF-8"),
        (SPLIT | {"test_labels": Y[40:] + 10}, "3 classes of test_labels are not in train_labels .'10', '11', '12';"),
        (SPLIT | {"train_labels": Y[:40] > 0}, "3 classes of test_labels are not in train_labels .*train has 'False'"),
        (SPLIT | {"test_labels": np.array(["0", "1", "2.0"])[Y[40:]]}, "1 class of test_labels .*'2.0'"),
        (SPLIT | {"val_features": X, "val_labels": Y + 1}, "1 class of validation_labels is not in train_labels"),
    ],
)
def test_invalid_arrays_are_refused_in_one_line(tmp_path: Path, arrays: Arrays, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_features(npz(tmp_path, arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["validation", "valid", "val"])
def test_the_validation_split_has_three_spellings(tmp_path: Path, word: str) -> None:
    features = read_features(npz(tmp_path, SPLIT | {f"{word}_features": X[:8], f"{word}_labels": Y[:8]}))
    assert torch.equal(values(features.validation), torch.from_numpy(X[:8]))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", "<u2", "<u8", "<i2", ">i4", "<f2"])
def test_numbers_of_every_type_and_byte_order_keep_their_values(tmp_path: Path, dtype: str) -> None:
    x = np.asfortranarray(np.abs(X * 100).round().astype(dtype))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", Y.astype(">i8"))
    for features in (read_features(npz(tmp_path, WHOLE | {"features": x})),
                     read_features(tmp_path / "x.npy", tmp_path / "y.npy")):  # fmt: skip
        together = torch.cat([values(features.train), values(features.validation), values(features.test)])
        expected = torch.from_numpy(x.astype(np.float32))
        assert torch.equal(together.sort(0).values, expected.sort(0).values)


def test_labels_are_numbers_or_names_of_any_size(tmp_path: Path) -> None:
    for labels, classes in {
        ("cat", "dog", "emu"): ("cat", "dog", "emu"),
        (b"cat", b"dog", b"emu"): ("cat", "dog", "emu"),
        (2**60, 2**60 + 1, 5): ("5", str(2**60), str(2**60 + 1)),
        (1.0, 2.0, 7.0): ("1", "2", "7"),
    }.items():
        assert read_features(npz(tmp_path, WHOLE | {"labels": np.array(labels)[Y]})).targets[0].classes == classes


def test_labels_are_not_read_from_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(UserError, match=r"--labels .*features\.npz: labels are read from a \.npy file"):
        read_features(tmp_path / "x.npy", npz(tmp_path, {"labels": Y}))


def test_unlabelled_test_images_are_of_no_class(tmp_path: Path) -> None:
    features = read_features(npz(tmp_path, SPLIT | {"test_labels": np.where(Y[40:] == 1, -1, Y[40:])}))
    assert set(features.test.labels.tolist()) == {-1, 0, 2}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float16])
def test_labels_in_safetensors_may_have_any_type_of_integers(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "features.safetensors"
    save_file({"features": torch.from_numpy(X), "labels": torch.from_numpy(Y).to(dtype)}, file)
    assert read_features(file).targets[0].classes == ("0", "1", "2")


def compressed(file: Path) -> None:
    np.savez_compressed(file, features=X, labels=Y)
    content = bytearray(file.read_bytes())
    start = 30 + sum(content[26:30])  # of the first member: the header and the lengths of its variable fields
    content[start : start + 20] = b"\xff" * 20
    file.write_bytes(content)


def raw_members(file: Path) -> None:
    with ZipFile(file, "w") as archive:
        archive.writestr("features", "text")


def one_array(file: Path) -> None:
    with file.open("wb") as out:
        np.save(out, X)


def several_arrays(file: Path) -> None:
    with file.open("wb") as out:
        np.savez(out, **WHOLE)  # type: ignore[arg-type]


def open_header(file: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10, 8, }".ljust(117) + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("write", "suffix", "message"),
    [
        (compressed, ".npz", "cannot read .*Error -3 while decompressing"),
        (raw_members, ".npz", "features is not an array; write the file with numpy.savez"),
        (one_array, ".npz", "contains a single array; name it .npy, and give the labels with --labels"),
        (several_arrays, ".npy", "contains several arrays; name it .npz"),
        (open_header, ".npy", "cannot read"),
    ],
)
def test_damaged_and_misnamed_files_are_refused_in_one_line(
    tmp_path: Path, write: Callable[[Path], None], suffix: str, message: str
) -> None:
    write(tmp_path / f"features{suffix}")
    with pytest.raises(UserError, match=message) as caught:
        read_features(tmp_path / f"features{suffix}")
    assert "\n" not in str(caught.value)


def test_damaged_and_unknown_files_are_refused(tmp_path: Path) -> None:
    file = npz(tmp_path, WHOLE)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot read"):
        read_features(file)
    with pytest.raises(UserError, match=r"features are read from \.safetensors"):
        read_features(tmp_path / "features.csv")


PEAK = """
import sys
from pathlib import Path
import torch
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.feature_file import read_features
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.suite import Evaluation
torch.set_num_threads(1)
status = lambda: dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
before = int(status()["VmRSS"].split()[0])
features = read_features(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
evaluation = Evaluation(protocols=("kmeans",), kmeans=KMeans(restarts=1, max_iter=1))
assert "kmeans/accuracy" in evaluation(EvaluatedEncoder(features, torch.device("cpu"), Path())).metrics
print((int(status()["VmHWM"].split()[0]) - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory of the process from /proc")
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_float16_features_without_splits_are_neither_copied_nor_expanded(tmp_path: Path, suffix: str) -> None:
    """Resident memory includes the pages of the file, 100 MiB. As float32, the features need 200 MiB more."""
    file = tmp_path / f"features{suffix}"
    x = ((torch.arange(50_000)[:, None] % 97 + torch.arange(1024)).short() % 127).half()
    y = torch.arange(50_000) % 3
    if suffix == ".npy":
        np.save(file, x.numpy())
        np.save(tmp_path / "y.npy", y.numpy())
    else:
        save_file({"features": x, "labels": y}, file)
    more = [str(tmp_path / "y.npy")] if suffix == ".npy" else []
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(file), *more], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout.split()[-1]) < 250


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors"])
def test_float16_features_have_the_metrics_of_the_same_values_in_float32(tmp_path: Path, suffix: str) -> None:
    y = np.arange(400) % 3
    half = (RANDOM.normal(size=(400, 6)) + 2 * np.eye(6)[y]).astype(np.float16)
    y = np.where(np.arange(400) % 50 == 7, -1, y)  # some have no label
    evaluation = Evaluation(("linear_probe", "knn", "kmeans", "gmm", "rank", "svm", "maps"), knn=KNN(k=(5,)))
    found = []
    for x in (half, half.astype(np.float32)):
        folder = tmp_path / x.dtype.name
        folder.mkdir()
        np.save(folder / "y.npy", y)
        if suffix == ".npy":
            np.save(file := folder / "x.npy", x)
        else:
            file = (npz if suffix == ".npz" else safetensors)(folder, {"features": x, "labels": y})
        features = read_features(file, folder / "y.npy" if suffix == ".npy" else None)
        assert features.train.features.dtype == torch.from_numpy(x).dtype
        assert features.train.features is features.test.features
        result = evaluation(EvaluatedEncoder(features, torch.device("cpu"), folder))
        assert not result.failed
        found.append(result.metrics)
    assert found[0] == found[1]


@pytest.mark.parametrize(("each", "empty"), [(1, "test"), (2, "validation")])
def test_a_held_out_split_without_images_is_refused(each: int, empty: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", features=np.eye(4 * each), labels=np.arange(4 * each) % 4)
    with pytest.raises(UserError, match=f"no image is left for the {empty} split; give three or more images"):
        read_features(tmp_path / "few.npz")
