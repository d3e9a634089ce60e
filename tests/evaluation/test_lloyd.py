"""Lloyd's iterations and k-means++ seeding against scikit-learn, and on any number of processes."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans as Reference
from torch import Tensor

from ssl_bench.evaluation.lloyd import assign_clusters, kmeans_plus_plus, lloyd
from ssl_bench.evaluation.rows import Rows
from ssl_bench.evaluation.task import Task
from tests.evaluation.conftest import gaussians, rows
from tests.ranks import Ranks


def same(x: Tensor) -> Tensor:
    return x


def overlapping_blocks() -> Rows:
    """4 classes in 3 blocks; no point lies so near to two centres that rounding decides, which takes few dimensions."""
    x, y = gaussians(2500, 3, 4, spread=1.0)
    found = rows((x - x.mean(0)) / x.std(0), y)
    assert [part.stop - part.start for part in found.slices()] == [1024, 1024, 452]
    return found


def inertia(x: Tensor, centres: Tensor) -> Tensor:
    return assign_clusters(x, centres)[0].double().sum(0)


def test_iterations_agree_with_scikit_learn() -> None:
    given = overlapping_blocks()
    x = given.features
    start = x[:12].view(3, 4, -1)
    found = lloyd(given, same, start, max_iter=300, tol=0)
    for one, centres in zip(start, found, strict=True):
        reference = Reference(4, init=one.numpy(), n_init=1, tol=0).fit(x.numpy())
        torch.testing.assert_close(centres, torch.from_numpy(reference.cluster_centers_), rtol=1e-5, atol=1e-5)


def test_one_spherical_step_agrees_with_the_formula() -> None:
    given = overlapping_blocks()
    x = F.normalize(given.features)
    start = x[:20].view(2, 10, -1)
    found = lloyd(given, F.normalize, start, max_iter=1, tol=0, project=partial(F.normalize, dim=2))
    for before, after in zip(start, found, strict=True):
        cosine = torch.nn.CosineSimilarity(-1)(x[:, None], before[None])
        for k in range(10):
            assert torch.allclose(after[k], F.normalize(x[cosine.argmax(1) == k].sum(0), dim=0), atol=1e-5)


def test_few_pairs_of_points_and_centres_at_a_time_give_the_same_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    given = overlapping_blocks()
    start = given.features[:12].view(3, 4, -1)
    whole = lloyd(given, same, start, max_iter=300, tol=0)
    monkeypatch.setattr("ssl_bench.evaluation.lloyd.PAIRS", 12 * 100)
    torch.testing.assert_close(lloyd(given, same, start, max_iter=300, tol=0), whole)


PEAK = """
import torch
from ssl_bench.evaluation.lloyd import kmeans_plus_plus
from ssl_bench.evaluation.rows import Rows
torch.set_num_threads(1)
x = torch.randn(8000, 8, generator=torch.Generator().manual_seed(0))
rows = Rows(x, torch.zeros(len(x), 1, dtype=torch.int64), torch.device("cpu"))
kmeans_plus_plus(rows, lambda x: x, 8, 20, 0)
status = lambda: dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
before = int(status()["VmHWM"].split()[0])
kmeans_plus_plus(rows, lambda x: x, 300, 20, 0)
print((int(status()["VmHWM"].split()[0]) - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory of the process from /proc")
def test_memory_of_seeding_does_not_grow_with_the_number_of_clusters() -> None:
    """The distances of 8,000 points to 20 x 7 candidates are 4 MiB; the heap must not fragment."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) < 100


def test_seeding_is_better_than_random_rows(digits: Task) -> None:
    x = digits.test.features
    seeded = kmeans_plus_plus(digits.test, same, 10, 20, seed=0)
    random = x[torch.randint(len(x), (20, 10), generator=torch.Generator().manual_seed(0))]
    assert inertia(x, seeded).mean() < 0.95 * inertia(x, random).mean()


def test_seeding_takes_one_row_of_each_distinct_point() -> None:
    x = torch.eye(6).repeat(500, 1)
    given = rows(x, torch.zeros(3000, dtype=torch.int64))
    assert len(given.slices()) == 3
    centres = kmeans_plus_plus(given, same, 6, 5, seed=0)
    assert torch.equal(centres.sum(1), torch.ones(5, 6))
    assert (inertia(x, centres) == 0).all()


def test_an_empty_cluster_restarts_from_the_farthest_point() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    start = torch.tensor([[[1.0], [-1000.0]], [[0.0], [2.0]]])
    first, second = lloyd(rows(x, torch.zeros(4, dtype=torch.int64)), same, start, max_iter=9, tol=0)
    assert first.flatten().tolist() == [1, 50]
    assert second.flatten().tolist() == [1, 50]


def test_restarts_do_not_depend_on_one_another() -> None:
    given = overlapping_blocks()
    start = given.features[:16].view(4, 4, -1)
    at_once = lloyd(given, same, start, max_iter=300, tol=1e-4)
    one_by_one = [lloyd(given, same, one[None], max_iter=300, tol=1e-4) for one in start]
    torch.testing.assert_close(at_once, torch.cat(one_by_one))


def line() -> Rows:
    """0 to 4,999 in 5 blocks, the largest in the third and the next in the first."""
    x = (torch.arange(5000.0) * 2601 % 5000)[:, None]
    return rows(x, torch.zeros(5000, dtype=torch.int64))


def emptied() -> Tensor:
    start = torch.tensor([[[0.0], [-1e4], [-2e4]]])
    return lloyd(line(), same, start, max_iter=1, tol=0)


def test_an_empty_cluster_restarts_the_same_on_any_number_of_processes(ranks: Ranks) -> None:
    far = line().features.flatten().argsort(descending=True)[:2]
    assert len(line().slices()) == 5
    assert (far // 1024).tolist() == [2, 0], "the farthest points are in blocks of different ranks"
    for size in (2, 4):
        for found in ranks(emptied, size=size):
            assert torch.equal(found, emptied())
    assert emptied().flatten().tolist() == [2499.5, 4999, 4998]
