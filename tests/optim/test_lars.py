"""LARS takes its step as its paper says, and plain ones where there is no decay."""

import torch

from ssl_bench.optim.lars import LARS


def test_a_step_is_a_fraction_of_the_norm_and_plain_without_decay() -> None:
    weight, bias = torch.nn.Parameter(torch.tensor([[3.0, 4.0]])), torch.nn.Parameter(torch.tensor([1.0]))
    optimizer: torch.optim.Optimizer = LARS(
        [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], lr=2.0, weight_decay=0.1, trust_coeff=0.01
    )
    gradient = torch.tensor([[6.0, 8.0]])
    weight.grad, bias.grad = gradient.clone(), torch.tensor([0.5])
    optimizer.step()
    rate = 0.01 * 5 / (10 + 0.1 * 5)  # Eq. 6: of the norms of the weight, 5, and of its gradient, 10
    expected = torch.tensor([[3.0, 4.0]]) - 2.0 * rate * (gradient + 0.1 * torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(weight.detach(), expected)
    torch.testing.assert_close(bias.detach(), torch.tensor([1.0 - 2.0 * 0.5]))
