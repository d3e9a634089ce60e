"""Mutual information of two views of an image, estimated by MINE (Belghazi et al. 2018, arXiv 1801.04062)."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_bench.data.contents import ImageSet
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.generation.settings import MineSettings
from ssl_bench.losses.mutual_information import donsker_varadhan
from ssl_bench.networks.resnet import ResNetEncoder
from ssl_bench.ranges import PositiveInt, check_ranges

Marginal = Literal["all_pairs", "shuffle"]
View = Callable[[Tensor, Tensor], Tensor]
"""From images ``(N, ...)`` and their ids int64 ``(N,)`` to one normalised view of each, ``(N, C, H, W)``."""
Pairs = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From indices int64 ``(N,)`` to the two parts x and y of these samples, ``(N, ...)`` each, on the device."""


@check_ranges
class Critic(nn.Module):
    """The critic T(x, y): one trunk for x and y, then Linear-ReLU-Linear on their concatenated features.

    Args:
        trunk: network from x or y ``(N, ...)`` to features ``(N, d)``.
        feature_dim: length d of the features.
        hidden: width of the hidden layer.
        marginal: pairs that represent the product of the marginals. With ``all_pairs``, each x is paired with each y of
            the batch, including its own. The bound is then at most the logarithm of the batch size. For samples that
            the critic was not trained on, it is on average at most the mutual information, see `donsker_varadhan`. With
            ``shuffle``, each x is paired with a y that is sampled from the batch with replacement, as in the released
            code. The bound has no upper limit in a batch where no x is paired with its own y. With a permutation
            without fixed points, such as a roll, it increases without limit on images.
    """

    def __init__(
        self, trunk: nn.Module, feature_dim: PositiveInt, hidden: PositiveInt = 512, marginal: Marginal = "all_pairs"
    ):
        super().__init__()
        self.trunk, self.marginal = trunk, marginal
        self.hidden = nn.Linear(2 * feature_dim, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return joint scores ``(N,)`` and marginal scores, ``(N, N)`` or, for shuffle, ``(N,)``, of ``(N, ...)``."""
        features = self.trunk(torch.cat([x, y]))
        # A linear layer of a concatenation is a sum of two linear layers, each evaluated for N rows, not for N^2 pairs.
        weight_x, weight_y = self.hidden.weight.chunk(2, 1)
        a, b = features.chunk(2)
        a, b = F.linear(a, weight_x, self.hidden.bias), F.linear(b, weight_y)
        if self.marginal == "all_pairs":
            scores = self.score(a.unsqueeze(1), b)
            return scores.diagonal(), scores
        return self.score(a, b), self.score(a, b[torch.randint(len(b), (len(b),), device=b.device)])

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """Return T ``(...)`` from the hidden layer's outputs ``(..., hidden)`` for x and for y."""
        scores: Tensor = self.out((a + b).relu()).squeeze(-1)
        return scores


def train_critic(
    pairs: Pairs, count: int, critic: Critic, settings: MineSettings, device: torch.device | str = "cpu"
) -> float:
    """Train the critic by Adam and return the estimated mutual information in nats.

    As in "Constructive Assimilation", the estimate is computed on the samples that the critic was trained on. If there
    are few samples and the critic has memorised them, the estimate may exceed the mutual information.

    Args:
        pairs: given indices, returns the samples. It is called once for each batch, so that random views are new.
        count: number of samples.
        critic: the critic, trained in place.
        settings: see `MineSettings`. After the training epochs, one epoch in evaluation mode gives the estimate, which
            is the mean of the bounds of the batches. A last batch of fewer samples is dropped. The seed determines the
            order of the samples and random views; torch's generators are restored afterwards.
        device: device of the critic.

    Raises:
        UserError: there are fewer samples than a batch has, or the bound is non-finite.
    """
    if settings.batch_size > count:
        raise UserError(
            f"information: batches of {settings.batch_size} of {count} images: give a batch size from 2 to {count}"
        )
    critic = critic.to(device)
    optimizer = torch.optim.Adam(critic.parameters(), settings.lr)
    bounds = torch.zeros(0)
    with seeded(settings.seed, device):
        for epoch in range(settings.epochs + 1):
            training = epoch < settings.epochs
            critic.train(training)
            batch_bounds = []
            for ids in torch.randperm(count).split(settings.batch_size)[: count // settings.batch_size]:
                with torch.set_grad_enabled(training):
                    bound = donsker_varadhan(*critic(*pairs(ids)))
                if training:
                    optimizer.zero_grad()
                    (-bound).backward()
                    optimizer.step()
                batch_bounds.append(bound.detach())
            bounds = torch.stack(batch_bounds)
            if not bounds.isfinite().all():
                raise UserError(
                    f"information: the bound is not finite in epoch {epoch + 1}: give a lower lr than {settings.lr}"
                )
    return bounds.mean().item()


@contextmanager
def seeded(seed: int, device: torch.device | str) -> Iterator[None]:
    """Seed torch's generators, of the CPU and of a device, and restore them afterwards."""
    with torch.random.fork_rng([device] if torch.device(device).type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def mutual_information(
    first: View,
    second: View,
    images: ImageSet,
    settings: MineSettings,
    *,
    device: torch.device | str = "cpu",
) -> float:
    """Estimate the mutual information, in nats, of two kinds of views of the same images, by a ResNet-18 from scratch.

    With ``marginal: all_pairs``, the estimate is at most ``log(batch_size)``. If it is close to this limit, the mutual
    information may be greater. As in Table 4 of "Constructive Assimilation", the estimate is computed on the images
    that the critic was trained on; it may therefore exceed the mutual information.

    Args:
        first: makes one view of each image.
        second: makes one view of each image, of the second kind.
        images: the images; their ids are their positions in the set.
        settings: see `MineSettings`; the seed also determines the initial weights of the critic.
        device: device of the views and the critic.
    """

    def pairs(ids: Tensor) -> tuple[Tensor, Tensor]:
        batch = images[ids]
        pixels, positions = batch.images.to(device), batch.ids.to(device)
        return first(pixels, positions), second(pixels, positions)

    with seeded(settings.seed, device):
        trunk = ResNetEncoder(tuple(pairs(torch.arange(1))[0].shape[1:]), 0, settings.width)
        critic = Critic(trunk, trunk.feature_dim, marginal=settings.marginal)
    return train_critic(pairs, len(images), critic, settings, device)


def kinds_of_views(views: Views, source: Callable[[Tensor, Tensor], Tensor]) -> dict[str, View]:
    """Return the three kinds of views that Table 4 compares, by name: original, generated and expert.

    Args:
        views: makes the expert views.
        source: source of generated views: images and ids to ``(J, N, C, H, W)``, uint8 or in [0, 1]; the first view is
            used, without augmentation.
    """

    def generated(images: Tensor, ids: Tensor) -> Tensor:
        view = source(images, ids)[0]
        return views.from_image(view if view.is_floating_point() else view / 255)

    return {
        "original": lambda images, _: views.evaluation_input(images),
        "generated": generated,
        "expert": lambda images, ids: views(images, ids)[0],
    }


def mutual_information_table(
    kinds: dict[str, View], images: ImageSet, settings: MineSettings, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Estimate the mutual information, in nats, of each pair of kinds of views.

    Returns:
        The estimates by names such as ``original_expert``, and ``ceiling``, the logarithm of the batch size, if no
        estimate exceeds it.
    """
    nats = {}
    for (name, view), (other, other_view) in combinations(kinds.items(), 2):
        nats[f"{name}_{other}"] = mutual_information(view, other_view, images, settings, device=device)
        logging.getLogger(__name__).info("%s and %s: %.2f nats", name, other, nats[f"{name}_{other}"])
    return nats | ({"ceiling": math.log(settings.batch_size)} if settings.marginal == "all_pairs" else {})
