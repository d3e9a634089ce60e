"""Losses of embeddings of several views of each image; each says what it is averaged over and what ranks do.

Embeddings are L2-normalised, ``(V, N, d)``: V views of this process's N images. Where images are told from each other,
the others are those of all processes: embeddings are gathered with gradients, each process's loss is of its own images,
and the mean of the processes' gradients is that of one process with all images. Every process has as many images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.distributed import gather, rank


def of_all_ranks(z: Tensor) -> Tensor:
    """Embeddings ``(V, N, d)`` of every process: ``(V, W N, d)``, with gradients."""
    return gather(z.transpose(0, 1)).transpose(0, 1)


def info_nce(z: Tensor, temperature: float) -> Tensor:
    """InfoNCE whose negatives are other images' *other* views, a scalar: the mean over images and both directions.

    Eq. 5 of "Constructive Assimilation" (Han et al.), divided by 2 N as in its released code: cross-entropy of each
    view among all images' other views.

    Args:
        z: L2-normalised ``(2, N, d)``.
        temperature: that cosines are divided by, > 0.
    """
    first, second = of_all_ranks(z)
    n = z.shape[1]
    own = torch.arange(n, device=z.device) + n * rank()
    one, other = z[0] @ second.T / temperature, z[1] @ first.T / temperature
    return (F.cross_entropy(one, own) + F.cross_entropy(other, own)) / 2


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent over V views, a scalar: the mean over all V N embeddings, each told from all other V N - 1.

    Of two views it is SimCLR's (Chen et al. 2020, arXiv 2002.05709, Eq. 1). Of more, each has V - 1 positives whose
    log-probabilities are averaged: SupCon's L_out (Khosla et al. 2020, arXiv 2004.11362, Eq. 2), every image a class of
    its own, which is A2-full of "Constructive Assimilation" as released. Its Eq. 6 has a minus too many, and leaves
    generated views out of the anchors and the denominators, so that what it calls probabilities need not be below 1.

    Args:
        z: L2-normalised ``(V, N, d)``, V > 1.
        temperature: that cosines are divided by, > 0.
    """
    views, n, _ = z.shape
    everyone = of_all_ranks(z)
    total = everyone.shape[1]
    logits = z.flatten(0, 1) @ everyone.flatten(0, 1).T / temperature
    image = torch.arange(n, device=z.device) + n * rank()
    view = torch.arange(views, device=z.device)
    # Columns of each anchor's image: first itself, then its other views.
    columns = (view[:, None] + view) % views * total
    columns = (columns[:, None] + image[:, None]).flatten(0, 1)
    itself, positives = columns[:, :1], columns[:, 1:]
    logits = logits.scatter(1, itself, -torch.inf)
    return -(logits.gather(1, positives).mean(1) - logits.logsumexp(1)).mean()


def alignment(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Mean cosine of two expert views with further positives, over the temperature: L_align without alpha, a scalar.

    Eq. 3 of "Constructive Assimilation", divided by 2 N as its InfoNCE is; its released code for CIFAR-10 takes the
    first expert view alone, which is the same in expectation and noisier. It needs no other rank: the mean of
    gradients over processes is the gradient of the mean.

    Args:
        anchors: L2-normalised ``(V, N, d)``.
        positives: L2-normalised ``(K, N, d)``, K > 0.
        temperature: that cosines are divided by, > 0.
    """
    return (anchors.mean(0) * positives.mean(0)).sum(1).mean() / temperature


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """-cos(prediction, target), averaged over ``(..., N)``; no gradient goes to the target (SimSiam's D, a scalar).

    Args:
        prediction: ``(..., N, d)``.
        target: ``(..., N, d)``.
    """
    return -F.cosine_similarity(prediction, target.detach(), dim=-1).mean()


def simsiam(predictions: Tensor, z: Tensor) -> Tensor:
    """SimSiam's loss (Chen & He 2020, arXiv 2011.10566, Eq. 2): each view predicts the other, a scalar; of one rank.

    Args:
        predictions: ``(2, N, d)``.
        z: projections ``(2, N, d)``.
    """
    return negative_cosine(predictions, z.flip(0))


def simsiam_alignment(predictions: Tensor, z: Tensor) -> Tensor:
    """What A2 adds to SimSiam's loss, without alpha: further views predict both expert ones, a scalar; of one rank.

    Eq. 8 of "Constructive Assimilation" with D the negative cosine; the paper calls it cosine similarity, which its sum
    would then lower. Averaged over views and images as the loss it is added to.

    Args:
        predictions: of the further views, ``(K, N, d)``.
        z: projections of the expert views, ``(V, N, d)``.
    """
    return negative_cosine(*torch.broadcast_tensors(predictions[:, None], z[None]))
