"""How much two views of an image tell about each other: MINE (Belghazi et al. 2018, arXiv 1801.04062)."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.data.module import ImageSet
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.losses.mutual_information import donsker_varadhan
from ssl_bench.networks.resnet import ResNetEncoder

Marginal = Literal["all_pairs", "shuffle"]
View = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, ...)`` and their ids int64 ``(N,)`` to one normalised view of each, ``(N, C, H, W)``."""
Pairs = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From indices int64 ``(N,)`` to the two halves of those samples, ``(N, ...)`` each, on the device."""


class Critic(nn.Module):
    """T(x, y): one trunk for both halves, then Linear-ReLU-Linear on their features side by side.

    Args:
        trunk: from halves ``(N, ...)`` to features ``(N, d)``.
        feature_dim: d.
        hidden: width of the hidden layer.
        marginal: what stands for independent halves. ``all_pairs``: each with each of the batch, its own included,
            whose bound is never above the logarithm of the batch and, of samples that the critic was not trained on,
            on average not above the information, see `donsker_varadhan`.
            ``shuffle``: each with one drawn from the batch with replacement, as released; a batch where by chance none
            meets its own has no ceiling (one where none ever may, as in a roll, grows without end on images).
    """

    def __init__(self, trunk: nn.Module, feature_dim: int, hidden: int = 512, marginal: Marginal = "all_pairs"):
        super().__init__()
        self.trunk, self.marginal = trunk, marginal
        self.hidden = nn.Linear(2 * feature_dim, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of samples' halves ``(N, ...)``: joint ``(N,)``, marginal ``(N, N)`` or, by shuffle, ``(N,)``."""
        features = self.trunk(torch.cat([first, second]))
        # A linear layer of two vectors side by side is a sum, so that all pairs cost it no more than N do.
        ours, theirs = self.hidden.weight.chunk(2, 1)
        a, b = features.chunk(2)
        a, b = F.linear(a, ours, self.hidden.bias), F.linear(b, theirs)
        if self.marginal == "all_pairs":
            scores = self.score(a.unsqueeze(1), b)
            return scores.diagonal(), scores
        return self.score(a, b), self.score(a, b[torch.randint(len(b), (len(b),), device=b.device)])

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """T of halves that the hidden layer has seen, ``(..., hidden)`` each: ``(...)``."""
        return self.out((a + b).relu()).squeeze(-1)  # type: ignore[no-any-return]


def information(
    pairs: Pairs,
    count: int,
    critic: Critic,
    *,
    epochs: int = 10,
    batch_size: int = 256,
    lr: float = 5e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """Trains the critic by Adam and returns the information it finds, in nats, as "Constructive Assimilation" does.

    The figure is of the samples that the critic was trained on: where they are few and it knows them by heart, it may
    be above the information, up to ``log(batch_size)``.

    Args:
        pairs: the samples; called once for each batch, so that random views are drawn anew.
        count: how many samples there are.
        critic: in any state; trained in place.
        epochs: passes over the samples. One more, without training and in evaluation mode, gives the figure: the mean
            of the batches' bounds.
        batch_size: samples of a batch, >= 2; a last batch of fewer is left out. No bound exceeds its logarithm.
        lr: of Adam.
        seed: of the order, and of the views where they draw from torch's generators, which are left as they were.
        device: where the critic is trained.

    Raises:
        UserError: there are fewer samples than a batch has, or the bound is no number any more.
    """
    if not 2 <= batch_size <= count:
        raise UserError(f"information: batches of {batch_size} of {count} images: give a batch size from 2 to {count}")
    critic = critic.to(device)
    optimizer = torch.optim.Adam(critic.parameters(), lr)
    bounds = torch.zeros(0)
    with seeded(seed, device):
        for epoch in range(epochs + 1):
            training = epoch < epochs
            critic.train(training)
            found = []
            for ids in torch.randperm(count).split(batch_size)[: count // batch_size]:
                with torch.set_grad_enabled(training):
                    bound = donsker_varadhan(*critic(*pairs(ids)))
                if training:
                    optimizer.zero_grad()
                    (-bound).backward()
                    optimizer.step()
                found.append(bound.detach())
            bounds = torch.stack(found)
            if not bounds.isfinite().all():
                raise UserError(
                    f"information: the bound is not finite in epoch {epoch + 1}: give a lower rate than {lr}"
                )
    return bounds.mean().item()


@contextmanager
def seeded(seed: int, device: torch.device | str) -> Iterator[None]:
    """Torch's generators seeded inside, of the CPU and of that device, and afterwards as they were."""
    with torch.random.fork_rng([device] if torch.device(device).type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def measure(
    first: View,
    second: View,
    images: ImageSet,
    *,
    width: int = 64,
    marginal: Marginal = "all_pairs",
    epochs: int = 10,
    batch_size: int = 256,
    lr: float = 5e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """Mutual information of two kinds of views of the same images, in nats, by a ResNet-18 from scratch.

    At most ``log(batch_size)``, and close to it says only that there may be more. The figure is of the images that the
    critic was trained on, as in Table 4 of Constructive Assimilation, and so may be above the information.

    Args:
        first: makes one view of each image.
        second: likewise.
        images: whose views; their position in the set is the id that a view is told.
        width: of the ResNet.
        marginal: see `Critic`.
        epochs: see `information`, as for what follows.
        batch_size: of a step.
        lr: of Adam.
        seed: also of the critic's initial weights.
        device: where views are made and the critic is trained.
    """

    def pairs(ids: Tensor) -> tuple[Tensor, Tensor]:
        batch = images[ids]
        pixels, where = batch.images.to(device), batch.ids.to(device)
        return first(pixels, where), second(pixels, where)

    with seeded(seed, device):
        trunk = ResNetEncoder(tuple(pairs(torch.arange(1))[0].shape[1:]), 0, width)
        critic = Critic(trunk, trunk.feature_dim, marginal=marginal)
    return information(
        pairs, len(images), critic, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device
    )


def kinds(views: Views, source: Callable[[Tensor, Tensor], Tensor]) -> dict[str, View]:
    """The three kinds of views whose information Table 4 compares: original, generated and expert.

    Args:
        views: makes the expert views.
        source: of generated views: images and ids to ``(J, N, C, H, W)``, uint8 or in [0, 1]; the first one is taken,
            not augmented any further.
    """

    def generated(images: Tensor, ids: Tensor) -> Tensor:
        view = source(images, ids)[0]
        return views.from_image(view if view.is_floating_point() else view / 255)

    return {
        "original": lambda images, _: views.evaluation_input(images),
        "generated": generated,
        "expert": lambda images, ids: views(images, ids)[0],
    }


def table(of: dict[str, View], images: ImageSet, **settings: Any) -> dict[str, float]:
    """`measure` of every two kinds of views, by names such as ``original_expert``, and ``ceiling``, log of a batch."""
    found = {}
    for (name, view), (other, their) in combinations(of.items(), 2):
        found[f"{name}_{other}"] = measure(view, their, images, **settings)
        logging.getLogger(__name__).info("%s and %s: %.2f nats", name, other, found[f"{name}_{other}"])
    return found | {"ceiling": math.log(settings.get("batch_size", 256))}
