from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from seqrl.adamw import AdamW

SETTINGS: dict[str, Any] = {"weight_decay": 0.1, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-5}


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(3, 2), (3,), (2, 2, 2), (1, 4)]
    kinds = [torch.float32, torch.float32, torch.float64, torch.float32]
    return [nn.Parameter(torch.randn(*shape, generator=generator, dtype=kind)) for shape, kind in zip(shapes, kinds, strict=True)]


def give_gradients(tensors: list[nn.Parameter], step: int) -> None:
    """The last parameter has a gradient in every third step only."""
    generator = torch.Generator().manual_seed(step)
    for p in tensors:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    if step % 3:
        tensors[-1].grad = None


def test_steps_are_those_of_torch() -> None:
    ours, theirs = parameters(), parameters()
    adamw = AdamW(ours, **SETTINGS)
    groups = [{"params": [p], "weight_decay": 0.1 if p.ndim > 1 else 0.0} for p in theirs]
    reference = torch.optim.AdamW(groups, lr=0.0, betas=(0.8, 0.9), eps=1e-5, foreach=False)
    for step in range(7):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        for group in reference.param_groups:
            group["lr"] = 0.1 / (step + 1)
        adamw.step(0.1 / (step + 1))
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_divisor_divides_the_gradients() -> None:
    plain, divided = parameters(), parameters()
    first, second = AdamW(plain, **SETTINGS), AdamW(divided, **SETTINGS)
    give_gradients(plain, 0)
    give_gradients(divided, 0)
    for p in divided:
        assert p.grad is not None
        p.grad.mul_(4.0)
    first.step(0.1)
    second.step(0.1, torch.tensor(4.0))
    assert all(torch.equal(p, q) for p, q in zip(plain, divided, strict=True))


def test_goes_on_from_a_saved_state_to_the_bit_and_reads_torchs() -> None:
    whole, halves = parameters(), parameters()
    adamw = AdamW(whole, **SETTINGS)
    for step in range(6):
        give_gradients(whole, step)
        adamw.step(0.1)
    first = AdamW(halves, **SETTINGS)
    for step in range(3):
        give_gradients(halves, step)
        first.step(0.1)
    second = AdamW(halves, **SETTINGS)
    second.load_state_dict(first.state_dict())
    for step in range(3, 6):
        give_gradients(halves, step)
        second.step(0.1)
    assert all(torch.equal(p, q) for p, q in zip(whole, halves, strict=True))
    one = [nn.Parameter(torch.ones(2))]
    reference = torch.optim.AdamW(one)
    one[0].grad = torch.tensor([1.0, 2.0])
    reference.step()
    read = AdamW(one, **SETTINGS)
    read.load_state_dict(reference.state_dict())
    assert read.state_dict()["state"][0]["step"] == 1
    assert read.state_dict()["state"][0]["exp_avg"].tolist() == pytest.approx([0.1, 0.2])


def test_state_of_another_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="expected averages of 1 parameters, got 4"):
        AdamW(parameters()[:1], **SETTINGS).load_state_dict(AdamW(parameters(), **SETTINGS).state_dict())


def test_infinite_gradients_divided_by_infinity_do_not_pass_as_numbers() -> None:
    p = [nn.Parameter(torch.ones(2))]
    p[0].grad = torch.tensor([math.inf, 1.0])
    adamw = AdamW(p, **SETTINGS)
    adamw.step(0.1, torch.tensor(math.inf))
    assert math.isnan(float(p[0][0].detach()))


def test_a_step_shows_in_the_weights_versions() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    before = weight._version
    AdamW([weight], weight_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-8).step(0.1)
    assert weight._version > before
