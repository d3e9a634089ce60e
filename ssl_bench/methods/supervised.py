"""Supervised baseline: cross-entropy of the labels of the training split. No other method sees labels."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Batch
from ssl_bench.errors import UserError
from ssl_bench.losses.classification import cross_entropy
from ssl_bench.methods.base import Method
from ssl_bench.networks.interfaces import BackboneFactory
from ssl_bench.ranges import PositiveInt, check_ranges


@check_ranges
class Supervised(Method):
    """A backbone and a linear classifier, trained with the labels of the training split.

    It is the reference for methods without labels. Images of the validation split, on which the protocols choose their
    settings, and images without a label are left out of the loss, but BatchNorm sees them. Of several targets, all are
    learned together.

    Args:
        image_shape: shape of one view; the command line takes it from the data.
        backbone: given (image_shape, 0), returns a network without classifier, from images ``(N, C, H, W)`` to features
            ``(N, feature_dim)``.
        num_classes: number of classes of each target; by default those of the data, which are read before training.
        **kwargs: optimizer, schedule and decay_all, see `Method`.

    Example:
        ``ssl-bench bench --method supervised --data digits``
    """

    family = "supervised"
    uses_labels = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        backbone: BackboneFactory,
        num_classes: tuple[PositiveInt, ...] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.backbone = backbone(tuple(image_shape), 0)
        self.feature_dim = self.backbone.feature_dim
        self.make_classifier(tuple(num_classes))

    def make_classifier(self, num_classes: tuple[int, ...]) -> None:
        """Make the linear classifier of all targets, whose logits are side by side; none for no target."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.feature_dim, sum(num_classes)) if num_classes else None

    def setup(self, stage: str) -> None:
        """Take the numbers of classes from the data, which have been read, and record them for the checkpoint.

        Lightning calls it before it builds the optimizer and loads a checkpoint.

        Raises:
            UserError: no image of the training split has a label, or the classes are not those of `num_classes`.
        """
        data = getattr(self.trainer, "datamodule", None)
        if stage != "fit" or not isinstance(data, DataModule):
            return
        if not (data.training_images().labels[data.fit_ids()] >= 0).any():
            raise UserError(
                f"supervised: no training image of {data.name} has a label: give data with labels, or another --method"
            )
        classes = tuple(len(target.classes) for target in data.targets)
        if not self.num_classes:
            self.make_classifier(classes)
            if self.config is not None:
                self.config.setdefault("init_args", {})["num_classes"] = list(classes)
        if classes != self.num_classes:
            raise UserError(
                f"supervised: --method.num_classes is {list(self.num_classes)}, {data.name} has {list(classes)}: leave "
                "it out"
            )

    def encode(self, x: Tensor) -> Tensor:
        """Features of the backbone, before the classifier: normalised ``(N, C, H, W)`` to ``(N, feature_dim)``."""
        return self.backbone(x).float()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy over all labels of all views of a batch; their accuracy, from 0 to 1, is logged."""
        if self.classifier is None:
            raise UserError("supervised: the data do not state their classes: give num_classes, one for each target")
        views = len(batch.images)
        logits = self.classifier(self.backbone(batch.images.flatten(0, 1))).float().split(self.num_classes, 1)
        labels = batch.labels.view(len(batch.labels), -1).repeat(views, 1)
        loss = cross_entropy(logits, labels)
        if self._trainer is not None:  # nothing is logged without one
            accuracies = [
                multiclass_accuracy(part.detach(), y, classes, average="micro", ignore_index=-1)
                for part, y, classes in zip(logits, labels.T, self.num_classes, strict=True)
            ]
            self.log_metrics({"loss": loss, "accuracy": torch.stack(accuracies).mean()})
        return loss
