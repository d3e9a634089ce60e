"""Duration of training steps and of encoding of MAE and DDPM, in float32.

    python benchmarks/mae_ddpm.py            print the tables
    python benchmarks/mae_ddpm.py --write    also write them to benchmarks/results/mae_ddpm.md

The step of DDPM is compared with a bare loop over the same network, with the noise schedule and the averages of
diffusers. The step of MAE, whose encoder processes the visible patches only, is compared with the same step whose
encoder processes all patches. Encoding with `extract`, as `ssl-bench bench` does, is compared with forward passes of
the network over images that are already normalised.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.rounds import Seconds, alternate, compare_with_goal, provenance, speed_up, table, write
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Batch, Target
from ssl_bench.evaluation.features import BATCH_SIZE, extract
from ssl_bench.losses.hashing import random_order
from ssl_bench.losses.masked import masked_error, normalize_patches, patchify
from ssl_bench.methods.ddpm import DDPM
from ssl_bench.methods.mae import MAE
from ssl_bench.networks.ema import move_average

IMAGES = 10_000
NARROW = {name: f"{name}-parquet-narrow" for name in ("mae", "ddpm")}


class Noise(DataModule):
    """Random images of 32 px; `IMAGES` of them in all splits together."""

    name, image_shape, mean, std, licence = "noise", (3, 32, 32), (0.5,) * 3, (0.3,) * 3, "none"

    def read(self) -> DatasetContents:
        """Images, labels and splits."""
        images = torch.randint(0, 256, (IMAGES, *self.image_shape), dtype=torch.uint8)
        rows, few = torch.arange(IMAGES), IMAGES // 10
        target = Target("none", ("a", "b"))
        return DatasetContents(images, rows % 2, (target,), rows[2 * few :], rows[few : 2 * few], rows[:few])


def seconds(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def images(count: int) -> Tensor:
    """Random images in [-1, 1]."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def built(name: str, *flags: str, experiment: str | None = None) -> Run:
    """Objects of a run on random images, with the settings of the method or of an experiment."""
    settings = stack(None, None, experiment) if experiment else stack(name, "cifar10", None)
    return build(resolve([*settings, f"--data={__name__}.Noise", *flags]))


class DDPMStep:
    """A step of the method, with the memory layout of its preset."""

    def __init__(self, method: DDPM):
        self.method = method.to(memory_format=torch.channels_last).train()
        self.optimizer = method.make_optimizer(method.parameter_groups(method))

    def __call__(self, x: Tensor) -> Tensor:
        """Make a step; returns the loss."""
        batch = Batch(x.contiguous(memory_format=torch.channels_last)[None], torch.empty(0), torch.arange(len(x)))
        self.optimizer.zero_grad()
        loss = self.method.training_step(batch, 0)
        loss.backward()
        nn.utils.clip_grad_norm_(self.method.network.parameters(), 1.0)
        self.optimizer.step()
        move_average(self.method.network_ema, self.method.network, self.method.ema)
        return loss.detach()


class BareStep:
    """A step of a loop over diffusers' network, noise schedule and averages, with the optimizer of `DDPMStep`.

    Args:
        network: the U-Net; a copy is trained.
        memory_format: memory layout of network and images.
    """

    def __init__(self, network: nn.Module, memory_format: torch.memory_format):
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

        self.memory_format = memory_format
        self.network = copy.deepcopy(network).to(memory_format=memory_format).train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        self.average = EMAModel(self.network.parameters(), decay=0.9999, foreach=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Make a step; returns the loss."""
        x = x.contiguous(memory_format=self.memory_format)
        t, noise = torch.randint(1000, (len(x),)), torch.randn_like(x)
        noisy = self.scheduler.add_noise(x, noise, t)
        loss = nn.functional.mse_loss(self.network(noisy, t, return_dict=False)[0], noise)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())
        return loss.detach()


def check_loss(ours: DDPMStep, bare: BareStep, x: Tensor) -> None:
    """Check that both steps have the same loss without dropout.

    Raises:
        SystemExit: the losses differ.
    """
    losses = []
    for step, network in ((ours, ours.method.network), (bare, bare.network)):
        torch.manual_seed(0)
        network.eval()
        losses.append(float(step(x)))
        network.train()
    if abs(losses[0] - losses[1]) > 1e-4 * losses[0]:
        raise SystemExit(f"the losses of both steps differ: {losses[0]} and {losses[1]}")


def ddpm_steps(method: DDPM, batch: int, rounds: int) -> tuple[str, str]:
    """Table and comparison with the goal of the step of DDPM."""
    x = images(batch)
    bare = BareStep(method.network.unet, torch.contiguous_format)
    same_layout = BareStep(method.network.unet, torch.channels_last)
    ours = DDPMStep(method)
    check_loss(ours, same_layout, x)
    bare(x)
    cases: dict[str, Callable[[Tensor], Tensor]] = {
        "bare loop": bare,
        "bare loop, channels_last": same_layout,
        "ssl_bench, channels_last": ours,
    }
    found = alternate({name: partial(seconds, partial(step, x)) for name, step in cases.items()}, rounds)
    same = {name: found[name] for name in list(cases)[1:]}
    ratio = compare_with_goal("DDPM, step beside the bare loop of the same layout", speed_up(same, list(same)[1]), 1.0)
    return table(found, f"DDPM, batch {batch}", batch), ratio


def all_patches_loss(method: MAE, x: Tensor, order: Tensor) -> Tensor:
    """The loss of masked patches, with an encoder that processes all patches; only its duration is of interest."""
    target = normalize_patches(patchify(x, method.patch_size))
    predicted = method.decoder(method.encoder(x, order), order)
    return masked_error(predicted, target, order[:, method.visible :])


def mae_steps(name: str, method: MAE, batch: int, rounds: int) -> tuple[str, str]:
    """Table and comparison with the goal of the step of MAE with one network."""
    x, order = images(batch), random_order(torch.arange(batch), 0, method.patches)
    optimizer = method.make_optimizer(method.parameter_groups(method))

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        optimizer.zero_grad()
        loss(x, order).backward()
        optimizer.step()

    cases = {
        "all patches": partial(step, partial(all_patches_loss, method)),
        "visible patches": partial(step, method.objective),
    }
    for case in cases.values():
        case()
    found = alternate({key: partial(seconds, case) for key, case in cases.items()}, rounds)
    share = 1 / speed_up(found, "visible patches")
    goal = compare_with_goal(f"MAE, {name}, time of a step beside one of all patches", share, 0.5, at_most=True)
    return table(found, f"MAE, {name}, batch {batch}", batch), goal


def encoding(name: str, rounds: int) -> tuple[str, str]:
    """Table and comparison with the goal of encoding all images of `Noise` with a narrow network."""
    run = built(name, experiment=NARROW[name])
    run.data.setup()
    method = run.method.eval()
    assert isinstance(method, MAE | DDPM)
    x = images(IMAGES)

    @torch.inference_mode()
    def forward() -> None:
        for part in x.split(BATCH_SIZE):
            if isinstance(method, MAE):
                method.encoder.transformer.forward_features(part)
            else:
                method.network_ema(part, torch.full((len(part),), method.t))

    def encode() -> None:
        def transform(stored: Tensor, ids: Tensor) -> Tensor:
            return run.views.evaluation_input(stored)

        with tempfile.TemporaryDirectory() as folder:
            extract(method.encode, run.data, transform, Path(folder), key="", device=torch.device("cpu"))

    forward()
    encode()
    found: Seconds = alternate(
        {"forward passes": partial(seconds, forward), "extract": partial(seconds, encode)}, rounds
    )
    share = 1 / speed_up(found, "extract")
    goal = compare_with_goal(f"{name}, time of `extract` beside forward passes", share, 1.1, at_most=True)
    return table(found, f"{name}, {IMAGES:,} images", IMAGES), goal


def main(arguments: list[str] | None = None) -> str:
    """Print the tables; `--write` stores them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="images of a step of DDPM; MAE has twice as many")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--width", type=int, default=128, help="channels of the first stage of the U-Net of the steps")
    options = parser.parse_args(arguments)
    origin, rounds = provenance(), options.rounds
    ddpm, published = built("ddpm", f"--method.network.width={options.width}").method, built("mae").method
    assert isinstance(ddpm, DDPM)
    parameters = sum(parameter.numel() for parameter in ddpm.network.parameters()) / 1e6
    results = [ddpm_steps(ddpm, options.batch, rounds)]
    narrow = built("mae", experiment=NARROW["mae"]).method
    for name, method in {"ViT-S, decoder of 8 blocks": published, "narrow network": narrow}.items():
        assert isinstance(method, MAE)
        results.append(mae_steps(name, method, 2 * options.batch, rounds))
    results += [encoding(name, rounds) for name in NARROW]
    tables, goals = zip(*results, strict=True)
    newline = "\n"
    text = f"""# Training steps and encoding of MAE and DDPM

{origin}.

Images of 32 px, float32, {rounds} alternated rounds, each after a call that is not measured; ratios are medians over
the rounds. The U-Net of the steps of DDPM has {parameters:.1f} million parameters (that of the paper 35.7). Optimizers
are fused on both sides. Encoding is that of the narrow networks of the experiments `METHOD-parquet-narrow`.

{(newline * 2).join(tables)}

{newline.join(goals)}
"""
    print(text)
    if options.write:
        write("mae_ddpm", text)
    return text


if __name__ == "__main__":
    main()
