"""MAE: what encoder and decoder see, masks, reconstructions and its parameters."""

import pytest
import torch

from ssl_bench.errors import UserError
from ssl_bench.losses.hashing import random_order
from ssl_bench.losses.masked import masked_error, normalize_patches, patchify
from ssl_bench.methods.mae import MAE
from ssl_bench.networks.vit import PatchEncoder
from ssl_bench.plots.run import image_figures
from tests.methods.test_contract import tiny, views_of


def mae(*flags: str) -> MAE:
    method = tiny("mae", *flags).method.eval()
    assert isinstance(method, MAE)
    return method


def test_vit_small_has_the_stated_number_of_parameters() -> None:
    with torch.device("meta"):
        encoder = PatchEncoder((3, 32, 32))
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(21.34e6, abs=0.01e6)


def test_masked_patches_do_not_influence_the_prediction() -> None:
    method = mae()
    x = views_of(tiny("mae"), 4).images[0]
    order = random_order(torch.arange(4), 0, method.patches)
    pixels = patchify(torch.arange(64.0).view(1, 1, 8, 8).expand(4, -1, -1, -1), method.patch_size)
    hidden = pixels.gather(1, order[:, method.visible :, None].expand(-1, -1, 4)).long().flatten(1)
    changed = x.flatten(1).scatter(1, hidden, 9.0).view_as(x)
    torch.testing.assert_close(method.predict(changed, order), method.predict(x, order))
    seen = pixels.gather(1, order[:, :1, None].expand(-1, -1, 4)).long().flatten(1)
    changed = x.flatten(1).scatter(1, seen, 9.0).view_as(x)
    assert not torch.allclose(method.predict(changed, order), method.predict(x, order))


def test_encoder_of_all_patches_in_any_order_has_the_same_tokens() -> None:
    method = mae()
    x = views_of(tiny("mae"), 2).images[0]
    order = random_order(torch.arange(2), 0, method.patches)
    shuffled = method.encoder(x, order)[:, 1:]
    expected = method.encoder(x)[:, 1:].gather(1, order[:, :, None].expand_as(shuffled))
    torch.testing.assert_close(shuffled, expected, rtol=1e-4, atol=1e-5)


def test_loss_is_that_of_the_masked_patches_of_the_step() -> None:
    run = tiny("mae")
    method, batch = run.method.eval(), views_of(run, 6)
    assert isinstance(method, MAE)
    order = random_order(batch.ids, 0, 16)
    assert method.visible == 4
    target = normalize_patches(patchify(batch.images[0], 2))
    expected = masked_error(method.predict(batch.images[0], order), target, order[:, 4:])
    torch.testing.assert_close(method.training_step(batch, 0), expected)


def test_reconstruction_keeps_visible_patches_and_masked_is_grey_elsewhere() -> None:
    method = mae("--method.normalize_targets=false")
    x = views_of(tiny("mae"), 3).images[0]
    original, masked, reconstructed = (x + 1) / 2, method.masked(x), method.reconstruct(x)
    visible = (masked - original).abs() < 1e-6
    assert 0.25 <= visible.float().mean() < 0.5  # some masked pixels are grey in the original, too
    torch.testing.assert_close(reconstructed[visible], original[visible])
    assert (masked[~visible] == 0.5).all()
    assert (reconstructed[~visible] != original[~visible]).any()


def test_class_token_can_be_the_features() -> None:
    x = views_of(tiny("mae"), 3).images[0]
    method = mae("--method.features=class")
    torch.testing.assert_close(method.encode(x), method.encoder(x)[:, 0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.mask_ratio=1"], "masks 16"),
        (["--method.mask_ratio=0.01"], "masks 0"),
        (["--method.encoder.patch_size=3"], "divides both, not 3"),
        (["--method.encoder.patch_size=1"], "larger patch_size"),
        (["--method.encoder.width=30"], "multiple of 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mae(*flags)


def test_the_figure_of_reconstructions_has_a_row_of_masked_images() -> None:
    run = tiny("mae")
    run.method.eval()
    with torch.no_grad():
        figure = image_figures(run, torch.device("cpu"))["reconstructions"]
    assert figure is not None
    assert [ax.get_ylabel() or ax.get_title() for ax in figure.axes] == ["image", "masked", "reconstruction"]
