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


class Networks:
    """Independently trained Linear-ReLU-Linear networks, one per target, stored in one set of tensors.

    All networks have the same initial weights, distributed as in PyTorch's nn.Linear: uniform within
    ``1 / sqrt(fan_in)``.

    Args:
        mean: mean ``(d,)`` that is subtracted from the features, in the type of the computation.
        deviation: deviation ``(d,)`` by which the centred features are divided, one minibatch at a time, so that no
            split is copied; infinite if a feature is constant, so that it has no effect.
        targets: columns of the labels, one per network.
        hidden: number of hidden units.
        num_classes: number of classes, C.
        learning_rate: learning rate of Adam.
        weight_decay: decoupled weight decay of the weights, not the biases.
        generator: random generator of the initial weights, on the CPU so that they are the same on every device.
    """

    def __init__(
        self,
        mean: Tensor,
        deviation: Tensor,
        targets: Tensor,
        *,
        hidden: int,
        num_classes: int,
        learning_rate: float,
        weight_decay: float,
        generator: Generator,
    ) -> None:
        self.mean, self.scale, self.targets = mean, 1 / deviation, targets

        def uniform(fan_in: int, *shape: int) -> Tensor:
            values = torch.empty(shape).uniform_(-1 / sqrt(fan_in), 1 / sqrt(fan_in), generator=generator)
            return values.to(mean.device).repeat(len(targets), 1, 1).requires_grad_()

        dim = len(mean)
        self.weight_1, self.bias_1 = uniform(dim, 1, hidden, dim), uniform(dim, 1, hidden, 1)
        self.weight_2, self.bias_2 = uniform(hidden, 1, num_classes, hidden), uniform(hidden, 1, num_classes, 1)
        decayed = {"params": [self.weight_1, self.weight_2], "weight_decay": weight_decay}
        self.adam = torch.optim.AdamW(
            [decayed, {"params": [self.bias_1, self.bias_2], "weight_decay": 0.0}], lr=learning_rate, fused=True
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Logits ``(T, C, N)`` of features ``(N, d)``."""
        x = ((x.to(self.scale.dtype) - self.mean) * self.scale).float()
        # The first layer is one matrix product for all networks, since they have the same input. Images are columns, so
        # that classes are rows in the products of the backward pass; with classes as columns these would be slow.
        hidden = torch.addmm(self.bias_1.flatten(0, 1), self.weight_1.flatten(0, 1), x.T).relu()
        return torch.baddbmm(self.bias_2, self.weight_2, hidden.unflatten(0, (len(self.targets), -1)))

    def step(self, x: Tensor, y: Tensor) -> None:
        """One step of Adam on features ``(B, d)`` and labels ``(B, number of all targets)``."""
        # Sum of the mean losses of all networks, so that each network has the gradient of its own loss.
        loss = len(self.targets) * F.cross_entropy(self(x), y[:, self.targets].T)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def keep(self, which: Tensor) -> None:
        """Drop the networks for which ``which``, bool ``(T,)``, is false."""
        self.targets = self.targets[which]
        for group in self.adam.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
                parameter.data = parameter.data[which]
                state = self.adam.state[parameter]
                state.update({name: state[name][which] for name in ("exp_avg", "exp_avg_sq")})

    @torch.no_grad()
    def scores(self, rows: Rows, size: int) -> Tensor:
        """Accuracy in ``[0, 1]`` and mean log-likelihood of each network, float64 ``(T, 2)``, `size` rows at a time."""
        total = torch.zeros(len(self.targets), 2, dtype=torch.float64, device=self.mean.device)
        rows = rows.exact()
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
        # A job is all networks of one weight decay; one process does it.
        found = share_out([partial(self._search, task, decay) for decay in self.weight_decay])
        choices = [max(one, key=lambda choice: choice[:2]) for one in zip(*found, strict=True)]
        decays = sorted({choice.weight_decay for choice in choices})
        tested = share_out([partial(self._refit, task, decay, choices) for decay in decays])
        accuracies = {target: value for one in tested for target, value in one.items()}
        return [
            {
                "mlp_probe/accuracy": accuracies[target],
                "mlp_probe/weight_decay": choice.weight_decay,
                "mlp_probe/epochs": float(choice.epochs),
            }
            for target, choice in enumerate(choices)
        ]

    def _search(self, task: Task, weight_decay: float) -> list[Choice]:
        """Best epoch on validation of each target at one weight decay."""
        best = [Choice(-1.0, 0.0, weight_decay, 0)] * task.num_targets
        training = self._train(task, (task.train,), list(range(task.num_targets)), weight_decay)
        for epoch, networks in enumerate(islice(training, self.max_epochs), start=1):
            targets = networks.targets.tolist()
            scores = networks.scores(task.validation, self.batch_size).tolist()
            for target, (right, likelihood) in zip(targets, scores, strict=True):
                if (right, likelihood) > best[target][:2]:
                    best[target] = Choice(right, likelihood, weight_decay, epoch)
            if not _keep(networks, [epoch - best[target].epochs < self.patience for target in targets]):
                break
        return best

    def _refit(self, task: Task, weight_decay: float, choices: Sequence[Choice]) -> dict[int, float]:
        """Test accuracy in percent of the targets that chose this weight decay, by target."""
        chosen = [target for target, choice in enumerate(choices) if choice.weight_decay == weight_decay]
        accuracies: dict[int, float] = {}
        for epoch, networks in enumerate(self._train(task, task.fitting, chosen, weight_decay), start=1):
            targets = networks.targets.tolist()
            more = [choices[target].epochs > epoch for target in targets]
            if not all(more):
                scores = networks.scores(task.test, self.batch_size)[:, 0].tolist()
                accuracies |= {t: 100 * s for t, s, go_on in zip(targets, scores, more, strict=True) if not go_on}
            if not _keep(networks, more):
                break
        return accuracies

    def _train(
        self, task: Task, parts: Sequence[Rows], targets: Sequence[int], weight_decay: float
    ) -> Iterator[Networks]:
        """Yield the networks of the targets after every epoch on the parts, endlessly."""
        generator = Generator().manual_seed(self.seed)
        scaling = task.scaling()
        parts = [rows.exact() for rows in parts]
        dtype = scaling.precision(parts[0].dtype)
        networks = Networks(
            scaling.mean.to(dtype),
            scaling.deviation.where(scaling.varies, torch.inf).to(dtype),
            torch.tensor(targets, device=task.device),
            hidden=self.hidden or task.train.dim,
            num_classes=task.num_classes,
            learning_rate=self.learning_rate,
            weight_decay=weight_decay,
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
        networks.keep(torch.tensor(which, device=networks.targets.device))
    return any(which)
