"""Denoising diffusion: a network predicts the noise of noisy images, and its blocks give the features."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from ssl_bench.data.types import Batch, TrainingInputs
from ssl_bench.errors import UserError
from ssl_bench.losses.diffusion import ancestral_step, ddim_step, denoise, diffuse, linear_schedule
from ssl_bench.losses.hashing import normal_of_images
from ssl_bench.methods.adversarial import check_pixel_range
from ssl_bench.methods.base import Method
from ssl_bench.networks.ema import move_average
from ssl_bench.networks.unet import UNet
from ssl_bench.ranges import Decay, NonNegativeInt, PositiveInt, check_ranges


@check_ranges
class DDPM(Method):
    """DDPM (Ho et al. 2020, arXiv 2006.11239), with features as in Xiang et al. 2023 (DDAE, arXiv 2303.09769).

    Features are means over the positions of a block of the averaged network, for images with a little noise. The noise
    depends on the image only. DDAE samples noise anew in each epoch of its probe, and chose block, t and epoch by the
    accuracy of test images; here they are settings, with DDAE's values for CIFAR-10 as defaults.

    Args:
        image_shape: shape of one image; the command line takes it from the data.
        network: given image_shape, returns the U-Net.
        steps: T, the number of steps; betas grow linearly from 1e-4 to 0.02.
        ema: decay of the moving average of the weights, per step of the optimizer.
        layer: block whose features are scored, from 1, on the way up; by default the last one of the second stage.
        t: index of the noise of the images that are encoded.
        draws: number of draws of the noise over which features are averaged.
        sampler: ``ddpm`` samples in all steps, ``ddim`` in `sampling_steps` without noise.
        sampling_steps: number of steps of DDIM.
        **kwargs: optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method ddpm --data digits``
    """

    family = "diffusion"
    alpha_bar: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        network: Callable[[tuple[int, ...]], UNet],
        steps: PositiveInt = 1000,
        ema: Decay = 0.9999,
        layer: PositiveInt = 6,
        t: NonNegativeInt = 11,
        draws: PositiveInt = 1,
        sampler: Literal["ddpm", "ddim"] = "ddim",
        sampling_steps: PositiveInt = 50,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_shape, self.steps, self.ema = tuple(image_shape), steps, ema
        self.network = network(self.image_shape)
        self.network_ema = copy.deepcopy(self.network).requires_grad_(False).eval()
        layers = self.network.layer_dims
        if layer > len(layers) or t >= steps or sampling_steps > steps:
            given = f"DDPM: got layer {layer}, t {t}, sampling_steps {sampling_steps}: give a layer of at most "
            raise UserError(f"{given}{len(layers)}, t below {steps} and sampling_steps of at most {steps}")
        self.feature_dim, self.layer, self.t, self.draws = layers[layer - 1], layer, t, draws
        self.sampler, self.sampling_steps = sampler, sampling_steps
        self.register_buffer("alpha_bar", linear_schedule(steps), persistent=False)

    def noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Indices int64 ``(N,)`` that are uniform, and standard normal noise of the shape of x."""
        return torch.randint(self.steps, (len(x),), device=x.device), torch.randn_like(x)

    def objective(self, x_0: Tensor) -> Tensor:
        """The mean squared error of the predicted noise (Eq. 14) of images ``(N, C, H, W)`` in [-1, 1]."""
        t, noise = self.noise(x_0)
        predicted = self.network(diffuse(x_0, t, noise, self.alpha_bar), t).float()
        return (noise - predicted).square().mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; each view is an image."""
        loss = self.objective(batch.images.flatten(0, 1).float())
        self.log_metrics({"loss": loss})
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step of the optimizer, then update the averaged network."""
        super().optimizer_step(*args, **kwargs)
        move_average(self.network_ema, self.network, self.ema)

    def train(self, mode: bool = True) -> "DDPM":
        """Set the mode of the trained network; the average stays in evaluation mode."""
        super().train(mode)
        self.network_ema.eval()
        return self

    def encode_noisy_layers(self, x: Tensor, t: int) -> list[Tensor]:
        """Features ``(N, d_l)`` of every block on the way up, for images ``(N, C, H, W)`` in [-1, 1] and an index t.

        Raises:
            UserError: t is not below `steps`.
        """
        if t >= self.steps:
            raise UserError(f"DDPM: t {t}: give an index below the number of steps, {self.steps}")
        now = torch.full((x.shape[0],), t, device=x.device)
        noisy = (diffuse(x.float(), now, normal_of_images(x, draw), self.alpha_bar) for draw in range(self.draws))
        passes = [self.network_ema.layers(images, now) for images in noisy]
        return [torch.stack(draws).mean(0) for draws in zip(*passes, strict=True)]

    def encode_layers(self, x: Tensor) -> list[Tensor]:
        """`encode_noisy_layers` at `t`."""
        return self.encode_noisy_layers(x, self.t)

    def encode(self, x: Tensor) -> Tensor:
        """Features of one block: ``(N, C, H, W)`` in [-1, 1] to ``(N, feature_dim)``."""
        return self.encode_layers(x)[self.layer - 1]

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n samples ``(n, C, H, W)`` in [0, 1] of the averaged network."""
        for x in self.trajectory(n, generator):
            samples = x
        return (samples + 1) / 2

    def trajectory(self, n: int, generator: Generator | None = None) -> Iterator[Tensor]:
        """The images ``(n, C, H, W)`` of each sampling step, from noise to samples in [-1, 1]."""
        device = self.device if generator is None else generator.device

        def normal() -> Tensor:
            return torch.randn(n, *self.image_shape, generator=generator, device=device).to(self.device)

        yield (x := normal())
        count = self.steps if self.sampler == "ddpm" else self.sampling_steps
        times = torch.linspace(self.steps - 1, 0, count).round().int().tolist()
        for t, before in zip(times, [*times[1:], -1], strict=True):
            now = torch.full((n,), t, device=self.device)
            x_0 = denoise(x, now, self.network_ema(x, now).float(), self.alpha_bar).clamp(-1, 1)
            if self.sampler == "ddim":
                x = ddim_step(x, t, before, x_0, self.alpha_bar)
            else:
                x = ancestral_step(x, t, x_0, normal(), self.alpha_bar)
            yield x

    def check_inputs(self, inputs: TrainingInputs) -> None:
        """Refuse views whose range is not [-1, 1]."""
        super().check_inputs(inputs)
        check_pixel_range(self, inputs)
