"""Exact k-nearest-neighbour search by all processes, in a bank that may be larger than memory."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.distributed import all_gather
from ssl_bench.evaluation.rows import Rows

Distance = Literal["cosine", "euclidean"]

TILE = 2**16
"""Number of bank rows in memory at a time. A bank in a file is read once."""
SCORES = {"cpu": 5 * 2**22, "cuda": 2**28}
"""Number of scores in memory at a time: 80 MiB, and 1 GiB on a GPU."""
GROUP = 32
"""Columns per group; the maxima of the groups are compared first."""


class Neighbours(NamedTuple):
    """The k rows of a bank that are nearest to each of Q queries, nearest first; ties are in the order of rows.

    Attributes:
        score: scores, float32 ``(Q, k)``, higher for nearer rows: |q| times the cosine similarity, or half of
            |q|^2 - |q - b|^2.
        row: row indices in the bank, int32 ``(Q, k)``.
    """

    score: Tensor
    row: Tensor


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``topk`` of a wide matrix: the k largest values of each row, decreasing, and their columns, ``(Q, k)`` each.

    The k largest values lie in the k groups of columns with the largest maxima. Computing the maxima takes a tenth of
    the time of ``topk``.
    """
    rows, width = scores.shape
    size = GROUP if width >= 2 * GROUP * k else GROUP // 4
    if width % size or width < 2 * size * k:
        values, columns = scores.topk(k)
        return values, columns
    groups = scores.view(rows, -1, size).amax(2).topk(k, sorted=False).indices
    of_all = groups + torch.arange(rows, device=scores.device).unsqueeze(1) * (width // size)
    members = scores.view(-1, size).index_select(0, of_all.flatten())  # on a CPU 10 times faster than gather
    values, columns = largest(members.view(rows, -1), k)
    return values, groups.gather(1, columns // size) * size + columns % size


def exactly_largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As :func:`largest`, but unordered, and of values equal to the k-th largest the first columns are chosen."""
    values, columns = largest(scores, min(k + 1, scores.shape[1]))
    kth = values[:, k - 1 : k]
    tied = (values[:, k:] == kth).any(1).nonzero().squeeze(1)
    values, columns = values[:, :k], columns[:, :k]
    if len(tied):
        x, kth = scores[tied], kth[tied]
        above, level = x > kth, x == kth
        level &= level.cumsum(1, dtype=torch.int32) <= k - above.sum(1, keepdim=True)
        columns[tied] = (above | level).nonzero()[:, 1].view(-1, k)
        values[tied] = x.gather(1, columns[tied])
    return values, columns


def top_neighbours(score: Tensor, row: Tensor, k: int) -> Neighbours:
    """The k of n candidates ``(Q, n)`` with the highest scores; ties are in the order of rows."""
    row, order = row.sort(1)
    score, order = score.gather(1, order).sort(stable=True, dim=1, descending=True)
    return Neighbours(score[:, :k], row.gather(1, order[:, :k]))


def tiles(bank: tuple[Rows, ...]) -> Iterator[list[tuple[int, Tensor]]]:
    """This process's blocks of the bank, each with the index of its first row, in lists of up to `TILE` rows."""
    tile: list[tuple[int, Tensor]] = []
    start = 0
    for part in bank:
        for rows in part.local_slices():
            if tile and sum(len(x) for _, x in tile) + rows.stop - rows.start > TILE:
                yield tile
                tile = []
            tile.append((start + rows.start, part.take(rows)))
        start += len(part)
    if tile:
        yield tile


def affine(x: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(n,)`` that map products with bank rows ``(n, d)`` to scores; a zero row has score 0."""
    norm = x.norm(dim=1)
    if distance == "cosine":
        return 1 / norm.clamp_min(1e-12), torch.zeros_like(norm)
    return torch.ones_like(norm), norm.square() / -2


class Tile:
    """Blocks of the bank that are scored together."""

    def __init__(self, blocks: list[tuple[int, Tensor]], size: int, distances: tuple[Distance, ...]) -> None:
        self.blocks = [x for _, x in blocks]
        self.lengths = [len(x) for x in self.blocks]
        device = self.blocks[0].device
        self.pad = pad = -sum(self.lengths) % GROUP  # extra columns with score -inf and row N fill the last group
        numbers = [start + torch.arange(len(x), device=device) for start, x in blocks]
        self.rows = F.pad(torch.cat(numbers).int(), (0, pad), value=size)
        self.affine: dict[Distance, tuple[Tensor, Tensor]] = {}
        for distance in distances:
            scale, shift = map(torch.cat, zip(*(affine(x, distance) for x in self.blocks), strict=True))
            self.affine[distance] = F.pad(scale, (0, pad), value=1), F.pad(shift, (0, pad), value=-torch.inf)

    def products(self, q: Tensor, out: Tensor) -> None:
        """Write products ``(Q, n)`` of queries and rows of the bank, block by block; 0 in the padding."""
        *parts, padding = out.split([*self.lengths, self.pad], 1)
        for x, part in zip(self.blocks, parts, strict=True):
            torch.mm(q, x.T, out=part)
        padding.zero_()


def search(
    bank: tuple[Rows, ...], queries: Rows, k: int, distances: tuple[Distance, ...]
) -> dict[Distance, Neighbours]:
    """Search exact nearest neighbours; every process searches its own blocks of the bank.

    All distances use the same product q.b of the raw features. The score q.b / |b| ranks rows by cosine similarity, and
    the score q.b - |b|^2 / 2 ranks them by Euclidean distance. The product is in float32, so squared distances are
    accurate to about 1e-7 (|q|^2 + |b|^2). Rows whose distances differ by less may be swapped.

    Args:
        bank: parts of the bank with features ``(N_i, d)``; rows are numbered from 0 to N - 1 through all parts.
        queries: queries with features ``(Q, d)``.
        k: number of neighbours of each query, at most N.
        distances: ``cosine``, ``euclidean`` or both.

    Returns:
        For each distance the neighbours of all queries, the same in every process.
    """
    size, device = sum(map(len, bank)), queries.device
    # Products are identical to the last bit, because every process multiplies the same blocks by as many queries.
    step = max(1, SCORES[device.type] // min(size, TILE) // len(distances))
    step -= step % 64 if step > 64 else 0  # products with other numbers of rows are a fifth slower
    chunks = [slice(i, min(i + step, len(queries))) for i in range(0, len(queries), step)]
    found = {
        distance: Neighbours(
            torch.full((len(queries), k), -torch.inf, device=device),
            torch.full((len(queries), k), size, dtype=torch.int32, device=device),
        )
        for distance in distances
    }
    for number, blocks in enumerate(tiles(bank)):
        tile = Tile(blocks, size, distances)
        products = torch.empty(min(step, len(queries)), len(tile.rows), device=device)
        scores = products if len(distances) == 1 else torch.empty_like(products)
        for chunk in chunks:
            q = queries.take(chunk)
            tile.products(q, products[: len(q)])
            for distance, (score, row) in found.items():
                scale, shift = tile.affine[distance]
                s = torch.addcmul(shift, products[: len(q)], scale, out=scores[: len(q)])
                values, columns = exactly_largest(s, min(k, len(tile.rows)))
                near = tile.rows[columns]
                if number:  # merge with the neighbours from earlier tiles
                    values = torch.cat([score[chunk], values], 1)
                    values, near = top_neighbours(values, torch.cat([row[chunk], near], 1), k)
                score[chunk, : values.shape[1]], row[chunk, : near.shape[1]] = values, near
    for candidates in found.values():
        for chunk in chunks:
            score, row = (all_gather(x[chunk]).movedim(0, 1).flatten(1) for x in candidates)
            candidates.score[chunk], candidates.row[chunk] = top_neighbours(score, row, k)
    return found
