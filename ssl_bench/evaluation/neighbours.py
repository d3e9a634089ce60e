"""Exact k-nearest-neighbour search by all processes, in a bank that may be larger than memory."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_bench.distributed import all_gather, all_reduce_sum
from ssl_bench.evaluation.points import LIMIT, PRECISE, PRECISE_IN_FLOAT64, Points
from ssl_bench.evaluation.rows import Rows

Distance = Literal["cosine", "euclidean"]

TILE = 2**16
"""Number of bank rows in memory at a time. A bank in a file is read once."""
SCORES = {"cpu": 5 * 2**22, "cuda": 2**28}
"""Number of scores in memory at a time: 80 MiB, and 1 GiB on a GPU."""
GROUP = 32
"""Columns per group; the maxima of the groups are compared first."""


class Neighbours(NamedTuple):
    """The k rows of a bank that are nearest to each of Q queries, nearest first.

    Rows with the same score are in their order in the bank. Equal rows have the same score if the features are whole
    numbers; otherwise their scores may differ by a rounding error.

    Attributes:
        distance: Euclidean distances, float64 ``(Q, k)``, of the features, or for cosine similarity of the features
            scaled to length 1: sqrt(2 - 2 cosine). The cosine similarity of a zero feature is 0.
        row: row indices in the bank, int32 ``(Q, k)``.
    """

    distance: Tensor
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


def top_scores(score: Tensor, row: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and rows of the k of n candidates ``(Q, n)`` with the highest scores; ties are in the order of rows."""
    row, order = row.sort(1)
    score, order = score.gather(1, order).sort(stable=True, dim=1, descending=True)
    return score[:, :k], row.gather(1, order[:, :k])


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


class Tile:
    """Blocks of the bank that are scored together, from products of points or from their differences."""

    def __init__(
        self,
        blocks: list[tuple[int, Tensor]],
        size: int,
        distances: tuple[Distance, ...],
        points: Points,
        dtype: torch.dtype,
        differences: bool,
    ) -> None:
        self.blocks, self.differences, self.in_range = [], differences, True
        parts: dict[Distance, list[tuple[Tensor, Tensor]]] = {distance: [] for distance in distances}
        for _, x in blocks:
            p = points(x)
            square = p.square().sum(1)  # exact for whole numbers, unlike the square of a norm
            norm = square.sqrt()
            for distance, part in parts.items():
                if distance == "cosine" and not points.spherical:
                    part.append((1 / torch.where(norm == 0, 1, norm), torch.zeros_like(norm)))
                else:
                    # A zero row is at distance sqrt(2) from unit vectors, since its cosine similarity is 0.
                    zero = (~x.any(1)).double() / points.unit**2 if points.spherical else 0
                    length = torch.zeros_like(square) if differences else square
                    part.append((torch.ones_like(norm), (length + zero) / -2))
            if dtype == torch.float32:
                self.in_range &= bool(((norm <= LIMIT) & ((norm >= 1 / LIMIT) | ~x.any(1))).all())
                p = p.clamp(-LIMIT, LIMIT)
            self.blocks.append(p.to(dtype))
        self.lengths = [len(x) for x in self.blocks]
        device = self.blocks[0].device
        self.pad = pad = -sum(self.lengths) % GROUP  # extra columns with score -inf and row N fill the last group
        numbers = [start + torch.arange(len(x), device=device) for start, x in blocks]
        self.rows = F.pad(torch.cat(numbers).int(), (0, pad), value=size)
        self.affine: dict[Distance, tuple[Tensor, Tensor]] = {}
        for distance, part in parts.items():
            scale, shift = (torch.cat(one).to(dtype) for one in zip(*part, strict=True))
            self.affine[distance] = F.pad(scale, (0, pad), value=1), F.pad(shift, (0, pad), value=-torch.inf)

    def products(self, q: Tensor, out: Tensor) -> None:
        """Write products p.b, or -|p - b|^2 / 2, of queries and rows of the bank ``(Q, n)``; 0 in the padding."""
        *parts, padding = out.split([*self.lengths, self.pad], 1)
        for x, part in zip(self.blocks, parts, strict=True):
            if self.differences:
                distance = torch.cdist(q, x, compute_mode="donot_use_mm_for_euclid_dist")
                torch.mul(distance.square_(), -0.5, out=part)
            else:
                torch.mm(q, x.T, out=part)
        padding.zero_()


def search(
    bank: tuple[Rows, ...], queries: Rows, k: int, distances: tuple[Distance, ...]
) -> dict[Distance, Neighbours]:
    """Search exact nearest neighbours; every process searches its own blocks of the bank.

    Features near 0 are multiplied once for both distances. Features far from 0 are centred for each distance. The
    products are in float32. Where that is not precise enough, because the nearest row is much nearer to the query than
    both are to the origin, or lengths differ by more than a factor of 1e15, the query is searched again with products
    in float64, and where these are not precise enough, with differences in float64. Rows whose distances differ by less
    than about 1e-4 of the distance may be swapped.

    Args:
        bank: parts of the bank with features ``(N_i, d)``; rows are numbered from 0 to N - 1 through all parts.
        queries: queries with features ``(Q, d)``.
        k: number of neighbours of each query, at most N.
        distances: ``cosine``, ``euclidean`` or both.

    Returns:
        For each distance the neighbours of all queries, the same in every process.
    """
    bank, queries = tuple(part.exact() for part in bank), queries.exact()
    raw = Points.of(bank, spherical=False)
    near = raw.origin is None
    result: dict[Distance, Neighbours] = {}
    for group in [distances] if near else [(distance,) for distance in distances]:
        points = Points.of(bank, spherical=True) if group == ("cosine",) and not near else raw
        for distance, (found, precise) in _search(bank, queries, k, group, points, torch.float32).items():
            result[distance] = found
            exact = None
            for differences in (False, True):
                if len(again := (~precise).nonzero().squeeze(1)):
                    exact = exact or Points.of(bank, spherical=distance == "cosine")
                    others = queries.select(again.cpu())
                    better = _search(bank, others, k, (distance,), exact, torch.float64, differences)[distance]
                    (found.distance[again], found.row[again]), precise[again] = better
    return result


def _search(
    bank: tuple[Rows, ...],
    queries: Rows,
    k: int,
    distances: tuple[Distance, ...],
    points: Points,
    dtype: torch.dtype,
    differences: bool = False,
) -> dict[Distance, tuple[Neighbours, Tensor]]:
    """Neighbours of all queries, and for each query whether the scores are precise enough, bool ``(Q,)``.

    The score p.b - |b|^2 / 2, or -|p - b|^2 / 2 from `differences`, ranks points b by their distance to the point p. If
    features are not scaled to length 1 before, the score p.b / |b| ranks them by cosine similarity.
    """
    size, device = sum(map(len, bank)), queries.device
    # Products are identical to the last bit, because every process multiplies the same blocks by as many queries.
    step = max(1, SCORES[device.type] * 4 // dtype.itemsize // min(size, TILE) // len(distances))
    step -= step % 64 if step > 64 else 0  # products with other numbers of rows are a fifth slower
    chunks = [slice(i, min(i + step, len(queries))) for i in range(0, len(queries), step)]
    found = {
        distance: (
            torch.full((len(queries), k), -torch.inf, dtype=dtype, device=device),
            torch.full((len(queries), k), size, dtype=torch.int32, device=device),
        )
        for distance in distances
    }
    out_of_range = torch.zeros((), device=device)
    for number, blocks in enumerate(tiles(bank)):
        tile = Tile(blocks, size, distances, points, dtype, differences)
        out_of_range += not tile.in_range
        products = torch.empty(min(step, len(queries)), len(tile.rows), dtype=dtype, device=device)
        scores = products if len(distances) == 1 else torch.empty_like(products)
        for chunk in chunks:
            q = points(queries.take(chunk))
            tile.products((q.clamp(-LIMIT, LIMIT) if dtype == torch.float32 else q).to(dtype), products[: len(q)])
            for distance, (score, row) in found.items():
                scale, shift = tile.affine[distance]
                s = torch.addcmul(shift, products[: len(q)], scale, out=scores[: len(q)])
                values, columns = exactly_largest(s, min(k, len(tile.rows)))
                near = tile.rows[columns]
                if number:  # merge with the neighbours from earlier tiles
                    values = torch.cat([score[chunk], values], 1)
                    values, near = top_scores(values, torch.cat([row[chunk], near], 1), k)
                score[chunk, : values.shape[1]], row[chunk, : near.shape[1]] = values, near
    in_range = not all_reduce_sum(out_of_range)
    result: dict[Distance, tuple[Neighbours, Tensor]] = {}
    for distance, candidates in found.items():
        neighbours = Neighbours(torch.empty_like(candidates[0], dtype=torch.float64), candidates[1])
        precise = torch.empty(len(queries), dtype=torch.bool, device=device)
        for chunk in chunks:
            score, row = (all_gather(x[chunk]).movedim(0, 1).flatten(1) for x in candidates)
            score, row = top_scores(score, row, k)
            x = queries.take(chunk)
            p = points(x)
            own = p.square().sum(1, keepdim=True)
            norm = own.sqrt()
            if distance == "cosine" and not points.spherical:
                square, unit, own = 2 - 2 * score.double() / norm, 1.0, torch.ones_like(norm)
            else:
                square, unit = (0 if differences else own) - 2 * score.double(), points.unit
            if dtype == torch.float32:
                short = (norm <= LIMIT) & (norm >= 1 / LIMIT)
                precise[chunk] = ((square[:, :1] >= PRECISE * own) & short).squeeze(1) & in_range
            else:  # a single row that is equal to the query is ranked correctly
                precise[chunk] = (square[:, min(k, 2) - 1] >= PRECISE_IN_FLOAT64 * own.squeeze(1)) | differences
            if distance == "cosine" and len(zero := (~x.any(1)).nonzero().squeeze(1)):  # all rows are equally near
                square[zero] = 2 / unit**2
                row[zero] = torch.arange(k, dtype=torch.int32, device=device)
                precise[chunk][zero] = True
            neighbours.distance[chunk], neighbours.row[chunk] = square.clamp_min(0).sqrt() * unit, row
        result[distance] = neighbours, precise
    return result
