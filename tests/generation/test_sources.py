"""Sources of generated views: views belong to their image, are random, and are refused for other data."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_bench.cli import main
from ssl_bench.data import Digits
from ssl_bench.data.shards import Shards
from ssl_bench.errors import UserError
from ssl_bench.generation.commands.arguments import PerturbCommand
from ssl_bench.generation.commands.perturb import perturb_codes
from ssl_bench.generation.image_identity import identify_fit_images
from ssl_bench.generation.settings import Job, PerturbSettings
from ssl_bench.generation.sources import CachedViews, OnlineSearch, PerturbedViews
from ssl_bench.generation.trained_run import load_run
from tests.generation.conftest import CPU

VIEWS = 4


@pytest.fixture(scope="session")
def cache(codes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Perturbed views of the first 30 digits."""
    job = Job(tmp_path_factory.mktemp("cache"), shard_rows=7)
    return perturb_codes(PerturbCommand(codes, PerturbSettings(views=VIEWS), job), CPU)


def digits(fit_images: int = 30) -> Digits:
    data = Digits(fit_images=fit_images)
    data.setup()
    return data


def test_cached_views_belong_to_the_image_and_are_chosen_without_replacement(cache: Path) -> None:
    data, source = digits(), CachedViews(str(cache), views=VIEWS)
    source.open(data, CPU)
    order = data.fit_order()[:30]
    ids = order[torch.tensor([29, 3, 14])]
    made = source(data.split("fit")[ids].images, ids)
    assert made.shape == (VIEWS, 3, 1, 8, 8)
    kept = Shards(cache).read_all("views")
    for column, row in enumerate([29, 3, 14]):
        theirs = sorted(view.flatten().tolist() for view in made[:, column])
        assert theirs == sorted(view.flatten().tolist() for view in kept[row])


def test_cached_views_are_chosen_equally_often(cache: Path) -> None:
    data, source = digits(), CachedViews(str(cache))
    source.open(data, CPU)
    torch.manual_seed(0)
    ids = data.fit_order()[:1].expand(2000)
    chosen, kept = source(data.split("fit")[ids].images, ids)[0], Shards(cache).read_all("views")[0]
    shares = torch.stack([(chosen == view).flatten(1).all(1).float().mean() for view in kept])
    assert (shares - 1 / VIEWS).abs().max() < 0.05


def test_perturbed_views_are_new_at_every_step_and_without_noise_the_reconstruction(codes: Path) -> None:
    data = digits()
    ids = data.fit_order()[:5]
    images = data.split("fit")[ids].images
    noisy, still = PerturbedViews(str(codes), views=2), PerturbedViews(str(codes), sigma=0.0)
    noisy.open(data, CPU)
    still.open(data, CPU)
    first, second = noisy(images, ids), noisy(images, ids)
    assert first.shape == (2, 5, 1, 8, 8)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert (still(images, ids)[0] * 255 - Shards(codes).read_all("images", count=5)).abs().max() < 0.51


def test_views_are_synthesized_in_parts(codes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits()
    source = PerturbedViews(str(codes), views=3)
    source.open(data, CPU)
    ids = data.fit_order()[:5]
    assert source.codes is not None
    generator, sizes, found = source.codes.generator, [], []
    synthesize = generator.synthesize

    def counted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return synthesize(x)

    monkeypatch.setattr(generator, "synthesize", counted)
    for part in (256, 4):
        monkeypatch.setattr("ssl_bench.generation.sources.codes.PART", part)
        torch.manual_seed(0)
        found.append(source(data.split("fit")[ids].images, ids))
    assert sizes == [15, 4, 4, 4, 3]
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_an_online_step_moves_away_from_the_image_for_the_encoder(codes: Path, runs: dict[str, Path]) -> None:
    run = load_run(runs["simclr"], CPU)
    run.data.fit_images = 30
    method: Any = SimpleNamespace(
        project=run.method.project, views=run.views, device=CPU, training=True, eval=run.method.eval,
        train=run.method.train,
        trainer=SimpleNamespace(precision="32-true", default_root_dir=runs["simclr"].parent),
    )  # fmt: skip
    source = OnlineSearch(str(codes), step=0.05, boundary=-1.0)
    source.attach(method, run.data)
    ids = run.data.fit_order()[:8]
    images = run.data.split("fit")[ids].images
    moved = source(images, ids)
    assert run.method.training, "the mode is restored"
    run.method.eval()
    target, still = source.project(images / 255), Shards(codes).read_all("images", count=8) / 255
    before, after = ((source.project(x) * target).sum(1).mean() for x in (still, moved[0]))
    assert after < before


@pytest.mark.parametrize("source", ["CachedViews", "PerturbedViews", "OnlineSearch"])
def test_simclr_trains_with_them_and_resumes_with_the_same_rows_only(
    source: str, codes: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, folder = ("folder", cache) if source == "CachedViews" else ("codes", codes)
    folder = Path(shutil.copytree(folder, tmp_path / "views"))
    command = [
        "fit", "--method=simclr", "--data=digits", "--epochs=1", f"--out={tmp_path / 'runs'}",
        "--trainer.accelerator=cpu",
        f"--views.generated=ssl_bench.generation.sources.{source}", f"--views.generated.{key}={folder}",
        "--method.backbone.width=8", "--data.batch_size=10", "--trainer.limit_train_batches=1",
    ]  # fmt: skip
    assert main([*command, "--data.fit_images=30"]) == 0
    assert main([*command, "--data.fit_images=31"]) == 2
    assert "give --data.fit_images 30" in capsys.readouterr().err
    assert main([*command, "--data.fit_images=30"]) == 0, "resumes"
    index = json.loads((folder / "index.json").read_text())
    index["key"]["settings"]["made"] = "anew"
    (folder / "index.json").write_text(json.dumps(index))
    assert main([*command, "--data.fit_images=30"]) == 2
    assert "is a run with another content of views.generated" in capsys.readouterr().err
    (inputs,) = tmp_path.glob("runs/*/inputs.json")
    inputs.unlink()
    assert main([*command, "--data.fit_images=30"]) == 2
    assert "has been made anew since" in capsys.readouterr().err


def test_views_of_the_first_samples_serve_training_on_these(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled, made = str(tmp_path / "sampled"), str(tmp_path / "made")
    assert main(["views", "sample", str(runs["stylegan2"]), "--images=12", "--out", sampled]) == 0
    assert main(["views", "perturb", sampled, "--images=6", "--views=1", "--out", made]) == 0
    command = [
        "fit", "--method=simclr", "--data=generated", f"--data.root={sampled}", "--data.real=ssl_bench.data.Digits",
        "--data.num_workers=0", "--data.batch_size=3", "--epochs=1", f"--out={tmp_path / 'runs'}",
        "--views.generated=ssl_bench.generation.sources.CachedViews", f"--views.generated.folder={made}",
        "--method.backbone.width=8", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    assert main([*command, "--data.fit_images=6"]) == 0
    assert main([*command, "--data.fit_images=7"]) == 2
    assert "give --data.fit_images 6" in capsys.readouterr().err


def test_a_cache_serves_training_on_fewer_images_but_not_on_more(cache: Path) -> None:
    CachedViews(str(cache)).open(digits(12), CPU)
    with pytest.raises(UserError, match="10 of the 40 to train on have none"):
        CachedViews(str(cache)).open(digits(40), CPU)


def test_caches_of_other_settings_or_incomplete_ones_are_refused(cache: Path, codes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 4 views of each image, 5 are needed"):
        CachedViews(str(cache), views=5).open(digits(), CPU)
    with pytest.raises(UserError, match=r"sigma is 0\.2 there and 0\.1 here"):
        CachedViews(str(cache), settings={"sigma": 0.1}).open(digits(), CPU)
    with pytest.raises(UserError, match="kind is perturb there and search here"):
        CachedViews(str(cache), settings={"kind": "search"}).open(digits(), CPU)
    generator = Shards(cache).key["generator"]
    CachedViews(str(cache), settings={"kind": "perturb", "sigma": 0.2, "generator": generator}).open(digits(), CPU)
    with pytest.raises(UserError, match="generator is"):
        CachedViews(str(cache), settings={"generator": generator[::-1]}).open(digits(), CPU)
    with pytest.raises(UserError, match=r"contains codes.*, not views: give a folder of views"):
        CachedViews(str(codes)).open(digits(), CPU)
    part = Shards.create(tmp_path, Shards(cache).key, 30, shard_rows=7)
    part.write(0, {"views": Shards(cache).read_all("views", count=7)})
    with pytest.raises(UserError, match="23 of 30 rows are missing: resume with `ssl-bench views perturb"):
        CachedViews(str(tmp_path)).open(digits(), CPU)


def test_views_of_other_images_or_another_size_are_refused(cache: Path) -> None:
    others = digits()
    others.split("fit").images.bitwise_not_()  # type: ignore[union-attr]
    with pytest.raises(UserError, match="does not belong to the images of digits"):
        CachedViews(str(cache)).open(others, CPU)
    larger = digits()
    larger.image_shape = (1, 16, 16)
    with pytest.raises(UserError, match=r"has views of \(1, 8, 8\), digits has images of \(1, 16, 16\)"):
        CachedViews(str(cache)).open(larger, CPU)


def test_the_distances_of_a_search_are_compared_up_to_rounding(cache: Path, tmp_path: Path) -> None:
    distances = {"eps1": 0.1 + 0.2, "eps2": 0.5}  # estimated when the folder is made, and so not part of the key
    made = Shards.create(tmp_path, {**Shards(cache).key, "kind": "search"}, 30, lambda: distances, shard_rows=30)
    made.write(0, {"views": Shards(cache).read_all("views")})
    CachedViews(str(tmp_path), settings={"kind": "search", "eps1": 0.3, "eps2": 0.5}).open(digits(), CPU)
    with pytest.raises(UserError, match=r"eps2 is 0\.5 there and 0\.15 here"):
        CachedViews(str(tmp_path), settings={"eps1": 0.3, "eps2": 0.15}).open(digits(), CPU)


def test_rows_of_more_images_than_the_data_have_are_refused() -> None:
    with pytest.raises(UserError, match="rows of 2000 images, digits has"):
        identify_fit_images(digits(), 2000)
