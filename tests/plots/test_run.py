"""Figures: loss curves over sessions, grids of images, interpolation of latents, and the primitives."""

from pathlib import Path

import matplotlib.image
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ssl_bench.plots import primitives
from ssl_bench.plots.run import generation_curve, image_grid, image_rows, loss_curves, slerp


def log(folder: Path, session: int, *rows: str) -> None:
    (folder / f"version_{session}").mkdir()
    (folder / f"version_{session}" / "metrics.csv").write_text("\n".join(["step,train/loss,train/kl_term", *rows, ""]))


def lines(figure: Figure | None) -> list[list[tuple[float, float]]]:
    assert figure is not None
    return [[(x, y) for x, y in torch.as_tensor(ax.lines[0].get_xydata()).tolist()] for ax in figure.axes]


def test_steps_that_a_resumed_run_repeated_are_plotted_once(tmp_path: Path) -> None:
    log(tmp_path, 0, "0,9.0,1.0", "1,8.0,1.0", "2,7.0,1.0")
    log(tmp_path, 1, "1,6.0,1.0", "2,5.0,")
    loss, kl = lines(loss_curves(tmp_path))
    assert loss == [(0, 9), (1, 6), (2, 5)]
    assert kl == [(0, 1), (1, 1)]


@pytest.mark.parametrize("cut", range(1, 39))
def test_a_log_that_was_cut_off_at_any_byte_is_read_up_to_its_last_complete_row(tmp_path: Path, cut: int) -> None:
    log(tmp_path, 0, "10,9.25,1.5", "20,8.5,1.25", "30,7.75,1.125")
    file = tmp_path / "version_0" / "metrics.csv"
    file.write_bytes(file.read_bytes()[:-cut])
    complete = [(10, 9.25), (20, 8.5), (30, 7.75)][: file.read_text().count("\n") - 1]
    figure = loss_curves(tmp_path)
    assert (lines(figure)[0] if complete else figure) == (complete or None)


def test_rows_after_one_that_a_full_disk_cut_off_are_read(tmp_path: Path) -> None:
    log(tmp_path, 0, "10,9.25,1.5", "20,8.20,8.5,1.25", "\0\0,1,1", "30,7.75,1.125")
    assert lines(loss_curves(tmp_path))[0] == [(10, 9.25), (30, 7.75)]


def test_a_session_that_logged_nothing_changes_nothing(tmp_path: Path) -> None:
    assert loss_curves(tmp_path) is None
    log(tmp_path, 0, "0,9.0,1.0")
    log(tmp_path, 1)
    assert lines(loss_curves(tmp_path))[0] == [(0, 9)]


def test_a_distance_is_labelled_by_its_extractor_and_kept_if_a_resumed_run_did_not_repeat_it(
    tmp_path: Path,
) -> None:
    assert generation_curve(tmp_path) is None
    for session, rows in enumerate((["0,,9.0,1.1", "0,5.0,,", "1,5.0,,", "2,,7.0,1.2"], ["2,4.0,,", "4,,3.0,1.3"])):
        (tmp_path / f"version_{session}").mkdir()
        head = "step,train/loss,generation/fd_pixels,generation/inception_score_pixels"
        (tmp_path / f"version_{session}" / "metrics.csv").write_text("\n".join([head, *rows, ""]))
    figure = generation_curve(tmp_path)
    assert lines(figure) == [[(0, 9), (2, 7), (4, 3)]]
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["Frechet distance (pixels)"]


@pytest.mark.parametrize("channels", [1, 3])
def test_image_rows_have_a_row_for_each_label(channels: int) -> None:
    image, view = torch.zeros(8, channels, 4, 4), torch.ones(8, channels, 4, 4)
    figure = image_rows([image, view], ["image", "view"])
    assert [ax.get_ylabel() for ax in figure.axes] == ["image", "view"]
    dark, bright = (torch.as_tensor(ax.images[0].get_array()) for ax in figure.axes)
    assert dark.shape == bright.shape == (4, 8 * 5, 3)  # a pixel of white after each image
    assert dark[:, :4].max() == 0
    assert bright.min() == dark[:, 4].min() == 1


def test_an_image_grid_has_its_images_row_by_row() -> None:
    images = torch.arange(64.0).view(64, 1, 1, 1).expand(-1, 3, 2, 2) / 64
    (ax,) = image_grid(images).axes
    picture = torch.as_tensor(ax.images[0].get_array())[..., 0]
    assert picture.shape == (8 * 3, 8 * 3)
    assert torch.equal(picture[::3, ::3].flatten(), images[:, 0, 0, 0])
    assert picture[2::3].min() == picture[:, 2::3].min() == 1


def test_interpolated_latents_include_both_ends_and_are_standard_normal() -> None:
    start, end = torch.randn(2, 20_000, 3, generator=torch.Generator().manual_seed(0))
    way = slerp(start, end, 5)
    torch.testing.assert_close(way[:, 0], start)
    torch.testing.assert_close(way[:, -1], end)
    torch.testing.assert_close(way.std(0), torch.ones(5, 3), atol=0.03, rtol=0)


def test_perpendicular_latents_are_interpolated_on_the_arc_of_a_circle() -> None:
    way = slerp(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]]), 4)[0]
    torch.testing.assert_close(way.norm(dim=1), torch.full((4,), 3.0))
    torch.testing.assert_close((way[1:] * way[:-1]).sum(1) / 9, torch.full((3,), 30.0).deg2rad().cos())


def test_a_figure_is_written_atomically(tmp_path: Path) -> None:
    figure = primitives.bars(torch.tensor([50.0, 70.0]), ["a", "b"], 60.0, "title")
    path = primitives.save(figure, tmp_path / "bars.png")
    assert matplotlib.image.imread(path).ndim == 3
    figure.axes[0].set_title("$broken")
    figure.axes[0].set_xlabel(r"$\nosuchcommand$")
    with pytest.raises(ValueError, match="nosuchcommand"):
        primitives.save(figure, path)
    assert [file.name for file in tmp_path.iterdir()] == ["bars.png"]
    assert matplotlib.image.imread(path).ndim == 3


def test_of_many_classes_the_lowest_and_the_highest_are_shown() -> None:
    names = [f"class {i}" for i in range(100)]
    ax = primitives.bars(torch.arange(100.0), names, 49.5, "title").axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [*names[:15], *names[-15:]]


@pytest.mark.parametrize(("classes", "legend"), [(2, True), (20, True), (21, False)])
def test_a_map_has_a_colour_for_each_class_and_grey_for_none(classes: int, legend: bool) -> None:
    labels = torch.arange(-1, classes)
    points = torch.rand(len(labels), 2)
    figure = primitives.scatter({"PCA": points}, labels, [str(i) for i in range(classes)], "title")
    figure.draw_without_rendering()
    colours = torch.as_tensor(figure.axes[0].collections[0].get_facecolor())
    assert len(colours.unique(dim=0)) == classes + 1
    assert colours[0, :3].tolist() == pytest.approx([0.8, 0.8, 0.8])
    assert bool(figure.legends) == legend


def test_neighbours_of_another_class_are_framed_in_another_colour_and_named() -> None:
    images = [[torch.rand(1, 4, 4)] * 4]
    axes = primitives.neighbour_grid(images, torch.tensor([[0, 0, 1, -1]]), ["cat", "dog"], "title").axes
    assert [ax.get_xlabel() for ax in axes] == ["", "", "dog", "no label"]
    frames = [tuple(ax.spines["top"].get_edgecolor()[:3]) for ax in axes[1:]]
    assert frames == [to_rgb(name) for name in (primitives.SAME_CLASS, primitives.OTHER_CLASS, primitives.NO_LABEL)]
    assert axes[0].get_ylabel() == "cat"
