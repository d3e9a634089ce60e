import torch

from ssl_bench.evaluation.minibatches import minibatches
from tests.evaluation.conftest import rows


def test_every_row_occurs_once_with_its_labels_in_a_new_order() -> None:
    ids = torch.arange(23)
    parts = [rows(part.float().unsqueeze(1), torch.stack([part, -part], 1)) for part in ids.split(15)]
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(minibatches(parts, 5, generator))
        assert [len(x) for x, _ in batches] == [5, 5, 5, 5, 3]
        x, y = (torch.cat(columns) for columns in zip(*batches, strict=True))
        assert torch.equal(y, torch.cat([x, -x], 1).long())
        assert torch.equal(x.squeeze(1).long().sort()[0], ids)
        orders.append(x.flatten().tolist())
    assert orders[0] != orders[1]
    assert any(x.min() < 15 <= x.max() for x, _ in batches), "parts are shuffled together"
