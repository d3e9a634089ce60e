"""Frechet distance and inception score of generated images as a method learns, by the generation protocol."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from ssl_bench.callbacks.evaluation_mode import evaluation_mode
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
    """Measure before the first step and at the end of every n-th epoch and the last; log as ``generation/<figure>``.

    The step of a figure is the number of steps before it. A resumed run does not measure what it has measured before
    its last checkpoint. All ranks take part, each with its share of the images, drawn as the first one would draw
    them, since its networks are the ones that are written. The run is the same as without; its seconds count.

    Args:
        run: the objects; `run.curve` says how often and of how many images.
        config: the resolved configuration.
        folder: the run folder.

    Raises:
        UserError: the method is not generative.
    """

    def __init__(self, run: Run, config: dict[str, Any], folder: Path):
        if not isinstance(run.method, Generative):
            raise UserError(f"curve: {type(run.method).__name__} draws no images: leave out --curve.every")
        self.run, self.config, self.folder = run, config, folder
        self.protocol = replace(run.evaluation.generation, images=run.curve.images)
        self.known: tuple[EvaluatedEncoder, Extractor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The untrained method; averages that a GAN fits to draw at the end of an epoch are fitted for this alone."""
        if trainer.global_step == 0:
            self.measure(trainer, pl_module, settle=isinstance(pl_module, Adversarial))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the checkpoint is written: Lightning calls checkpoint callbacks last."""
        epoch = trainer.current_epoch + 1
        if epoch % self.run.curve.every == 0 or epoch == trainer.max_epochs:
            self.measure(trainer, pl_module)

    def measure(self, trainer: Trainer, method: LightningModule, settle: bool = False) -> None:
        """Draw, encode, compare and log."""
        if self.known is None:
            encoder = images_of_run(self.run, self.config, self.folder, scoring_device(trainer.strategy.root_device))
            self.known = encoder, self.protocol.extractor_for(encoder)
        with evaluation_mode(method):
            torch.manual_seed(self.protocol.seed)  # of the latents that BatchNorm's statistics are estimated from
            if settle and isinstance(method, Adversarial):
                method.recalibrate_ema(training_inputs(self.run.data, self.run.views).images)
            for buffer in method.buffers():
                buffer.copy_(all_gather(buffer)[0])
            figures = self.protocol.figures(*self.known, kernel=False)
        for logger in trainer.loggers:
            logger.log_metrics({f"generation/{name}": value for name, value in figures.items()}, trainer.global_step)
            logger.save()  # with the checkpoint that a resumed run goes on from
