"""Frechet distance and inception score of samples during training, by the generation protocol."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
from ssl_bench.callbacks.stopwatch import Stopwatch
from ssl_bench.config.schema import Run
from ssl_bench.data.inputs import training_inputs
from ssl_bench.distributed import all_gather
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.generative.inception import Extractor
from ssl_bench.evaluation.run_images import images_of_run, scoring_device
from ssl_bench.methods.adversarial import Adversarial
from ssl_bench.methods.base import Generative


class GenerationCurve(Callback):
    """Log metrics of samples before the first step, after every n-th epoch and after the last epoch.

    A metric is logged as ``generation/<metric>``, with the number of training steps before it as its step. A resumed
    run does not repeat metrics from before its last checkpoint. Every rank evaluates a share of the images. All ranks
    use the buffers of the first rank, which are those of the checkpoint. The training is unchanged, and its recorded
    seconds do not include the evaluation.

    Args:
        run: the objects of the run; `run.curve` contains the interval in epochs and the number of images.
        config: the resolved configuration.
        folder: the run folder.
        stopwatch: the clock of the run, which is stopped during measurements.

    Raises:
        UserError: the method is not generative.
    """

    def __init__(self, run: Run, config: dict[str, Any], folder: Path, stopwatch: Stopwatch):
        if not isinstance(run.method, Generative):
            raise UserError(f"curve: {type(run.method).__name__} has no sample(): leave out --curve.every")
        self.run, self.config, self.folder, self.stopwatch = run, config, folder, stopwatch
        self.protocol = replace(run.evaluation.generation, images=run.curve.images)
        self.reference: tuple[EvaluatedEncoder, Extractor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the untrained method; the averages of a GAN are recalibrated first, as at the end of an epoch."""
        if trainer.global_step == 0:
            self.measure(trainer, pl_module, recalibrate=isinstance(pl_module, Adversarial))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate before the checkpoint is written: Lightning calls checkpoint callbacks last."""
        epoch = trainer.current_epoch + 1
        if epoch % self.run.curve.every == 0 or epoch == trainer.max_epochs:
            self.measure(trainer, pl_module)

    def measure(self, trainer: Trainer, method: LightningModule, recalibrate: bool = False) -> None:
        """Sample, encode, compare and log."""
        with self.stopwatch.paused(), evaluation_mode(method):
            if self.reference is None:
                device = scoring_device(trainer.strategy.root_device)
                encoder = images_of_run(self.run, self.config, self.folder, device)
                self.reference = encoder, self.protocol.extractor_for(encoder)
            torch.manual_seed(self.protocol.seed)  # for the latents from which BatchNorm statistics are estimated
            if recalibrate and isinstance(method, Adversarial):
                method.recalibrate_ema(training_inputs(self.run.data, self.run.views).images)
            for buffer in method.buffers():
                buffer.copy_(all_gather(buffer)[0])
            metrics = self.protocol.scores(*self.reference, kernel=False)
        for logger in trainer.loggers:
            logger.log_metrics({f"generation/{name}": value for name, value in metrics.items()}, trainer.global_step)
            logger.save()  # before the checkpoint that a resumed run starts from
