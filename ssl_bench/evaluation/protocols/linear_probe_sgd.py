"""Linear probe trained by SGD or Adam for a fixed number of epochs (Han et al. 2023, arXiv 2304.00601)."""

from bisect import bisect_right
from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import Literal

import torch
from torch import Generator, Tensor

from ssl_bench.distributed import share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.minibatches import minibatches
from ssl_bench.evaluation.points import largest_magnitudes
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task, accuracy
from ssl_bench.ranges import Decay, NonNegativeInt, PositiveFloat, PositiveInt, check_ranges


@check_ranges
@dataclass(frozen=True)
class LinearProbeSGD:
    """Softmax regression on the features as they are, trained for a fixed number of epochs on train + validation.

    No hyper-parameter is chosen, so no images are held out. The weights after the last epoch are scored. Settings of
    papers:

    - Constructive Assimilation (Han et al. 2023, arXiv 2304.00601) on CIFAR-10: the defaults. The code on which the
      released code is based augments the training images (``passes``), resizes and crops the test images, drops the
      last, smaller batch of an epoch, and reports the mean of the accuracies of batches.
    - Constructive Assimilation on CIFAR-100 and TinyImageNet: ``learning_rate`` 0.1, ``schedule`` step. The paper
      reports the best epoch on test.
    - SimVAE (Bizeul et al. 2024, arXiv 2402.01399): ``optimizer`` adam, ``learning_rate`` 3e-4, ``schedule`` constant,
      ``epochs`` 200, ``batch_size`` 64. The paper reports the best epoch on test. The loss is a sum instead of a mean;
      with Adam this has almost no effect.

    Neither paper uses weight decay or standardises features. Unlike the scores of `linear_probe`, these scores
    therefore depend on the scale of the features. The protocol runs only if it is listed in `protocols`.

    Args:
        optimizer: ``sgd`` (with momentum) or ``adam``.
        learning_rate: initial learning rate.
        momentum: momentum of SGD.
        schedule: schedule of the learning rate: ``cosine``, to 0, updated at every step; ``step``, multiplied by
            ``decay`` at each of the ``milestones``; or ``constant``.
        milestones: epochs of the step schedule, increasing.
        decay: factor of the step schedule.
        epochs: number of epochs.
        batch_size: number of images per step; the last batch of an epoch may be smaller.
        passes: number of augmented passes over the training images. Epochs use them in turn; 0 for images without
            augmentation.
        seed: seed of the initial weights and the order of images; the global random state is not changed.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: PositiveFloat = 30.0
    momentum: Decay = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[PositiveInt, ...] = (60, 75, 90)
    decay: PositiveFloat = 0.2
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 256
    passes: NonNegativeInt = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"linear_probe_sgd: milestones must be increasing, got {self.milestones}")

    def runs_by_default(self, encoder: EvaluatedEncoder) -> bool:
        """False, because the protocol follows the conventions of single papers and is slow."""
        return False

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``linear_probe_sgd/accuracy`` in percent on test, for each target.

        Raises:
            UserError: there are fewer augmented passes than `passes`, the weights are not finite, or features are so
                small that they have no effect on the outputs.
        """
        if self.passes > len(task.augmented):
            raise UserError(
                f"linear_probe_sgd: passes = {self.passes}, but there are {len(task.augmented)} augmented passes of "
                "these features; give a smaller number of passes (0 for features in a file)"
            )
        # One process does all the work: the steps are sequential.
        [(weight, bias)] = share_out([lambda: self.fit(task)])
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise UserError(
                f"linear_probe_sgd: weights are not finite with learning_rate = {self.learning_rate:g} and features "
                f"of at most {_largest(task.train):.1g}; give a lower one, or smaller features"
            )
        weight, bias = weight.to(task.device), bias.to(task.device)

        def predict(x: Tensor) -> Tensor:
            outputs = logits(x, weight, bias)
            return torch.cat([outputs.argmax(2), (outputs != bias).flatten(1).any(1, keepdim=True)], 1)

        predicted = task.test.map(predict, task.num_targets + 1)
        if not predicted[:, -1].any():
            raise UserError(
                f"linear_probe_sgd: the test features, of at most {_largest(task.test):.1g}, have no effect on the "
                "outputs; multiply all features by a constant"
            )
        return [{"linear_probe_sgd/accuracy": value} for value in accuracy(predicted[:, :-1], task.test.y)]

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` epochs."""
        match self.schedule:
            case "cosine":
                return self.learning_rate * (1 + cos(pi * progress / self.epochs)) / 2
            case "step":
                return self.learning_rate * self.decay ** bisect_right(self.milestones, progress)
            case "constant":
                return self.learning_rate

    def fit(self, task: Task) -> tuple[Tensor, Tensor]:
        """Weights ``(T, C, d)`` and biases ``(T, C)`` after the last epoch, on the CPU; runs in one process."""
        generator = Generator().manual_seed(self.seed)
        bound = 1 / sqrt(task.train.dim)

        def uniform(*shape: int) -> Tensor:
            # Initial weights of PyTorch's nn.Linear, the same for every target.
            values = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            return values.to(task.device).repeat(task.num_targets, *(1 for _ in shape[1:]))

        weight = uniform(1, task.num_classes, task.train.dim)
        bias = uniform(1, task.num_classes)
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD([weight, bias], lr=self.learning_rate, momentum=self.momentum)
        else:
            optimizer = torch.optim.Adam([weight, bias], lr=self.learning_rate)
        passes = task.augmented[: self.passes] or (task.fitting,)
        steps = -(-sum(map(len, task.fitting)) // self.batch_size)
        for epoch in range(self.epochs):
            parts = passes[epoch % len(passes)]
            for step, (x, y) in enumerate(minibatches(parts, self.batch_size, generator)):
                optimizer.param_groups[0]["lr"] = self.rate(epoch + step / steps)
                # Gradient of the mean cross-entropy in closed form, faster than autograd.
                gradient = logits(x, weight, bias).softmax(2)
                gradient.scatter_(2, y.unsqueeze(2), -1.0, reduce="add")
                gradient /= len(x)
                weight.grad = (gradient.flatten(1).T @ x).view_as(weight)
                bias.grad = gradient.sum(0)
                optimizer.step()
        return weight.cpu(), bias.cpu()


def _largest(rows: Rows) -> float:
    return float(largest_magnitudes(rows).max())


def logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Logits ``(N, T, C)`` of features ``(N, d)`` under weights ``(T, C, d)`` and biases ``(T, C)``."""
    return torch.addmm(bias.flatten(), x, weight.flatten(0, 1).T).view(len(x), *bias.shape)
