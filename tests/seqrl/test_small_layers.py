"""The written-out backward pass against finite differences, and against autograd's own."""

from __future__ import annotations

import functools

import pytest
import torch

from seqrl.policies.fused_mlp import FEW_ROWS, TanhMLPs, run_layers
from seqrl.policies.networks import MLP, run_together


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("hidden", [[], [5], [5, 3]])
def test_the_written_out_backward_pass_is_the_derivative(hidden: list[int]) -> None:
    mlps = [MLP(4, hidden, size, generator=seeded()).double() for size in (2, 1)]
    weights = [parameter for mlp in mlps for layer in mlp.layers for parameter in (layer.weight, layer.bias)]
    for num_rows in (3, FEW_ROWS + 1):
        x = torch.randn(num_rows, 4, generator=seeded(1), dtype=torch.float64, requires_grad=True)
        run = functools.partial(TanhMLPs.apply, [len(weights) // 2] * 2)
        fast = num_rows > FEW_ROWS
        assert torch.autograd.gradcheck(run, (x, *weights), fast_mode=fast)
        assert torch.autograd.gradgradcheck(run, (x, *weights), fast_mode=fast)


def test_mlps_run_together_are_mlps_run_apart() -> None:
    one, two = MLP(4, [5, 3], 2, generator=seeded()), MLP(4, [6], 1, generator=seeded())
    for x in (torch.randn(2, 4, generator=seeded(1)), torch.randn(9, FEW_ROWS, 4, generator=seeded(1))):
        for mlp, y in zip((one, two), run_together([one, two], x), strict=True):
            torch.testing.assert_close(y, run_layers(x, mlp.weights, torch.tanh))


def test_what_the_loss_leaves_out_gets_no_gradient() -> None:
    one, two = MLP(4, [5], 2, generator=seeded()), MLP(4, [5], 1, generator=seeded())
    x = torch.randn(3, 4, generator=seeded(1))
    (first, _), (again, _) = (run_together([one, two], x) for _ in range(2))
    (gradient,) = torch.autograd.grad(first.square().sum(), one.layers[0].bias, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), one.layers[0].bias)[0].any()
    again.sum().backward()
    assert one.layers[0].weight.grad is not None and two.layers[0].weight.grad is None
