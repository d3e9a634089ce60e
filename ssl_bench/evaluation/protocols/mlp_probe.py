"""MLP with one hidden layer, epochs and weight decay chosen on validation (after SimVAE, arXiv 2402.01399)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ssl_bench.distributed import share_out
from ssl_bench.errors import UserError
from ssl_bench.evaluation.minibatches import minibatches
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from ssl_bench.ranges import NonNegativeFloat, PositiveFloat, PositiveInt, check_ranges

TOGETHER = 2**16
"""Largest number of weights of the networks of all weight decays for which they are trained at once."""
SCORED = 2**20
"""Usual number of values of a layer of all networks that are computed at a time in scoring."""
SMALLEST = 256
"""Smallest number of images that are scored at a time."""


class Networks:
    """Independently trained Linear-ReLU-Linear networks, stored in one set of tensors.

    All networks have the same initial weights, distributed as in PyTorch's nn.Linear: uniform within
    ``1 / sqrt(fan_in)``.

    Args:
        mean: mean ``(d,)`` that is subtracted from the features, in the type of the computation.
        deviation: deviation ``(d,)`` by which the centred features are divided, one minibatch at a time, so that no
            split is copied; infinite if a feature is constant, so that it has no effect.
        settings: for each network, the column of the labels and the decoupled weight decay of the weights, not of the
            biases.
        hidden: number of hidden units.
        num_classes: number of classes, C.
        learning_rate: learning rate of Adam.
        generator: random generator of the initial weights, on the CPU so that they are the same on every device.
    """

    def __init__(
        self,
        mean: Tensor,
        deviation: Tensor,
        settings: Sequence[tuple[int, float]],
        *,
        hidden: int,
        num_classes: int,
        learning_rate: float,
        generator: Generator,
    ) -> None:
        self.mean, self.scale, self.settings = mean, 1 / deviation, list(settings)
        self.targets = torch.tensor([target for target, _ in settings], device=mean.device)
        decays = torch.tensor([decay for _, decay in settings], device=mean.device).view(-1, 1, 1)
        self.shrinkage = 1 - learning_rate * decays

        def uniform(fan_in: int, *shape: int) -> Tensor:
            values = torch.empty(shape).uniform_(-1 / sqrt(fan_in), 1 / sqrt(fan_in), generator=generator)
            return values.to(mean.device).repeat(len(settings), 1, 1)

        dim = len(mean)
        self.weight_1, self.bias_1 = uniform(dim, 1, hidden, dim), uniform(dim, 1, hidden, 1)
        self.weight_2, self.bias_2 = uniform(hidden, 1, num_classes, hidden), uniform(hidden, 1, num_classes, 1)
        self.parameters = [self.weight_1, self.bias_1, self.weight_2, self.bias_2]
        self.adam = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits ``(T, C, N)`` of features ``(N, d)``."""
        return self._layers(self._standardised(x))[1]

    def _standardised(self, x: Tensor) -> Tensor:
        return ((x.to(self.scale.dtype) - self.mean) * self.scale).float()

    def _layers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # The first layer is one matrix product for all networks, since they have the same input. Images are columns, so
        # that classes are rows in the products of the gradient; with classes as columns these would be slow.
        first = torch.addmm(self.bias_1.flatten(0, 1), self.weight_1.flatten(0, 1), x.T).relu_()
        hidden = first.unflatten(0, (len(self.settings), -1))
        return hidden, torch.baddbmm(self.bias_2, self.weight_2, hidden)

    def step(self, x: Tensor, y: Tensor) -> None:
        """One step of Adam on features ``(B, d)`` and labels ``(B, number of all targets)``.

        The gradient of the cross-entropy is written out: for small networks, automatic differentiation takes longer
        than the computation itself.
        """
        x = self._standardised(x)
        hidden, logits = self._layers(x)
        labels = y[:, self.targets].T.unsqueeze(1)
        error = logits.softmax(1).scatter_add_(1, labels, -torch.ones_like(labels, dtype=logits.dtype)) / len(x)
        back = torch.bmm(self.weight_2.mT, error).mul_(hidden > 0)
        self.weight_1.grad = (back.flatten(0, 1) @ x).view_as(self.weight_1)
        self.bias_1.grad = back.sum(2, keepdim=True)
        self.weight_2.grad = torch.bmm(error, hidden.mT)
        self.bias_2.grad = error.sum(2, keepdim=True)
        self.weight_1.mul_(self.shrinkage)
        self.weight_2.mul_(self.shrinkage)
        self.adam.step()

    def keep(self, which: Sequence[bool]) -> None:
        """Drop the networks for which ``which`` is false."""
        self.settings = [one for one, kept in zip(self.settings, which, strict=True) if kept]
        rows = torch.tensor(which, device=self.targets.device)
        self.targets, self.shrinkage = self.targets[rows], self.shrinkage[rows]
        for parameter in self.parameters:
            parameter.grad = None
            parameter.data = parameter.data[rows]
            state = self.adam.state[parameter]
            state.update({name: state[name][rows] for name in ("exp_avg", "exp_avg_sq")})

    def scores(self, rows: Rows) -> Tensor:
        """Accuracy in ``[0, 1]`` and mean log-likelihood of each network, float64 ``(T, 2)``."""
        total = torch.zeros(len(self.targets), 2, dtype=torch.float64, device=self.mean.device)
        rows = rows.exact()
        networks, hidden, dim = self.weight_1.shape
        size = max(SMALLEST, SCORED // max(networks * hidden, dim))
        for start in range(0, len(rows), size):
            batch = slice(start, min(start + size, len(rows)))
            logits, y = self(rows.take(batch)), rows.y[batch, self.targets].T
            loss = F.cross_entropy(logits, y, reduction="none")
            total += torch.stack([(logits.argmax(1) == y).double().sum(1), -loss.sum(1, dtype=torch.float64)], 1)
        return total / len(rows)


class Choice(NamedTuple):
    """Best validation score of one target, with its settings; compared by accuracy, then by log-likelihood."""

    accuracy: float
    log_likelihood: float
    weight_decay: float
    epochs: int


@check_ranges
@dataclass(frozen=True)
class MLPProbe:
    """Linear-ReLU-Linear network on features standardised by train, trained by Adam at a constant learning rate.

    For every weight decay (decoupled, weights only), a network is trained on train until it has not improved for
    ``patience`` epochs. The weight decay and number of epochs with the best validation accuracy (in ties, the lowest
    validation cross-entropy) are chosen. With these, a new network is trained on train + validation and scored on test.
    SimVAE (arXiv 2402.01399, section 6) uses Adam at 3e-4 in batches of 64 for 200 epochs and reports the best epoch on
    test.

    Args:
        hidden: number of hidden units; None for the number of features.
        weight_decay: values to choose from, each in ``[0, 1 / learning_rate)``.
        learning_rate: learning rate of Adam.
        batch_size: number of images per step; on small data it is reduced so that an epoch has 100 steps, but not below
            32.
        max_epochs: maximum number of epochs.
        patience: epochs without improvement after which a network stops.
        seed: seed of the initial weights and the order of images; the global random state is not changed.
    """

    hidden: PositiveInt | None = None
    weight_decay: tuple[NonNegativeFloat, ...] = (0.0, 0.1, 1.0)
    learning_rate: PositiveFloat = 1e-3
    batch_size: PositiveInt = 512
    max_epochs: PositiveInt = 100
    patience: PositiveInt = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weight_decay or max(self.weight_decay) >= 1 / self.learning_rate:
            raise UserError(
                f"mlp_probe: weight_decay must be one or more numbers below 1 / learning_rate = "
                f"{1 / self.learning_rate:g}, got {list(self.weight_decay)}"
            )

    def __call__(self, task: Task) -> list[dict[str, float]]:
        """``mlp_probe/accuracy`` in percent on test and the chosen ``weight_decay`` and ``epochs``, for each target."""
        task.scaling()  # a sum over all processes, so it is computed before they work on different jobs
        # One process does a job: the networks of all weight decays if they are small, else those of one.
        weights = task.num_targets * (self.hidden or task.train.dim) * (task.train.dim + task.num_classes)
        small = len(self.weight_decay) * weights <= TOGETHER
        jobs = [self.weight_decay] if small else [(decay,) for decay in self.weight_decay]
        found = [choice for part in share_out([partial(self._search, task, job) for job in jobs]) for choice in part]
        choices = [max(found[t :: task.num_targets], key=lambda choice: choice[:2]) for t in range(task.num_targets)]
        tested = share_out([partial(self._refit, task, job, choices) for job in jobs])
        accuracies = {target: value for one in tested for target, value in one.items()}
        return [
            {
                "mlp_probe/accuracy": accuracies[target],
                "mlp_probe/weight_decay": choice.weight_decay,
                "mlp_probe/epochs": float(choice.epochs),
            }
            for target, choice in enumerate(choices)
        ]

    def _search(self, task: Task, decays: Sequence[float]) -> list[Choice]:
        """Best epoch on validation for each weight decay and target, in this order."""
        settings = [(target, decay) for decay in decays for target in range(task.num_targets)]
        best = {one: Choice(-1.0, 0.0, one[1], 0) for one in settings}
        for epoch, networks in enumerate(islice(self._train(task, (task.train,), settings), self.max_epochs), start=1):
            scores = networks.scores(task.validation).tolist()
            for one, (right, likelihood) in zip(networks.settings, scores, strict=True):
                if (right, likelihood) > best[one][:2]:
                    best[one] = Choice(right, likelihood, one[1], epoch)
            if not _keep(networks, [epoch - best[one].epochs < self.patience for one in networks.settings]):
                break
        return list(best.values())

    def _refit(self, task: Task, decays: Sequence[float], choices: Sequence[Choice]) -> dict[int, float]:
        """Test accuracy in percent of the targets that chose one of these weight decays, by target."""
        settings = [(t, one.weight_decay) for t, one in enumerate(choices) if one.weight_decay in decays]
        accuracies: dict[int, float] = {}
        for epoch, networks in enumerate(self._train(task, task.fitting, settings) if settings else (), start=1):
            more = [choices[target].epochs > epoch for target, _ in networks.settings]
            if not all(more):
                scores = networks.scores(task.test)[:, 0].tolist()
                ended = zip(networks.settings, scores, more, strict=True)
                accuracies |= {target: 100 * score for (target, _), score, go_on in ended if not go_on}
            if not _keep(networks, more):
                break
        return accuracies

    def _train(self, task: Task, parts: Sequence[Rows], settings: Sequence[tuple[int, float]]) -> Iterator[Networks]:
        """Yield the networks, one for each target and weight decay, after every epoch on the parts, endlessly."""
        generator = Generator().manual_seed(self.seed)
        scaling = task.scaling()
        parts = [rows.exact() for rows in parts]
        dtype = scaling.precision(parts[0].dtype)
        networks = Networks(
            scaling.mean.to(dtype),
            scaling.deviation.where(scaling.varies, torch.inf).to(dtype),
            settings,
            hidden=self.hidden or task.train.dim,
            num_classes=task.num_classes,
            learning_rate=self.learning_rate,
            generator=generator,
        )
        batch_size = min(self.batch_size, max(32, sum(map(len, parts)) // 100))
        while True:
            for x, y in minibatches(parts, batch_size, generator):
                networks.step(x, y)
            yield networks


def _keep(networks: Networks, which: Sequence[bool]) -> bool:
    """Drop the networks whose training has ended; return whether any is left."""
    if not all(which) and any(which):
        networks.keep(which)
    return any(which)
