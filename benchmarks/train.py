"""Duration of training steps of small networks, beside pythae's trainer and a bare loop; precision on a SimVAE.

    python benchmarks/train.py            print the tables
    python benchmarks/train.py --write    also write them to benchmarks/results/train.md

pythae trains its default MLP on tensors of 28x28 grey images. ssl_bench trains networks of the same sizes as `ssl-bench
fit` does, with data module, views (the identity, because pythae has no augmentation), callbacks and checkpoints. The
bare loop performs only the training computation on the same data in memory. The second table is SimVAE with the
settings of its paper for FashionMNIST: six views of 21 images, the crops and flips included. The third table compares
float32 with bfloat16 and channels_last for a bare SimVAE step on 64 px. The cases are alternated in every round.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.rounds import alternate, compare_with_goal, provenance, speed_up, table, write
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import choose, stack
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.methods.vae import VAE
from ssl_bench.runs.train import fit, make_folder

IMAGES, BATCH, EPOCHS = 60_000, 128, 1
IMAGES_OF_SIMVAE = 21
SIMVAE = [*choose("method", "simvae"), "--views.recipe=reconstruction_fashion_mnist", "--views.num_views=6"]
METHOD = [
    "--method=ssl_bench.methods.vae.VAE",
    "--method.encoder=ssl_bench.networks.mlp.MLPEncoder",
    "--method.encoder.hidden=[512]",
    "--method.decoder=ssl_bench.networks.mlp.MLPDecoder",
    "--method.decoder.hidden=[512]",
    "--method.latent_dim=16",
    "--method.optimizer=Adam",
    "--method.optimizer.fused=true",
    "--method.optimizer.lr=1e-4",
]


class Noise(DataModule):
    """Random grey images of 28x28 pixels."""

    name, image_shape, mean, std, licence = "noise", (1, 28, 28), (0.5,), (0.3,), "none"

    def read(self) -> DatasetContents:
        """Images, labels and splits."""
        images = torch.randint(0, 256, (IMAGES + 2, *self.image_shape), dtype=torch.uint8)
        labels = torch.arange(IMAGES + 2) % 2
        rows = torch.arange(IMAGES)
        return DatasetContents(images, labels, (Target("none", ("a", "b")),), rows, rows[:2] + IMAGES, rows[:2])


def arguments(*flags: str) -> list[str]:
    data = [f"--data={__name__}.Noise", f"--data.batch_size={BATCH}"]
    return [*data, *METHOD, "--trainer.accelerator=cpu", *flags]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - start


def ssl_bench_fit(settings: list[str], batch: int, epochs: int) -> float:
    """Seconds per step of `fit`: the difference of a long and a short run, without the start-up time."""
    times = []
    for count in (1, 1 + epochs):
        with tempfile.TemporaryDirectory() as folder:
            config = resolve([*settings, f"--trainer.max_epochs={count}"])
            make_folder(Path(folder), {})
            run = build(config)
            times.append(seconds(partial(fit, run, config, Path(folder))))
    return (times[1] - times[0]) / (epochs * (IMAGES // batch))


def bare(settings: list[str], batch: int, epochs: int) -> float:
    """Seconds per step of a plain loop over the same data, views, loss and optimizer."""
    config = resolve(settings)
    run = build(config)
    run.data.setup()
    method, images = run.method, run.data.split("train")
    assert isinstance(method, VAE)
    optimizer = method.make_optimizer(method.parameter_groups(method))

    def train(count: int) -> None:
        for _ in range(count):
            for index in torch.randperm(IMAGES)[: IMAGES // batch * batch].split(batch):
                views = run.views(images[index].images)
                with torch.autocast("cpu", torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed"):
                    loss = method.objective(method.infer(views))["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    train(1)
    return seconds(partial(train, epochs)) / (epochs * (IMAGES // batch))


def pythae() -> float:
    """Seconds per step of pythae's trainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-4, no_cuda=True
        )
        model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16))
        data = BaseDataset(torch.rand(IMAGES, 1, 28, 28), torch.zeros(IMAGES))
        with contextlib.redirect_stderr(io.StringIO()):
            trainer = BaseTrainer(model=model, train_dataset=data, training_config=config)
            trainer.prepare_training()
            trainer.train_step(0)
            return seconds(lambda: [trainer.train_step(e) for e in range(EPOCHS)]) / (EPOCHS * (IMAGES // BATCH))


def convolutions(precision: str, channels_last: bool) -> float:
    """Seconds per bare step of SimVAE: 2 views of 32 images of 64 px, ResNet-18 and the released decoder."""
    method = build(resolve(stack(None, None, "simvae-celeba"))).method
    assert isinstance(method, VAE)
    if channels_last:
        method.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(method.parameters(), fused=True)
    views = torch.rand(2, 32, 3, 64, 64)

    def steps(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = method.objective(method.infer(views))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps(1)
    return seconds(partial(steps, 3)) / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    origin = provenance()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    small: dict[str, Callable[[], float]] = {"pythae's trainer, 32-true": pythae}
    for precision in ("32-true", "bf16-mixed"):
        settings = arguments(f"--trainer.precision={precision}")
        small[f"ssl_bench fit, {precision}"] = partial(ssl_bench_fit, settings, BATCH, EPOCHS)
        small[f"bare loop, {precision}"] = partial(bare, settings, BATCH, EPOCHS)
    six: dict[str, Callable[[], float]] = {}
    for precision in ("32-true", "bf16-mixed"):
        settings = [*SIMVAE, f"--data={__name__}.Noise", f"--data.batch_size={IMAGES_OF_SIMVAE}"]
        settings += ["--trainer.accelerator=cpu", f"--trainer.precision={precision}"]
        six[f"bare loop, {precision}"] = partial(bare, settings, IMAGES_OF_SIMVAE, EPOCHS)
        six[f"ssl_bench fit, {precision}"] = partial(ssl_bench_fit, settings, IMAGES_OF_SIMVAE, EPOCHS)
    convolutional: dict[str, Callable[[], float]] = {
        f"{precision}{', channels_last' if last else ''}": partial(convolutions, precision, last)
        for precision in ("32-true", "bf16-mixed")
        for last in (False, True)
    }
    of_vae, of_simvae, of_convolutions = (alternate(cases, options.rounds) for cases in (small, six, convolutional))
    ratio = compare_with_goal("VAE in float32 beside pythae", speed_up(of_vae, "ssl_bench fit, 32-true"), 1.5)
    overhead = statistics.median(
        fitted / plain - 1
        for fitted, plain in zip(of_simvae["ssl_bench fit, 32-true"], of_simvae["bare loop, 32-true"], strict=True)
    )
    text = f"""# Training steps

{origin}. Times per step, {options.rounds} alternated rounds.

VAE, MLP 784-512-16, {BATCH} images of 28x28:

{table(of_vae, "training", BATCH)}

SimVAE as in its paper for FashionMNIST, {IMAGES_OF_SIMVAE} images of 28x28 with six views each:

{table(of_simvae, "training", IMAGES_OF_SIMVAE)}

SimVAE, ResNet-18 and the released decoder, 2 views of 32 images of 64x64, bare steps:

{table(of_convolutions, "precision", 32)}

{ratio}
- SimVAE in float32: a step of `fit` takes {100 * overhead:.1f} % longer than in the bare loop, goal at most 5 %.
"""
    print(text)
    if options.write:
        write("train", text)


if __name__ == "__main__":
    main()
