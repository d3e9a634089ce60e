"""DDPM: the published network, its loss, sampling and features."""

import pytest
import torch

from ssl_bench.errors import UserError
from ssl_bench.losses.hashing import normal_of_images
from ssl_bench.methods.ddpm import DDPM
from ssl_bench.networks.unet import UNet
from tests.methods.test_contract import tiny, views_of


def ddpm(*flags: str) -> DDPM:
    method = tiny("ddpm", *flags).method.eval()
    assert isinstance(method, DDPM)
    return method


def test_default_network_is_the_published_one() -> None:
    with torch.device("meta"):
        network = UNet((3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(35.746e6, abs=0.001e6)
    assert network.layer_dims == [256] * 9 + [128] * 3


def test_features_of_the_default_layer_are_of_8_by_8_positions() -> None:
    shapes: list[torch.Size] = []
    with torch.device("meta"):
        network = UNet((3, 32, 32)).eval()
        list(network.up_blocks())[5].register_forward_hook(lambda block, x, y: shapes.append(y.shape))
        network(torch.empty(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    assert shapes == [(2, 256, 8, 8)]


def test_loss_equals_a_direct_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ddpm()
    x = views_of(tiny("ddpm"), 4).images[0]
    t, noise = torch.tensor([0, 10, 500, 999]), torch.randn_like(x)
    monkeypatch.setattr(method, "noise", lambda images: (t, noise))
    errors = []
    for i in range(4):
        bar = torch.prod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)[: t[i] + 1]).float()
        noisy = bar.sqrt() * x[i] + (1 - bar).sqrt() * noise[i]
        errors.append(((method.network(noisy[None], t[i : i + 1])[0] - noise[i]) ** 2).mean())
    torch.testing.assert_close(method.objective(x), torch.stack(errors).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_network_that_knows_the_image_samples_it(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = ddpm(f"--method.sampler={sampler}", "--method.steps=100", "--method.sampling_steps=20")
    image = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)

    def noise_of_image(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        bar = method.alpha_bar[t].float().view(-1, 1, 1, 1)
        return (x - bar.sqrt() * image) / (1 - bar).sqrt()

    monkeypatch.setattr(method.network_ema, "forward", noise_of_image)
    samples = method.sample(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples, ((image + 1) / 2).expand(3, -1, -1, -1), rtol=0, atol=1e-3)


def test_features_are_means_of_a_block_for_the_noise_of_the_image() -> None:
    method = ddpm("--method.layer=1")
    x = views_of(tiny("ddpm"), 3).images[0]
    kept: list[torch.Tensor] = []
    next(iter(method.network_ema.up_blocks())).register_forward_hook(lambda block, inputs, y: kept.append(y))
    bar = method.alpha_bar[11].float()
    method.network_ema(bar.sqrt() * x + (1 - bar).sqrt() * normal_of_images(x, 0), torch.full((3,), 11))
    torch.testing.assert_close(method.encode(x), kept[0].mean((2, 3)))


def test_draws_are_averaged() -> None:
    x = views_of(tiny("ddpm"), 3).images[0]
    one, two = ddpm(), ddpm("--method.draws=2")
    two.load_state_dict(one.state_dict())
    assert not torch.allclose(one.encode(x), two.encode(x))
    assert [layer.shape[1] for layer in two.encode_layers(x)] == two.network.layer_dims


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.layer=9"], "layer of at most 4"),
        (["--method.t=1000"], "t below 1000"),
        (["--method.sampling_steps=1001"], "at most 1000"),
        (["--method.network.multipliers=[1,1,1,1,1]"], "5 stages need squares"),
        (["--method.network.groups=5"], "groups, 5"),
    ],
)
def test_settings_that_do_not_fit_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ddpm(*flags)


def test_one_sampling_step_starts_at_the_last_index() -> None:
    method = ddpm("--method.sampling_steps=1")
    seen: list[int] = []
    method.network_ema.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1][0])))
    with torch.no_grad():
        method.sample(2, torch.Generator().manual_seed(0))
    assert seen == [999]
