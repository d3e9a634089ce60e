"""Throughput of batched augmentation, beside torchvision on PIL images and kornia.

    python benchmarks/augmentation.py --write

Measures views per second of SimCLR's crop, flip, colour jitter and grayscale on 32x32 images in batches of 256.
torchvision runs in a DataLoader with two workers; kornia is included if it is installed. The cases are alternated in
every round, and the ratio to torchvision is the median over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from benchmarks.rounds import provenance, write
from ssl_bench.data.recipes import Steps
from ssl_bench.data.views import Views

BATCH, BATCHES, SIDE, WORKERS = 256, 16, 32, 2
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
RECIPE: Steps = [
    {"random_resized_crop": {"scale": [0.2, 1.0]}},
    "horizontal_flip",
    {"color_jitter": {**JITTER, "p": 0.8}},
    {"grayscale": {"p": 0.2}},
]


class PILImages(Dataset[Tensor]):
    """Images as PIL images, augmented on access."""

    def __init__(self, images: Tensor) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.augment = T.Compose(
            [
                T.RandomResizedCrop(SIDE, scale=(0.2, 1.0)),
                T.RandomHorizontalFlip(),
                T.RandomApply([T.ColorJitter(**JITTER)], p=0.8),
                T.RandomGrayscale(0.2),
                T.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        view: Tensor = self.augment(self.images[index])
        return view


def batched(images: Tensor, augment: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    def epoch() -> None:
        for ids in torch.randperm(len(images)).view(-1, BATCH):
            augment(images[ids])

    return epoch


def cases(images: Tensor) -> dict[str, Callable[[], None]]:
    shape = (3, SIDE, SIDE)
    mean = std = (0.5, 0.5, 0.5)
    eager = Views(RECIPE, image_shape=shape, mean=mean, std=std)
    compiled = Views(RECIPE, compile=True, image_shape=shape, mean=mean, std=std)
    loader = DataLoader(PILImages(images), batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)

    def pil() -> None:
        for _ in loader:
            pass

    found = {
        f"torchvision on PIL, {WORKERS} workers": pil,
        "ssl_bench": batched(images, eager),
        "ssl_bench, compiled": batched(images, compiled),
    }
    if find_spec("kornia"):
        from kornia import augmentation as K

        chain = K.AugmentationSequential(
            K.RandomResizedCrop((SIDE, SIDE), scale=(0.2, 1.0)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(**JITTER, p=0.8),
            K.RandomGrayscale(p=0.2),
        )
        found["kornia"] = batched(images, lambda x: chain(x.float() / 255))
    return found


def measure(rounds: int) -> str:
    """Markdown table of views per second and of ratios to the first case."""
    images = torch.randint(0, 256, (BATCH * BATCHES, 3, SIDE, SIDE), dtype=torch.uint8)
    images = torch.nn.functional.avg_pool2d(images.float(), 5, 1, 2).byte()
    epochs = cases(images)
    for epoch in epochs.values():
        epoch()  # starts the workers and compiles the kernels
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            rates[name].append(len(images) / (time.perf_counter() - start))
    base = next(iter(rates.values()))
    lines = ["| augmentation | views/s | ratio |", "|---|---|---|"]
    for name, rate in rates.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(rate, base, strict=True))
        lines.append(f"| {name} | {statistics.median(rate):,.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/augmentation.md")
    arguments = parser.parse_args()
    origin = provenance()
    table = measure(arguments.rounds)
    print(table)
    if arguments.write:
        write(
            "augmentation",
            f"# Augmentation\n\n{origin}, torchvision {torchvision.__version__}. {BATCH * BATCHES} images of "
            f"{SIDE}x{SIDE}, batches of {BATCH}: crop, flip, "
            f"jitter, gray; median of {arguments.rounds} rounds.\n\n{table}\n",
        )


if __name__ == "__main__":
    main()
