"""Linear probe trained by SGD or Adam as in papers (Han et al. 2023, arXiv 2304.00601)."""

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
from ssl_bench.evaluation.task import Task, accuracy


@dataclass(frozen=True)
class LinearProbeSGD:
    """Softmax regression on features as they are, trained for a fixed number of epochs on train + validation.

    Nothing is chosen, so nothing is held out, and it is the weights after the last epoch that are scored. Papers:

    - Constructive Assimilation (Han et al. 2023, arXiv 2304.00601) on CIFAR-10: the defaults. The code it starts from
      augments the training images (``passes``), resizes and crops the test images, leaves out an epoch's last,
      smaller batch, and reports a mean of accuracies per batch.
    - The same on CIFAR-100 and TinyImageNet: ``learning_rate`` 0.1, ``schedule`` step; the best epoch on test.
    - SimVAE (arXiv 2402.01399): ``optimizer`` adam, ``learning_rate`` 3e-4, ``schedule`` constant, ``epochs`` 200,
      ``batch_size`` 64; the best epoch on test. Its loss is a sum and not a mean, which Adam hardly notices.

    None of them decays weights or standardises features, so figures depend on the features' scale, which
    `linear_probe`'s do not.

    Args:
        optimizer: sgd, with momentum, or adam.
        learning_rate: at the start.
        momentum: of SGD.
        schedule: cosine, down to 0, a little at every step; step, ``decay`` times as much from each of the
            ``milestones`` on; or constant.
        milestones: epochs, rising.
        decay: factor of the step schedule.
        epochs: number of epochs.
        batch_size: images in a step; the last of an epoch has what is left.
        passes: augmented passes over the training images to be trained on in turn, one an epoch; 0 for the images
            as they are.
        seed: of the initial weights and the order of the images; the global random state is left alone.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 30.0
    momentum: float = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[int, ...] = (60, 75, 90)
    decay: float = 0.2
    epochs: int = 100
    batch_size: int = 256
    passes: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        def refuse(name: str, expected: str) -> None:
            raise UserError(f"linear_probe_sgd: {name} = {getattr(self, name)}; give {expected}")

        for name, names in (("optimizer", ("sgd", "adam")), ("schedule", ("cosine", "step", "constant"))):
            if getattr(self, name) not in names:
                refuse(name, f"one of {', '.join(names)}")
        for name in ("learning_rate", "decay"):
            if not getattr(self, name) > 0:
                refuse(name, "a number above 0")
        if not 0 <= self.momentum < 1:
            refuse("momentum", "a number of at least 0 and below 1")
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            refuse("milestones", "rising whole numbers of at least 1")
        for name, least in (("epochs", 1), ("batch_size", 1), ("passes", 0)):
            if getattr(self, name) < least:
                refuse(name, f"a whole number of at least {least}")

    def applies(self, encoder: EvaluatedEncoder) -> bool:
        """Never of itself: it is a paper's convention, and slow."""
        return False

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``linear_probe_sgd/accuracy`` in percent on test."""
        if self.passes > len(task.augmented):
            raise UserError(
                f"linear_probe_sgd: passes = {self.passes}, but there are {len(task.augmented)} augmented passes of "
                "these features; more need the encoder and its images, without them give passes = 0"
            )
        # One job, done by one process: its steps follow one another.
        [(weight, bias)] = share_out([lambda: self.fit(task)])
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise UserError(
                f"linear_probe_sgd: weights are not finite with learning_rate = {self.learning_rate:g}; "
                "give a lower one"
            )
        weight, bias = weight.to(task.device), bias.to(task.device)
        predicted = task.test.map(lambda x: logits(x, weight, bias).argmax(2), task.num_targets)
        return [{"linear_probe_sgd/accuracy": value} for value in accuracy(predicted, task.test.y)]

    def rate(self, progress: float) -> float:
        """Learning rate when `progress` epochs are over."""
        match self.schedule:
            case "cosine":
                return self.learning_rate * (1 + cos(pi * progress / self.epochs)) / 2
            case "step":
                return self.learning_rate * self.decay ** bisect_right(self.milestones, progress)
            case "constant":
                return self.learning_rate

    def fit(self, task: Task) -> tuple[Tensor, Tensor]:
        """Weights ``(T, C, d)`` and biases ``(T, C)`` after the last epoch, on the CPU; needs no other process."""
        generator = Generator().manual_seed(self.seed)
        bound = 1 / sqrt(task.train.dim)

        def uniform(*shape: int) -> Tensor:
            # PyTorch's initial weights of nn.Linear, the same for every target.
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
                # The gradient of the mean cross-entropy, in closed form: autograd would take longer than the sums.
                gradient = logits(x, weight, bias).softmax(2)
                gradient.scatter_(2, y.unsqueeze(2), -1.0, reduce="add")
                gradient /= len(x)
                weight.grad = (gradient.flatten(1).T @ x).view_as(weight)
                bias.grad = gradient.sum(0)
                optimizer.step()
        return weight.cpu(), bias.cpu()


def logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``(N, T, C)`` of features ``(N, d)``, weights ``(T, C, d)`` and biases ``(T, C)``."""
    return torch.addmm(bias.flatten(), x, weight.flatten(0, 1).T).view(len(x), *bias.shape)
