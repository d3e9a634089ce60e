"""Linear-ReLU-Linear, epoch and weight decay chosen on validation (after SimVAE, arXiv 2402.01399)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.errors import UserError
from ssl_bench.evaluation.task import Task, accuracy


class Networks:
    """M independent Linear-ReLU-Linear networks in one set of tensors, all with the same initial weights.

    Initial weights are PyTorch's for nn.Linear, uniform within ``1 / sqrt(fan_in)``.
    """

    def __init__(self, count: int, sizes: tuple[int, int, int], generator: torch.Generator) -> None:
        self.count, (inputs, hidden, outputs) = count, sizes

        def uniform(fan_in: int, *shape: int) -> Tensor:
            values = torch.empty(shape, device=generator.device)
            return values.uniform_(-1 / sqrt(fan_in), 1 / sqrt(fan_in), generator=generator)

        # The first layer is one matrix product for all networks, because they see the same images.
        self.weight_1 = uniform(inputs, hidden, inputs).repeat(count, 1).requires_grad_()
        self.bias_1 = uniform(inputs, hidden).repeat(count).requires_grad_()
        self.weight_2 = uniform(hidden, 1, hidden, outputs).repeat(count, 1, 1).requires_grad_()
        self.bias_2 = uniform(hidden, 1, 1, outputs).repeat(count, 1, 1).requires_grad_()

    def parameters(self) -> list[Tensor]:
        """All trainable tensors."""
        return [self.weight_1, self.bias_1, self.weight_2, self.bias_2]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits ``(M, N, C)`` of ``(N, d)``."""
        hidden = F.linear(x, self.weight_1, self.bias_1).relu().view(len(x), self.count, -1)
        return torch.baddbmm(self.bias_2, hidden.transpose(0, 1), self.weight_2)

    @torch.no_grad()
    def shrink(self, factors: Tensor) -> None:
        """Multiply network m's weights, not its biases, by ``factors[m]``."""
        self.weight_1.view(self.count, -1, self.weight_1.shape[1]).mul_(factors.view(-1, 1, 1))
        self.weight_2.mul_(factors.view(-1, 1, 1))

    @torch.no_grad()
    def predict(self, x: Tensor, rows: int = 4096) -> Tensor:
        """Logits ``(M, N, C)`` without a graph, ``rows`` images at a time."""
        return torch.cat([self(part) for part in torch.split(x, rows)], dim=1)


@dataclass(frozen=True)
class MLPProbe:
    """Linear-ReLU-Linear on features standardised by the train split, trained by Adam at a constant rate.

    One network for every weight decay (decoupled, weights only) trains on the train split, all at once, until none
    has improved for ``patience`` epochs. The weight decay and number of epochs with the best validation accuracy
    (then the lower validation cross-entropy) are trained anew on train + validation and scored on test. SimVAE
    (arXiv 2402.01399, section 6) uses Adam at 3e-4 in batches of 64 for 200 epochs and reports the best epoch on test.

    Args:
        hidden: hidden units; None for as many as features.
        weight_decay: values to choose from, each in ``[0, 1 / learning_rate)``.
        learning_rate: of Adam.
        batch_size: images in a step; fewer on small data, where an epoch would have under 100 steps, but at least 32.
        max_epochs: most epochs.
        patience: epochs without improvement before training stops.
        seed: of the initial weights and the order of the images; the global random state is left alone.
    """

    hidden: int | None = None
    weight_decay: tuple[float, ...] = (0.0, 0.1, 1.0)
    learning_rate: float = 1e-3
    batch_size: int = 512
    max_epochs: int = 100
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weight_decay or min(self.weight_decay) < 0:
            raise UserError(f"mlp_probe: weight_decay = {list(self.weight_decay)}; give one or more, none below 0")
        for name in ("batch_size", "max_epochs", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"mlp_probe: {name} = {getattr(self, name)}; give a whole number of at least 1")

    def __call__(self, task: Task) -> dict[str, float]:
        """``mlp_probe/accuracy`` in percent on test, and the ``weight_decay`` and ``epochs`` that were chosen."""
        x, test_x = task.standardised()
        y = task.fitting_y()
        train = slice(len(task.train_x))
        best = [(-1.0, 0.0, 0)] * len(self.weight_decay)  # accuracy, -cross-entropy, epochs of each network
        improved = 0
        epochs = self._train(x[train], y[train], task.num_classes, self.weight_decay)
        for epoch, networks in enumerate(islice(epochs, self.max_epochs), start=1):
            logits = networks.predict(x[train.stop :])
            for m, score in enumerate(_scores(logits, task.validation_y)):
                if score > best[m][:2]:
                    best[m], improved = (*score, epoch), epoch
            if epoch - improved >= self.patience:
                break
        chosen = max(range(len(best)), key=lambda m: best[m][:2])
        weight_decay, epoch = self.weight_decay[chosen], best[chosen][2]
        refit = self._train(x, y, task.num_classes, (weight_decay,))
        networks = next(islice(refit, epoch - 1, None))
        return {
            "mlp_probe/accuracy": accuracy(networks.predict(test_x)[0].argmax(1), task.test_y),
            "mlp_probe/weight_decay": weight_decay,
            "mlp_probe/epochs": float(epoch),
        }

    def _train(self, x: Tensor, y: Tensor, num_classes: int, decays: tuple[float, ...]) -> Iterator[Networks]:
        """The networks, one for each weight decay, after every further epoch on x ``(N, d)`` and y ``(N,)``."""
        generator = torch.Generator(x.device).manual_seed(self.seed)
        networks = Networks(len(decays), (x.shape[1], self.hidden or x.shape[1], num_classes), generator)
        adam = torch.optim.Adam(networks.parameters(), lr=self.learning_rate, fused=True)
        factors = 1 - self.learning_rate * torch.tensor(decays, device=x.device)
        batch_size = min(self.batch_size, max(32, len(x) // 100))
        while True:
            order = torch.randperm(len(x), device=x.device, generator=generator)
            for rows in torch.split(order, batch_size):
                logits = networks(x[rows]).flatten(0, 1)
                # The sum over networks of their mean losses: each has the gradient it would have alone.
                loss = len(decays) * F.cross_entropy(logits, y[rows].repeat(len(decays)))
                adam.zero_grad()
                loss.backward()
                adam.step()
                networks.shrink(factors)
            yield networks


def _scores(logits: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """Accuracy and negative cross-entropy of each network's logits ``(M, N, C)``; the larger pair is the better."""
    right = (logits.argmax(2) == y).double().mean(1)
    loss = F.cross_entropy(logits.transpose(1, 2), y.expand(len(logits), -1), reduction="none").double().mean(1)
    return list(zip(right.tolist(), (-loss).tolist(), strict=True))
