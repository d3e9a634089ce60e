"""Plots of features: their contents, and that plotting has no side effects."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.metrics import recall_score
from sklearn.neighbors import NearestNeighbors

from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.evaluation.class_figures import confusion, plotted_target
from ssl_bench.evaluation.cosine_neighbours import nearest_by_cosine
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.points import unit_vectors
from ssl_bench.evaluation.protocols import kmeans as kmeans_module
from ssl_bench.evaluation.protocols import knn as knn_module
from ssl_bench.evaluation.protocols import maps as maps_module
from ssl_bench.evaluation.protocols.kmeans import KMeans
from ssl_bench.evaluation.protocols.knn import KNN
from ssl_bench.evaluation.protocols.maps import Maps
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.evaluation.task_groups import task_groups
from ssl_bench.plots import primitives
from ssl_bench.plots.projection import project
from tests.evaluation.digits_encoder import digits_encoder
from tests.ranks import Ranks

CPU = torch.device("cpu")
QUICK = Maps(method="pca", images=120)


def plots(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}


def classes_of(encoder: EvaluatedEncoder, **settings: Any) -> Figure:
    groups, _ = task_groups(encoder)
    return QUICK.figures_of_classes(groups, encoder, KMeans(), KNN(**settings))["classes"]()


def of(x: torch.Tensor, y: torch.Tensor, folder: Path, *targets: Target) -> EvaluatedEncoder:
    """The same rows in all three splits, without images."""
    part = FeatureSplit(x, y)
    return EvaluatedEncoder(Features(part, part, part, targets), CPU, folder)


def test_four_plots_are_written_and_no_metrics_returned(tmp_path: Path) -> None:
    assert QUICK.runs_by_default(digits_encoder(tmp_path))
    assert QUICK(digits_encoder(tmp_path)) == {}
    assert list(plots(tmp_path)) == ["classes.png", "confusion.png", "map.json", "map.png", "neighbours.png"]
    for path in (tmp_path / "figures").glob("*.png"):
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
    assert list(plots(tmp_path)) == ["classes.png", "confusion.png", "map.json", "map.png"]


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


@pytest.mark.parametrize(("classes", "rows"), [(2, [4, 4]), (3, [2, 2, 2]), (10, [1] * 10), (40, [1] * 12)], ids=str)
def test_the_plot_of_neighbours_has_as_many_rows_of_each_class(classes: int, rows: list[int], tmp_path: Path) -> None:
    y = torch.arange(200) % classes
    names = Target("label", tuple(map(str, range(classes))))
    grid = QUICK.neighbours(of(torch.rand(200, 4), y, tmp_path, names))
    found, counts = y[grid[:, 0]].unique(return_counts=True)
    assert counts.tolist() == rows
    assert y[grid[:, 0]].tolist() == sorted(y[grid[:, 0]].tolist())
    assert (found[0], found[-1]) == (0, classes - 1)
    assert grid.shape == (sum(rows), 9)


def test_bars_are_the_recall_of_the_knn_protocol(tmp_path: Path) -> None:
    """With k = 5, cosine similarity, and train and validation images as neighbours; ties go to the nearest."""
    encoder = digits_encoder(tmp_path)
    train, validation, test, _ = encoder.features
    x, y = torch.cat([train.features, validation.features]), torch.cat([train.labels, validation.labels])
    index = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(x)
    neighbours = y[index.kneighbors(test.features, return_distance=False)].tolist()
    predicted = [max(row, key=lambda label: (row.count(label), -row.index(label))) for row in neighbours]
    expected = 100 * recall_score(test.labels, predicted, average=None)
    figure = classes_of(encoder)
    widths = [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert widths == pytest.approx(expected.tolist(), abs=1e-9)
    assert "kNN, k = 5, cosine, by digit" in figure.axes[0].get_title()


@pytest.mark.parametrize(("k", "shown"), [((1, 5, 20), 5), ((3, 7), 3), ((900, 20), 20)])
def test_bars_are_of_k_5_or_else_of_the_first_k_that_fits(k: tuple[int, ...], shown: int, tmp_path: Path) -> None:
    assert f"k = {shown}," in classes_of(digits_encoder(tmp_path), k=k).axes[0].get_title()


def test_plots_show_the_scores_of_the_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clusters are those of the restart with the lowest inertia, and nothing is computed twice."""
    figures: dict[str, Figure] = {}
    monkeypatch.setattr(primitives, "save", lambda figure, path, title: figures.update({path.stem: figure}))
    calls: list[str] = []

    def counted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            calls.append(name)
            return function(*arguments, **settings)

        return call

    for module, name in ((kmeans_module, "lloyd"), (knn_module, "search")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), name))
    evaluation = Evaluation(protocols=("kmeans", "knn", "maps"), maps=QUICK)
    metrics = evaluation(digits_encoder(tmp_path)).metrics
    assert calls == ["lloyd", "search"]
    assert f"kmeans_best/accuracy {metrics['kmeans_best/accuracy']:.1f} %" in figures["confusion"].axes[0].get_title()
    line = figures["classes"].axes[0].texts[-1].get_text()
    assert line == f"all classes {metrics['knn_5/accuracy']:.1f}"


def test_clusters_are_matched_with_classes(tmp_path: Path) -> None:
    counts = torch.tensor([[0, 20, 0, 0], [0, 0, 0, 15], [20, 0, 0, 0], [0, 0, 0, 5]])  # no image of the third class
    ax = confusion(counts, Target("label", ("a", "b", "never", "c")), "k-means").axes[0]
    shares = torch.as_tensor(ax.images[0].get_array())
    assert shares.diagonal().tolist() == [100, 100, 0, 75]
    assert "kmeans_best/accuracy 91.7 %" in ax.get_title()


def test_coordinates_of_the_map_have_the_rows_of_their_images(tmp_path: Path) -> None:
    encoder = digits_encoder(tmp_path)
    QUICK(encoder)
    known = json.loads((tmp_path / "figures" / "map.json").read_text())
    (points,) = known["maps"].values()
    assert len(points) == len(known["rows"]) == len(known["labels"]) == 120
    assert encoder.features.test.labels[known["rows"]].tolist() == known["labels"]
    assert len(known["classes"]) == len(known["colours"]) == 10
    x = encoder.features.test.features[known["rows"]]
    expected = next(iter(project(x, "pca").values()))
    torch.testing.assert_close(torch.tensor(points), expected, rtol=1e-4, atol=1e-4)


def test_every_plot_is_titled_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    monkeypatch.setattr(primitives, "save", lambda figure, path, title: titles.append(title))
    QUICK(digits_encoder(tmp_path, title="vae on digits, seed 0, 5 epochs"))
    assert titles == ["vae on digits, seed 0, 5 epochs"] * 4


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


def test_the_projection_beside_pca_is_the_chosen_one() -> None:
    x = torch.rand(30, 5, generator=torch.Generator().manual_seed(0))
    assert [name.split()[0] for name in project(x, "pca")] == ["PCA"]
    assert [name.split()[0] for name in project(x, "tsne")] == ["PCA", "t-SNE"]


def test_umap_without_its_package_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps_module, "find_spec", lambda name: None)
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
