"""Plots of features: their contents, and that plotting has no side effects."""

import random
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest
import torch
from matplotlib.patches import Rectangle
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.points import unit_vectors
from ssl_bench.evaluation.protocols import maps
from ssl_bench.evaluation.protocols.maps import Maps, nearest_by_cosine, plotted_target
from ssl_bench.plots import projection
from ssl_bench.plots.projection import project
from tests.evaluation.digits_encoder import digits_encoder
from tests.ranks import Ranks

CPU = torch.device("cpu")
QUICK = Maps(method="pca", images=120)


def plots(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}


def of(x: torch.Tensor, y: torch.Tensor, folder: Path, *targets: Target) -> EvaluatedEncoder:
    """The same rows in all three splits, without images."""
    part = FeatureSplit(x, y)
    return EvaluatedEncoder(Features(part, part, part, targets), CPU, folder)


def test_four_plots_are_written_and_no_metrics_returned(tmp_path: Path) -> None:
    assert QUICK.runs_by_default(digits_encoder(tmp_path))
    assert QUICK(digits_encoder(tmp_path)) == {}
    assert list(plots(tmp_path)) == ["classes.png", "confusion.png", "map.png", "neighbours.png"]
    for path in (tmp_path / "figures").iterdir():
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


def test_plotting_is_reproducible_and_does_not_change_random_states(tmp_path: Path) -> None:
    import numpy

    states = torch.get_rng_state(), random.getstate(), str(numpy.random.get_state())  # noqa: NPY002
    for folder in ("a", "b"):
        Maps(images=40)(digits_encoder(tmp_path / folder))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(numpy.random.get_state())) == states[1:]  # noqa: NPY002
    assert plots(tmp_path / "a") == plots(tmp_path / "b")


def plot_in_a_group(folder: Path) -> None:
    QUICK(digits_encoder(folder))


def test_several_processes_write_the_same_plots_as_one(tmp_path: Path, ranks: Ranks) -> None:
    plot_in_a_group(tmp_path / "alone")
    ranks(plot_in_a_group, tmp_path / "together", size=3)
    assert plots(tmp_path / "together") == plots(tmp_path / "alone")


def test_without_images_there_is_no_plot_of_neighbours(tmp_path: Path) -> None:
    QUICK(replace(digits_encoder(tmp_path), images=None))
    assert list(plots(tmp_path)) == ["classes.png", "confusion.png", "map.png"]


def test_neighbours_are_those_of_scikit_learn(tmp_path: Path) -> None:
    features = digits_encoder(tmp_path).features
    index = NearestNeighbors(metric="cosine", algorithm="brute").fit(features.train.features)
    distances = index.kneighbors(features.test.features, 8)[0]
    found = nearest_by_cosine(features.test.features, features.train, 8, CPU)
    similar = torch.cosine_similarity(features.test.features.unsqueeze(1), features.train.features[found], dim=2)
    torch.testing.assert_close(similar.double(), 1 - torch.from_numpy(distances).double(), atol=1e-6, rtol=0)


def test_a_bank_of_fewer_rows_gives_fewer_neighbours() -> None:
    bank = FeatureSplit(torch.eye(3), torch.arange(3))
    assert nearest_by_cosine(torch.tensor([[1.0, 0.5, 0.1]]), bank, 8, CPU).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("offset", "scale"), [(0, 1e-30), (0, 1e30), (1e4, 1)])
def test_neighbours_do_not_depend_on_the_place_and_scale_of_features(offset: float, scale: float) -> None:
    x = scale * (torch.randn(300, 8, generator=torch.Generator().manual_seed(0)) + offset)
    found = nearest_by_cosine(x[:50], FeatureSplit(x[50:], torch.zeros(250)), 5, CPU)
    every = torch.cdist(unit_vectors(x[:50]), unit_vectors(x[50:]), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = every.topk(5, largest=False).values
    torch.testing.assert_close(every.gather(1, found), nearest, rtol=1e-4, atol=0)


def test_queries_are_of_different_classes_in_order(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    sheet = Maps().neighbours(encoder)
    labels = encoder.features.test.labels[sheet[:, 0]]
    assert sheet.shape == (8, 9)
    assert labels.tolist() == sorted(set(labels.tolist()))


def test_bars_are_the_recall_of_scikit_learns_classifier(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    train, _, test, (target,) = encoder.features
    known = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(train.features, train.labels)
    expected = 100 * recall_score(test.labels, known.predict(test.features), average=None)
    figure = maps._class_accuracies(test.features, test.labels, encoder, train.labels, target)
    widths = [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx(expected.tolist(), abs=1e-9)


def test_clusters_are_matched_with_the_classes_that_occur() -> None:
    y = torch.tensor([0, 2, 3]).repeat(20)
    x = torch.eye(4)[(y + 1) % 4] + 0.05 * torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    ax = Maps().confusion(x, y, Target("label", ("a", "never", "b", "c"))).axes[0]
    assert torch.equal(torch.as_tensor(ax.images[0].get_array()), 100 * torch.eye(3))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert "100.0 % matched" in ax.get_title()


def test_the_target_with_the_most_classes_is_shown(tmp_path: Path) -> None:
    y = torch.stack([torch.zeros(30).long(), torch.arange(30) % 3, torch.arange(30) % 2], 1)
    binary, hair, more = Target("Bald", ("no", "yes")), Target("hair", ("a", "b", "c")), Target("Male", ("no", "yes"))
    target, train, test = plotted_target(of(torch.rand(30, 4), y, tmp_path, binary, hair, more).features)
    assert target == hair
    assert train.tolist() == test.tolist() == y[:, 1].tolist()


@pytest.mark.parametrize("labels", [torch.full((40,), -1), torch.arange(40) % 3 - 1, torch.zeros(40).long()])
def test_the_map_is_plotted_without_labels_or_classes(labels: torch.Tensor, tmp_path: Path) -> None:
    QUICK(of(torch.rand(40, 3), labels, tmp_path, Target("label", ("a", "b"))))
    assert "map.png" in plots(tmp_path)
    assert ("classes.png" in plots(tmp_path)) == (len(set(labels.tolist()) - {-1}) == 2)


def test_the_projection_beside_pca_is_the_chosen_one_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(30, 5, generator=torch.Generator().manual_seed(0))
    assert [name.split()[0] for name in project(x, "pca")] == ["PCA"]
    monkeypatch.setattr(projection, "find_spec", lambda name: None)
    assert [name.split()[0] for name in project(x, "tsne")] == ["PCA"]
    with pytest.raises(UserError, match="maps: method umap needs umap-learn; `pip install umap-learn`"):
        Maps(method="umap")


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**100], ids=["1e-30", "1", "1e30"])
def test_the_pca_plane_is_that_of_the_largest_variance(scale: float) -> None:
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 5, 1, 1, 9, 1])
    (points,) = project(scale * x, "pca").values()
    expected = torch.linalg.svdvals(x - x.mean(0))[:2]
    torch.testing.assert_close((points / scale).norm(dim=0), expected, rtol=1e-5, atol=0)


def test_errors_of_plots_are_one_line(tmp_path: Path) -> None:
    one = digits_encoder(tmp_path).features.test.features[:, :1]
    encoder = of(one, torch.zeros(len(one)).long(), tmp_path, Target("label", ("a", "b")))
    assert not QUICK.runs_by_default(encoder)
    with pytest.raises(UserError, match="maps: features of 1 dimension; a plot needs 2 or more"):
        QUICK(encoder)
    (tmp_path / "figures").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"maps: cannot plot map\.png: .*File exists"):
        QUICK(digits_encoder(tmp_path))
