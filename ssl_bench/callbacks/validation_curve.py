"""Accuracy of the encoder on the validation images during training, by the evaluator's protocols."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.config.schema import Run
from ssl_bench.data.inputs import training_inputs
from ssl_bench.data.splits import VALIDATION_FRACTION, hold_out
from ssl_bench.data.types import Split
from ssl_bench.distributed import all_gather, gather_rows
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.features import Features, FeatureSplit
from ssl_bench.evaluation.protocols.rank import rankme
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.run_images import scoring_device
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.base import Method
from ssl_bench.precision import autocast_dtype

POINTS = 10
"""Number of measurements of a run by default."""
MIN_INTERVAL = 4
"""Minimum number of epochs between two measurements by default; a measurement takes about a sixth of an epoch."""
MAX_SHARE = 0.05
"""Maximum share of the time of training that measurements take by default."""
LOW_RANK = 0.01
"""A warning is printed if (RankMe - 1) / (min(N, d) - 1) of N features of d numbers is below this value."""
CONSTANT_LOSS = 1e-4
"""A warning is printed if the loss varies by less than this share of its absolute value over an epoch."""


class ValidationCurve(Callback):
    """Log the accuracy of the encoder on the validation images as ``validation/<metric>``, and warn of a collapse.

    The neighbours and the training images of the probe are images of the train split, and the scored images are those
    of the validation split, so the test split is never used. The linear probe chooses its regularisation on a part held
    out of the train split. Every rank encodes a share of the images. All ranks use the buffers of the first rank, which
    are those of the checkpoint. The training is unchanged, and its recorded seconds do not include the measurements.
    Methods are trained on the validation images, too, without their labels. Without labelled images there is no
    accuracy, but the warning.

    Args:
        run: the objects of the run; `run.validation` contains the settings.
        precision: Lightning's precision of the trainer, used for encoding as in the evaluation of the run.
        stopwatch: the clock of the run, which is stopped during measurements.

    Raises:
        UserError: measurements were requested with ``validation.every``, and the data has no target to score.
    """

    def __init__(self, run: Run, precision: object, stopwatch: Stopwatch):
        self.run, self.settings, self.stopwatch = run, run.validation, stopwatch
        self.autocast = autocast_dtype(precision)
        knn = replace(run.evaluation.knn, k=(5,), weights=("uniform",))
        protocols = ("knn", "linear_probe") if self.settings.linear_probe else ("knn",)
        self.evaluation = replace(run.evaluation, protocols=protocols, knn=knn)
        self.start, self.spent, self.last = 0.0, 0.0, 0.0
        self.has_labels = True
        self.losses: list[Tensor] = []
        """Losses of the steps of this epoch, on the device."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained encoder if an interval is given; averages of a GAN are recalibrated first."""
        self.start = time.perf_counter()
        labels = [self.run.data.labels(split) for split in ("train", "validation")]
        self.has_labels = all((of_split >= 0).any() for of_split in labels)
        if self.settings.every and not self.has_labels:
            raise UserError(
                "validation.every needs labelled train and validation images, and there are none: leave it out"
            )
        if self.settings.every and trainer.global_step == 0:
            self.measure(trainer, epoch=0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss, without waiting for the device."""
        if isinstance(outputs, dict) and isinstance(loss := outputs.get("loss"), Tensor):
            self.losses.append(loss.detach())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure after selected epochs."""
        if self.is_selected(trainer):
            self.measure(trainer, trainer.current_epoch + 1)
        self.losses.clear()

    def is_selected(self, trainer: Trainer) -> bool:
        """Whether the encoder is measured after this epoch, the same on every rank."""
        epoch, epochs = trainer.current_epoch + 1, max(1, trainer.max_epochs or 1)
        if self.settings.every:
            return epoch % self.settings.every == 0 or epoch == epochs
        if epoch % max(-(-epochs // POINTS), MIN_INTERVAL):
            return False
        elapsed = time.perf_counter() - self.start - self.spent
        fits = torch.tensor(self.spent + self.last <= MAX_SHARE * elapsed, device=trainer.strategy.root_device)
        return bool(all_gather(fits)[0])

    def measure(self, trainer: Trainer, epoch: int) -> None:
        """Encode, score, log and warn, while the clock of the run is stopped."""
        begin = time.perf_counter()
        with self.stopwatch.paused():
            self.measure_and_log(trainer, epoch)
        self.last = time.perf_counter() - begin
        self.spent += self.last

    def measure_and_log(self, trainer: Trainer, epoch: int) -> None:
        """`measure` without the clock."""
        warning, method = "", self.run.method
        with evaluation_mode(method):
            if epoch == 0 and isinstance(method, Adversarial):
                torch.manual_seed(0)  # for the latents from which BatchNorm statistics are estimated
                method.recalibrate_ema(training_inputs(self.run.data, self.run.views).images)
            for buffer in method.buffers():
                buffer.copy_(all_gather(buffer)[0])
            try:
                metrics = self.scores(method, scoring_device(trainer.strategy.root_device))
                warning = self.collapse(metrics["rankme"], method.feature_dim) if epoch else ""
            except UserError as error:  # such as features that are all the same
                metrics, warning = {}, str(error)
        if trainer.is_global_zero:
            values = {f"validation/{name}": value for name, value in metrics.items()}
            for logger in trainer.loggers if values else ():
                logger.log_metrics({"epoch": epoch, **values}, trainer.global_step)
                logger.save()  # before the checkpoint that a resumed run starts from
            if warning:
                print(f"warning: validation after epoch {epoch}: {warning}", file=sys.stderr)

    def collapse(self, rank: float, dim: int) -> str:
        """A warning if the features have a low rank or the loss was constant in this epoch; empty if neither is so.

        Args:
            rank: RankMe of the validation features.
            dim: number of features, d.
        """
        possible = min(dim, len(self.run.data.labels("validation")))
        if possible > 1 and (rank - 1) / (possible - 1) < LOW_RANK:
            return f"RankMe of the features is {rank:.1f} of at most {possible}: the encoder may have collapsed"
        losses = torch.stack(self.losses) if len(self.losses) > 1 else torch.zeros(0)
        if len(losses) and losses.max() - losses.min() <= CONSTANT_LOSS * losses.abs().max():
            return f"the loss of all steps of the epoch is {float(losses[-1]):.4g}: the encoder may have collapsed"
        return ""

    def scores(self, method: Method, device: torch.device) -> dict[str, float]:
        """Metrics of the validation images by name."""
        data = self.run.data
        scored = FeatureSplit(self.encode(method, "validation", device), data.labels("validation"))
        rank = {"rankme": rankme(Rows.of(scored, device))}
        if not self.has_labels:
            return rank
        ids = torch.arange(len(data.labels("train")))
        if len(ids) > self.settings.images:
            ids = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[: self.settings.images]
        known = FeatureSplit(self.encode(method, "train", device, ids), data.labels("train")[ids])
        held_out = hold_out(known.labels, VALIDATION_FRACTION, seed=0)
        train, validation = (
            FeatureSplit(known.features, known.labels[rows], rows.nonzero().squeeze(1))
            for rows in (~held_out, held_out)
        )
        encoder = EvaluatedEncoder(Features(train, validation, scored, data.targets), device, Path())
        metrics: dict[str, float] = self.evaluation.scores(encoder)
        return metrics | rank

    def encode(self, method: Method, split: Split, device: torch.device, ids: Tensor | None = None) -> Tensor:
        """Features ``(n, d)`` of the images of a split with the given ids, in float32, the same on every rank."""
        parts = [torch.empty(0, method.feature_dim, device=method.device)]
        for batch in self.run.data.batches(split, 512, shared=True, ids=ids):
            images = self.run.views.evaluation_input(batch.images.to(method.device, non_blocking=True))
            with torch.autocast(method.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                parts.append(method.encode(images).float())
        return gather_rows(torch.cat(parts)).to(device)
