"""Losses of embeddings of several views of each image; each states its reduction and its use of other ranks.

Embeddings are L2-normalised, ``(V, N, d)``: V views of this process's N images. The negatives of a contrastive loss are
images of all processes. Embeddings are gathered with gradients, and the loss of a process covers its own images. The
mean of the processes' gradients then equals the gradient of one process with all images. Every process must have the
same number of images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_bench.distributed import gather, rank
from ssl_bench.ranges import PositiveFloat, check_ranges


def of_all_ranks(z: Tensor) -> Tensor:
    """Embeddings ``(V, N, d)`` of every process: ``(V, W N, d)``, with gradients."""
    return gather(z.transpose(0, 1)).transpose(0, 1)


@check_ranges
def info_nce(z: Tensor, temperature: PositiveFloat) -> Tensor:
    """InfoNCE of two views, whose negatives are other images in the *other* view: mean over images and directions.

    Eq. 5 of "Constructive Assimilation" (Han et al.), divided by 2 N as in its released code. Each term is the
    cross-entropy of one embedding over the other view's embeddings of all images.

    Args:
        z: L2-normalised ``(2, N, d)``.
        temperature: divisor of the cosine similarities.
    """
    first, second = of_all_ranks(z)
    n = z.shape[1]
    own = torch.arange(n, device=z.device) + n * rank()
    one, other = z[0] @ second.T / temperature, z[1] @ first.T / temperature
    return (F.cross_entropy(one, own) + F.cross_entropy(other, own)) / 2


@check_ranges
def nt_xent(z: Tensor, temperature: PositiveFloat) -> Tensor:
    """NT-Xent loss of V views: mean over this rank's V N embeddings, each contrasted with all others of all ranks.

    With two views it is SimCLR's loss (Chen et al. 2020, arXiv 2002.05709, Eq. 1). With V > 2 views, each embedding has
    V - 1 positives, and their log-probabilities are averaged. This is the loss L_out of SupCon (Khosla et al. 2020,
    arXiv 2004.11362, Eq. 2), each image being its own class. The released code of "Constructive Assimilation" calls it
    A2-full. Eq. 6 of that paper differs: it has an extra minus sign, and generated views are neither anchors nor in the
    denominators, so that its ratios are not probabilities.

    Args:
        z: L2-normalised ``(V, N, d)``, V > 1.
        temperature: divisor of the cosine similarities.
    """
    views, n, _ = z.shape
    everyone = of_all_ranks(z)
    total = everyone.shape[1]
    logits = z.flatten(0, 1) @ everyone.flatten(0, 1).T / temperature
    image = torch.arange(n, device=z.device) + n * rank()
    view = torch.arange(views, device=z.device)
    # Columns of each anchor's image: first the anchor, then the other views.
    columns = (view[:, None] + view) % views * total
    columns = (columns[:, None] + image[:, None]).flatten(0, 1)
    itself, positives = columns[:, :1], columns[:, 1:]
    logits = logits.scatter(1, itself, -torch.inf)
    return -(logits.gather(1, positives).mean(1) - logits.logsumexp(1)).mean()


@check_ranges
def moco(q: Tensor, k: Tensor, queue: Tensor, temperature: PositiveFloat) -> Tensor:
    """MoCo's InfoNCE of queries with their keys, whose negatives are the keys in a queue: mean over this rank's images.

    Eq. 1 of MoCo (He et al. 2020, arXiv 1911.05722), with the positive logit in the first column. There is no
    communication between ranks: every rank has the same queue.

    Args:
        q: L2-normalised queries ``(N, d)``.
        k: L2-normalised keys ``(N, d)`` of the same images; no gradient flows to them.
        queue: L2-normalised keys ``(K, d)`` of other images.
        temperature: divisor of the cosine similarities.
    """
    positive = (q * k.detach()).sum(1, keepdim=True)
    logits = torch.cat([positive, q @ queue.detach().T], dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(q), dtype=torch.int64))


@torch.no_grad()
def nearest(z: Tensor, queue: Tensor) -> Tensor:
    """NN(z, Q) of NNCLR (Dwibedi et al. 2021, arXiv 2104.14548, Eq. 2): nearest rows of a queue, ``(N, d)``.

    Args:
        z: L2-normalised ``(N, d)``.
        queue: L2-normalised ``(K, d)``.
    """
    return queue[(z @ queue.T).argmax(1)]


@check_ranges
def neighbour_contrast(neighbours: Tensor, predictions: Tensor, temperature: PositiveFloat) -> Tensor:
    """NNCLR's loss (Dwibedi et al. 2021, arXiv 2104.14548, Eq. 3): mean over this rank's images.

    Each neighbour is classified among the predictions of the images of all ranks. Gradients flow to the predictions
    only, which are gathered with gradients. Predictions are not classified among neighbours in turn.

    Args:
        neighbours: L2-normalised nearest neighbours ``(N, d)`` of one view.
        predictions: L2-normalised predictions ``(N, d)`` from the other view.
        temperature: divisor of the cosine similarities.
    """
    own = torch.arange(len(neighbours), device=neighbours.device) + len(neighbours) * rank()
    return F.cross_entropy(neighbours.detach() @ gather(predictions).T / temperature, own)


@check_ranges
def alignment(anchors: Tensor, positives: Tensor, temperature: PositiveFloat) -> Tensor:
    """L_align without alpha: mean cosine similarity of two expert views with additional positives, over temperature.

    Eq. 3 of "Constructive Assimilation", divided by 2 N like `info_nce`. The paper's released code for CIFAR-10 uses
    the first expert view only; the expectation is the same, but the value is noisier. There is no communication between
    ranks, because the mean of the gradients over processes is the gradient of the mean.

    Args:
        anchors: L2-normalised ``(V, N, d)``.
        positives: L2-normalised ``(K, N, d)``, K > 0.
        temperature: divisor of the cosine similarities.
    """
    return (anchors.mean(0) * positives.mean(0)).sum(1).mean() / temperature


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """SimSiam's D: the mean of -cos(prediction, target) over ``(..., N)``, without gradient of the target.

    Args:
        prediction: ``(..., N, d)``.
        target: ``(..., N, d)``.
    """
    return -F.cosine_similarity(prediction, target.detach(), dim=-1).mean()


def simsiam(predictions: Tensor, z: Tensor) -> Tensor:
    """SimSiam's loss (Chen & He 2020, arXiv 2011.10566, Eq. 2): each view predicts the other; a scalar.

    There is no communication between ranks.

    Args:
        predictions: ``(2, N, d)``.
        z: projections ``(2, N, d)``.
    """
    return negative_cosine(predictions, z.flip(0))


def byol(predictions: Tensor, targets: Tensor) -> Tensor:
    """BYOL's loss (Grill et al. 2020, arXiv 2006.07733, Eq. 2), both directions added; a scalar in [0, 8].

    ``||p - z||^2`` of L2-normalised vectors, which is ``2 - 2 cos(p, z)``: a mean over images and a sum over the two
    directions. No gradient flows to the targets, and there is no communication between ranks.

    Args:
        predictions: the student's predictions from each view, ``(2, N, d)``.
        targets: the teacher's projections of each view, ``(2, N, d)``.
    """
    return 4 + 4 * negative_cosine(predictions, targets.flip(0))


def simsiam_alignment(predictions: Tensor, z: Tensor) -> Tensor:
    """A2's alignment for SimSiam, without alpha: additional positives predict both expert views; a scalar.

    Eq. 8 of "Constructive Assimilation", where D is the negative cosine. The paper calls D the cosine similarity; its
    objective would then decrease the similarity. The value is averaged over views and images like SimSiam's loss. There
    is no communication between ranks.

    Args:
        predictions: predictions from the additional positives, ``(K, N, d)``.
        z: projections of the expert views, ``(V, N, d)``.
    """
    return negative_cosine(*torch.broadcast_tensors(predictions[:, None], z[None]))
