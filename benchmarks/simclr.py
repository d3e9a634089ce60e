"""SimCLR as trained by ssl_bench and by lightly, from the same weights and on the same images."""

import argparse
import copy
from importlib.util import find_spec

import torch
from lightning import Trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.structural_gan import Clock
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.schema import Run
from ssl_bench.config.stack import stack
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Batch
from ssl_bench.methods.simclr import SimCLR
from ssl_bench.networks.layout import use_channels_last

OUTPUTS, WORKERS = 128, 2
RATE, MOMENTUM, DECAY = 0.06, 0.9, 5e-4
"""Learning rate, momentum and weight decay of SGD in lightly's tutorial."""
LIGHTLY = find_spec("lightly") is not None


class Ours:
    """`--method simclr` of ssl_bench.

    Args:
        flags: flags of `ssl-bench bench`.
        options: name of the data, batch size.
        width: width of the ResNet-18.
        images: number of training images.
        mixed: train with bfloat16 mixed precision and channels_last.
    """

    def __init__(self, flags: list[str], options: argparse.Namespace, width: int, images: int, mixed: bool = False):
        arguments = [
            f"--data.batch_size={options.batch}", f"--data.fit_images={images}", f"--method.backbone.width={width}",
            "--method.loss=nt_xent", f"--method.projector.outputs={OUTPUTS}",
            f"--method.projector.hidden=[{8 * width}]", "--method.schedule.kind=constant", "--method.schedule.warmup=0",
            f"--method.optimizer.lr={RATE}", f"--method.optimizer.momentum={MOMENTUM}",
            f"--method.optimizer.weight_decay={DECAY}", "--views.recipe=simclr_weak", "--views.num_views=2",
        ]  # fmt: skip
        torch.manual_seed(0)
        self.run: Run = build(resolve([*stack("simclr", options.data, None), *arguments, *flags]))
        assert isinstance(self.run.method, SimCLR)
        self.method: SimCLR = self.run.method
        # As in lightly, the head ends with an affine BatchNorm.
        self.method.projector.layers[-1] = nn.BatchNorm1d(OUTPUTS)  # type: ignore[assignment,operator]
        self.precision = "bf16-mixed" if mixed else "32-true"
        if mixed:
            use_channels_last(self.method)
        self.data: DataModule = self.run.data
        self.data.setup()
        self.method.views = self.run.views

    def fit(self, loader: DataLoader[Batch] | None = None, batches: int | None = None, epochs: int = 1) -> float:
        """Train on the data, or on a loader; returns seconds per step, without the first step of the last epoch."""
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu", devices=1, precision=self.precision,  # type: ignore[arg-type]
            max_epochs=epochs, limit_train_batches=batches, callbacks=[clock], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(self.method, loader, datamodule=None if loader else self.data)
        return clock.seconds / (int(trainer.num_training_batches) - 1)


class PILImages(Dataset[tuple[list[Tensor], int]]):
    """Training images of `Ours` as PIL images, augmented on access."""

    def __init__(self, ours: Ours):
        from lightly.transforms import SimCLRTransform

        data = ours.data
        images = data.split("fit")[data.fit_ids()].images.permute(0, 2, 3, 1).cpu()
        self.images = [Image.fromarray(image.squeeze(2).numpy()) for image in images]
        # Equivalent to the recipe simclr_weak.
        self.augment = SimCLRTransform(
            input_size=images.shape[1], cj_strength=0.5, min_scale=0.2, gaussian_blur=0.0,
            normalize={"mean": list(data.mean), "std": list(data.std)},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.augment(self.images[index]), index


class Lightly(nn.Module):
    """lightly's SimCLR with the current weights of `Ours`."""

    def __init__(self, ours: Ours):
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__()
        width = ours.method.feature_dim
        self.backbone: nn.Module = copy.deepcopy(ours.method.backbone.backbone)  # type: ignore[assignment]
        self.projection_head = SimCLRProjectionHead(width, width, OUTPUTS)
        self.projection_head.load_state_dict(ours.method.projector.state_dict())
        self.criterion = NTXentLoss()
        self.optimizer = torch.optim.SGD(self.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)

    def forward(self, x: Tensor) -> Tensor:
        """Projections ``(N, OUTPUTS)``."""
        features: Tensor = self.backbone(x).flatten(start_dim=1)
        return self.projection_head(features)  # type: ignore[no-any-return]

    def loss(self, views: list[Tensor]) -> Tensor:
        """NT-Xent loss of two views."""
        first, second = (self(view) for view in views)
        return self.criterion(first, second)  # type: ignore[no-any-return]

    def fit(self, loader: DataLoader[tuple[list[Tensor], int]], epochs: int = 1) -> float:
        """Train; returns seconds per step, without the first step of the last epoch."""
        self.train()
        start = 0.0
        for _ in range(epochs):
            for step, (views, _ids) in enumerate(loader):
                if step == 1:
                    start = Clock().now()
                self.loss(views).backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
        return (Clock().now() - start) / (len(loader) - 1)


def pil_loader(ours: Ours, batch: int) -> DataLoader[tuple[list[Tensor], int]]:
    """DataLoader of lightly over the training images of `Ours`."""
    return DataLoader(
        PILImages(ours), batch, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )
