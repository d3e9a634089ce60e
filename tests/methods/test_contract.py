"""The contract of every method, on digits with tiny networks; methods are discovered from their configurations."""

import copy
import math
import os
import signal
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import pytest
import torch
from torch import nn

from ssl_bench import distributed
from ssl_bench.catalogue import config_names
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.types import Batch
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.alternating import AlternatingMethod
from ssl_bench.methods.base import Generative, Method, Reconstructive
from ssl_bench.methods.checkpoint import load_method
from ssl_bench.methods.ddpm import DDPM
from ssl_bench.methods.dino import DINO
from ssl_bench.methods.hinge_gan import HingeGAN
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.methods.mae import MAE
from ssl_bench.methods.moco import MoCo
from ssl_bench.methods.multi_view import MultiView
from ssl_bench.methods.structural_gan import StructuralGAN
from ssl_bench.methods.stylegan2 import StyleGAN2
from ssl_bench.methods.supervised import Supervised
from ssl_bench.methods.swav import SwAV
from ssl_bench.methods.vae import VAE
from ssl_bench.methods.viewmaker import ViewMaker
from ssl_bench.results.paper_table import FAMILIES
from ssl_bench.termination import Terminated
from tests.generators import generator_checkpoint
from tests.ranks import Ranks

METHODS = sorted(config_names("method"))
TINY = {
    VAE: ["--method.encoder.hidden=[32]", "--method.decoder.hidden=[32]", "--method.latent_dim=4"],
    Adversarial: [
        "--method.discriminator.width=16", "--method.generator.width=4", "--method.latent_dim=4",
        "--data.batch_size=32", "--trainer.precision=32-true",
    ],
    # A schedule that does not depend on the length of the run, so that a resumed run has the same one.
    # Width 8: in torch 2.15, on CPUs without AVX-512, the backward pass of a 1x1 convolution of 4 channels with
    # stride 2 corrupts memory (float32, channels_last, one thread).
    MultiView: [
        "--method.backbone.width=8", "--method.projector.outputs=16", "--method.projector.hidden=[16]",
        "--method.schedule.kind=constant", "--method.schedule.warmup=0",
    ],
    # Few negatives and BatchNorm: the loss of an untrained network is then far above the smallest possible one.
    MoCo: ["--method.queue_size=32", "--method.projector.norm=true", "--method.projector.norm_outputs=true"],
    SwAV: [
        "--method.num_prototypes=8", "--method.queue_size=64", "--method.queue_epoch=1", "--method.frozen_epochs=1",
    ],
    Supervised: [
        "--method.backbone.width=8", "--method.num_classes=[10]", "--method.schedule.kind=constant",
    ],
    # Distributions of the teacher that are far from uniform, because a student of uniform ones has nothing to learn.
    DINO: ["--method.projector.norm=true", "--method.projector.bottleneck=8"],
    MAE: [
        "--method.encoder.width=16", "--method.encoder.depth=1",
        "--method.decoder.width=16", "--method.decoder.depth=1",
        "--method.schedule.kind=constant", "--method.schedule.warmup=0",
    ],
    DDPM: [
        "--method.network.width=8", "--method.network.groups=4", "--method.network.dropout=0",
        "--method.schedule.warmup=0",
    ],
    HingeGAN: ["--method.lazy=1"],
    StructuralGAN: [
        "--method.lazy=1", "--method.embedding_dim=8", "--method.queue_size=64", "--method.global_batch=true",
    ],
    # Codes of the path's length are its own, and no two processes'.
    StyleGAN2: [
        "--method.generator.style_dim=8", "--method.generator.mapping_layers=2", "--method.path_weight=0",
        "--method.r1_every=1", "--method.r1_weight=0.1", "--method.augment=null",
    ],
    InDomainInversion: [
        "--method.encoder.width=16", "--method.r1_every=1", "--method.r1_weight=0.1", "--data.batch_size=32",
        "--trainer.precision=32-true",
    ],
    # Of one view: a rank's rows of noise are then a block of them.
    ViewMaker: ["--method.viewmaker.width=4", "--method.viewmaker.blocks=1", "--method.num_learned_views=1"],
}  # fmt: skip
"""Settings by kind of method: small networks, and no random numbers that would differ between processes."""
FEW_STEPS = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--data.batch_size=16", "--data.fit_images=39"]
"""Two epochs of three steps, the last one of 7 images."""


@cache
def method_class(name: str) -> type[Method]:
    found: type[Method] = resolve_name(resolve(stack(name, "digits", None)).method.class_path)
    return found


def tiny_flags(name: str) -> list[str]:
    method = method_class(name)
    generator = [f"--method.generator={generator_checkpoint()}"] if issubclass(method, InDomainInversion) else []
    return [flag for kind, flags in TINY.items() if issubclass(method, kind) for flag in flags] + generator


@cache
def built(name: str, *flags: str) -> Run:
    torch.manual_seed(0)
    run = build(resolve([*stack(name, "digits", None), *tiny_flags(name), *flags]))
    run.data.setup()
    return run


def tiny(name: str, *flags: str) -> Run:
    """A run of its own; building one takes most of the time of a short test."""
    run = copy.deepcopy(built(name, *flags))
    torch.manual_seed(0)
    return run


def views_of(run: Run, images: int) -> Batch:
    batch = run.data.split("train")[torch.arange(images)]
    torch.manual_seed(1)
    return batch._replace(images=run.views(batch.images))


def losses_of(method: Method) -> dict[str, Callable[[Batch], torch.Tensor]]:
    """The loss of each network of a method, by the network's name; most methods have one loss."""
    if isinstance(method, AlternatingMethod):

        def loss_of(name: str, batch: Batch) -> torch.Tensor:
            part = (
                method.prepare(batch.images[0]) if isinstance(method, Adversarial | InDomainInversion) else batch.images
            )
            return method.trained_networks()[name].objective(part).value

        return {name: partial(loss_of, name) for name in method.trained_networks()}
    return {"": lambda batch: cast("torch.Tensor", method.training_step(batch, 0))}


def network_of(method: Method, name: str) -> nn.Module:
    """A network of `losses_of`."""
    return method.trained_networks()[name].network if isinstance(method, AlternatingMethod) else method


def trained(method: Method, network: str) -> dict[str, nn.Parameter]:
    """Parameters of that network which are trained."""
    return {name: p for name, p in network_of(method, network).named_parameters() if p.requires_grad}


@pytest.fixture(params=METHODS)
def run(request: pytest.FixtureRequest) -> Run:
    return tiny(request.param)


def test_encode_is_deterministic_finite_and_of_the_stated_width(run: Run) -> None:
    x = run.views.evaluation_input(run.data.split("test")[torch.arange(5)].images)
    run.method.eval()
    features = run.method.encode(x)
    assert features.shape == (5, run.method.feature_dim)
    assert features.isfinite().all()
    assert torch.equal(features, run.method.encode(x))


def test_encode_does_not_depend_on_the_rest_of_the_batch(run: Run) -> None:
    x = run.views.evaluation_input(run.data.split("test")[torch.arange(5)].images)
    run.method.eval()
    torch.testing.assert_close(run.method.encode(x)[:2], run.method.encode(x[:2]))


def test_one_step_gives_every_parameter_a_finite_gradient(run: Run) -> None:
    for network, loss in losses_of(run.method).items():
        loss(views_of(run, 8)).backward()
        for name, parameter in trained(run.method, network).items():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_each_network_over_fits_a_few_images(run: Run) -> None:
    batch = views_of(run, 4)
    for network, loss_of in losses_of(run.method).items():
        optimizer = torch.optim.Adam(trained(run.method, network).values(), 3e-3)
        losses = []
        for _ in range(150):
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) > 10 and sum(losses[-10:]) / 10 < losses[0] - 0.5 * abs(losses[0]):
                break
        else:
            pytest.fail(f"{network}: from {losses[0]:.3g} to {losses[-1]:.3g}")


def test_optimizer_holds_every_parameter_once_and_does_not_decay_norms_and_biases(run: Run) -> None:
    run.method.decay_all = False
    networks = [network_of(run.method, name) for name in losses_of(run.method)]
    groups = [group for network in networks for group in run.method.parameter_groups(network)]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in run.method.parameters() if p.requires_grad)
    assert all((group.get("weight_decay") == 0.0) == (p.ndim <= 1) for group in groups for p in group["params"])


def test_samples_and_reconstructions_are_images(run: Run) -> None:
    run.method.eval()
    x = run.views.evaluation_input(run.data.split("test")[torch.arange(3)].images)
    if isinstance(run.method, Generative):
        images = run.method.sample(4, torch.Generator().manual_seed(0))
        assert images.shape == (4, *run.data.image_shape)
        assert images.min() >= 0
        assert images.max() <= 1
        assert torch.equal(images, run.method.sample(4, torch.Generator().manual_seed(0)))
    if isinstance(run.method, Reconstructive):
        assert run.method.reconstruct(x).shape == x.shape


def trained_weights(name: str, folder: Path, *flags: str, terminated: int = 0) -> dict[str, torch.Tensor]:
    """Weights after two epochs of three steps, in one session, or in two if SIGTERM comes in a step of the first."""
    from ssl_bench.runs.train import fit, make_folder

    if distributed.rank() == 0:
        make_folder(folder, {})
    for session in range(2 if terminated else 1):
        config = resolve([*stack(name, "digits", None), *tiny_flags(name), *FEW_STEPS, *flags])
        torch.manual_seed(0)
        run = build(config)
        torch.manual_seed(99 + session)  # whatever happened before: it must not matter
        if session:
            for parameter in run.method.parameters():
                nn.init.zeros_(parameter)
        if terminated and not session:
            step = run.method.training_step

            def signalled(
                batch: Batch, batch_idx: int, method: Method = run.method, step: Callable[..., Any] = step
            ) -> Any:
                if method.global_step == terminated - 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step(batch, batch_idx)

            run.method.training_step = signalled  # type: ignore[method-assign]
            with pytest.raises(Terminated, match=f"resumes from step {terminated}"):
                fit(run, config, folder)
        else:
            fit(run, config, folder)
    return load_method(folder).state_dict()


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_equals_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    once = trained_weights(name, tmp_path / "once")
    after_an_epoch = trained_weights(name, tmp_path / "epoch", terminated=3)
    in_mid_epoch = trained_weights(name, tmp_path / "step", terminated=5)
    for key, value in once.items():
        assert torch.equal(value, after_an_epoch[key]), f"{key}, after an epoch"
        assert torch.equal(value, in_mid_epoch[key]), f"{key}, in the middle of an epoch"


@pytest.mark.parametrize(
    ("flags", "terminated"),
    [
        (["--trainer.max_steps=5"], 3),
        (["--trainer.max_steps=5"], 4),
        (["--trainer.accumulate_grad_batches=2"], 1),  # two steps of the optimizer in an epoch of three batches
        (["--trainer.accumulate_grad_batches=2"], 3),
        (["--data.num_workers=1"], 5),
    ],
)
def test_resuming_is_exact_with_flags_that_change_how_steps_are_counted(
    flags: list[str], terminated: int, tmp_path: Path
) -> None:
    once = trained_weights("simvae", tmp_path / "once", *flags)
    resumed = trained_weights("simvae", tmp_path / "resumed", *flags, terminated=terminated)
    assert all(torch.equal(value, resumed[key]) for key, value in once.items())


def without_noise(rank: int = 0, size: int = 1) -> pytest.MonkeyPatch:
    """Random numbers that a batch and its parts share, each rank its rows of them; BatchNorm of fixed statistics."""

    def rows(*shape: int) -> torch.Tensor:
        n, *rest = shape
        return torch.linspace(-1.5, 1.5, size * n * math.prod(rest)).sin().view(size, n, *rest)[rank]

    patch = pytest.MonkeyPatch()
    patch.setattr("ssl_bench.methods.vae.reparameterize", lambda mean, log_variance: mean)
    patch.setattr(Adversarial, "fakes", lambda self, n: self.generator.eval()(rows(n, self.latent_dim)))
    # Of real images and, the same, of generated ones.
    patch.setattr(
        "ssl_bench.losses.jacobian.torch.randn", lambda shape, **_: rows(shape[0] // 2, *shape[1:]).repeat(2, 1)
    )
    patch.setattr("ssl_bench.networks.viewmaker.torch.rand_like", lambda x: rows(*x.shape))
    patch.setattr(DDPM, "noise", lambda self, x: ((rows(len(x)).abs() * 500).long(), rows(*x.shape)))
    return patch


def gradients(name: str) -> dict[str, torch.Tensor]:
    """Of all losses, on this rank's part of one batch, averaged over ranks."""
    rank, size = distributed.rank(), distributed.world_size()
    run = tiny(name)
    for module in run.method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    batch = views_of(run, 8)
    part = slice(rank * 8 // size, (rank + 1) * 8 // size)  # in a block, as the sampler has it
    share = Batch(batch.images[:, part], batch.labels[part], batch.ids[part])
    patch = without_noise(rank, size)
    found: dict[str, torch.Tensor] = {}
    for network, loss in losses_of(run.method).items():
        run.method.zero_grad()
        loss(share).backward()
        distributed.average_gradients(trained(run.method, network).values())
        found |= {f"{network}.{name}": p.grad.clone() for name, p in trained(run.method, network).items()}  # type: ignore[union-attr]
    patch.undo()
    return found


@pytest.mark.parametrize("name", METHODS)
def test_it_is_of_a_family(name: str) -> None:
    assert method_class(name).family in FAMILIES


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_equal_one(name: str, ranks: Ranks) -> None:
    alone = gradients(name)
    for on_rank in ranks(gradients, name):
        for key, gradient in alone.items():
            torch.testing.assert_close(on_rank[key], gradient, rtol=1e-5, atol=1e-5, msg=key)
        difference = torch.stack([(on_rank[key] - gradient).norm() for key, gradient in alone.items()]).norm()
        assert difference <= 1e-5 * torch.stack([gradient.norm() for gradient in alone.values()]).norm()


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_autocast_gives_nearly_the_same_losses(name: str) -> None:
    run = tiny(name)
    batch = views_of(run, 64)
    twin = copy.deepcopy(run.method)
    for network, loss in losses_of(run.method).items():
        torch.manual_seed(0)
        exact = loss(batch)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(losses_of(twin)[network](batch), exact, rtol=0.02, atol=0.02)
