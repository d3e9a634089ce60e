"""What every method of the suite must do, on digits with tiny networks: a new config is tested by being there."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssl_bench.config_files import config_names, stack
from ssl_bench.data.types import Batch
from ssl_bench.experiment import Run, build, load_method, resolve
from ssl_bench.methods.base import Generative, Method, Reconstructive
from tests.ranks import Ranks

METHODS = sorted(config_names("method"))
TINY = ["--method.encoder.hidden=[32]", "--method.decoder.hidden=[32]", "--method.latent_dim=4"]
FEW_STEPS = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=3", "--trainer.accelerator=cpu"]


def tiny(name: str, *flags: str) -> Run:
    torch.manual_seed(0)
    run = build(resolve([*stack(name, "digits", None), *TINY, *flags]))
    run.data.setup()
    return run


def views_of(run: Run, images: int) -> Batch:
    batch = run.data.split("train")[torch.arange(images)]
    torch.manual_seed(1)
    return batch._replace(images=run.views(batch.images))


def loss_of(method: Method, batch: Batch) -> torch.Tensor:
    loss = method.training_step(batch, 0)
    assert isinstance(loss, torch.Tensor)
    return loss


@pytest.fixture(params=METHODS)
def run(request: pytest.FixtureRequest) -> Run:
    return tiny(request.param)


def test_encode_is_deterministic_finite_and_of_the_stated_width(run: Run) -> None:
    x = run.views.plain(run.data.split("test")[torch.arange(5)].images)
    run.method.eval()
    features = run.method.encode(x)
    assert features.shape == (5, run.method.feature_dim)
    assert features.isfinite().all()
    assert torch.equal(features, run.method.encode(x))


def test_encode_does_not_depend_on_the_rest_of_the_batch(run: Run) -> None:
    x = run.views.plain(run.data.split("test")[torch.arange(5)].images)
    run.method.eval()
    torch.testing.assert_close(run.method.encode(x)[:2], run.method.encode(x[:2]))


def test_one_step_gives_every_parameter_a_finite_gradient(run: Run) -> None:
    loss = loss_of(run.method, views_of(run, 8))
    loss.backward()
    for name, parameter in run.method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_over_fits_a_few_images(run: Run) -> None:
    batch = views_of(run, 4)
    optimizer = torch.optim.Adam(run.method.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        loss = loss_of(run.method, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < losses[0] - 0.5 * abs(losses[0])


def test_optimizer_holds_every_parameter_once_and_spares_norms_and_biases_decay(run: Run) -> None:
    groups = run.method.parameter_groups(run.method)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in run.method.parameters())
    assert all((group.get("weight_decay") == 0.0) == (p.ndim <= 1) for group in groups for p in group["params"])


def test_samples_and_reconstructions_are_images(run: Run) -> None:
    run.method.eval()
    x = run.views.plain(run.data.split("test")[torch.arange(3)].images)
    if isinstance(run.method, Generative):
        images = run.method.sample(4, torch.Generator().manual_seed(0))
        assert images.shape == (4, *run.data.image_shape)
        assert images.min() >= 0
        assert images.max() <= 1
        assert torch.equal(images, run.method.sample(4, torch.Generator().manual_seed(0)))
    if isinstance(run.method, Reconstructive):
        assert run.method.reconstruct(x).shape == x.shape


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    from ssl_bench.bench import fit, make_folder

    weights = []
    for folder, sessions in {"once": [2], "resumed": [1, 2]}.items():
        for epochs in sessions:
            torch.manual_seed(0)
            config = resolve([*stack(name, "digits", None), *TINY, *FEW_STEPS, f"--trainer.max_epochs={epochs}"])
            make_folder(tmp_path / folder, {})
            torch.manual_seed(0)
            run = build(config)
            torch.manual_seed(99 * epochs)  # whatever happened before: it must not matter
            if folder == "resumed" and epochs == 2:
                for parameter in run.method.parameters():
                    nn.init.zeros_(parameter)
            fit(run, config, tmp_path / folder)
        weights.append(load_method(tmp_path / folder).state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


class Step(nn.Module):
    """A training step as a forward pass, which is what DistributedDataParallel synchronises."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> torch.Tensor:
        return loss_of(self.method, batch)


def without_noise() -> pytest.MonkeyPatch:
    """Latents at their means, so that a batch and its halves draw the same."""
    patch = pytest.MonkeyPatch()
    patch.setattr("ssl_bench.methods.vae.reparameterize", lambda mean, log_variance: mean)
    return patch


def gradients_on_rank(name: str) -> dict[str, torch.Tensor]:
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    run = tiny(name)
    batch = views_of(run, 8)
    share = Batch(batch.images[:, rank::size], batch.labels[rank::size], batch.ids[rank::size])
    patch = without_noise()
    step = DistributedDataParallel(Step(run.method))  # a name of its own: backward needs it alive
    step(share).backward()
    patch.undo()
    return {key: p.grad.clone() for key, p in run.method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_equal_one(name: str, ranks: Ranks) -> None:
    run = tiny(name)
    patch = without_noise()
    loss_of(run.method, views_of(run, 8)).backward()
    patch.undo()
    for on_rank in ranks(gradients_on_rank, name):
        for key, parameter in run.method.named_parameters():
            torch.testing.assert_close(on_rank[key], parameter.grad, rtol=1e-5, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_autocast_gives_nearly_the_same_loss(name: str) -> None:
    run = tiny(name)
    batch = views_of(run, 64)
    twin = copy.deepcopy(run.method)
    torch.manual_seed(0)
    loss = loss_of(run.method, batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss_of(twin, batch), loss, rtol=0.02, atol=0.0)
