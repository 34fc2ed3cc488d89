"""Runs one update of a cell on fixed rows and tells which gradients AdamW was given, and what the weights became."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from matrix_cells import OPTIMISER, VARIANTS, policy_kind
from matrix_kinds import KINDS
from torch import Tensor, nn

from seqrl.adamw import AdamW
from seqrl.policies.tables import ActionValueTable
from seqrl.run import registry
from seqrl.trajectory import Trajectory

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Learned:
    """What an update did.

    Attributes:
        gradients: by name, of each optimiser step; 0 where there was none.
        before: the weights and tables before.
        after: and after.
        stats: what the trainer logged.
    """

    gradients: list[Weights]
    before: Weights
    after: Weights
    stats: dict[str, float]

    @property
    def change(self) -> Weights:
        return {name: self.after[name] - self.before[name] for name in self.before}


@cache
def component(trainer: str) -> Any:
    return registry.find(registry.TRAINERS, trainer)


def make_task(variant: str, kind: str) -> Any:
    return KINDS[kind].make(policy_kind(VARIANTS[variant], KINDS[kind]))


@cache
def _policy(kind: str, policy_kind_: str) -> nn.Module:
    torch.manual_seed(0)
    policy = KINDS[kind].make(policy_kind_).build_policy()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():  # initial weights are too regular: critics of 0, actors that do not care
        for parameter in policy.parameters():
            if parameter.requires_grad and parameter.numel() < 5000:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return policy


def make_policy(variant: str, kind: str) -> Any:
    return copy.deepcopy(_policy(kind, policy_kind(VARIANTS[variant], KINDS[kind])))


def make_trainer(variant: str, kind: str, policy: Any = None, *, optimiser: Mapping[str, Any] | None = None, **settings: Any) -> Any:
    """Build the variant's trainer with other settings on top, those of the optimiser apart."""
    chosen = VARIANTS[variant]
    given = {**chosen.settings, **settings}
    own = replace(OPTIMISER, **(optimiser or {}))
    if chosen.trainer in ("gail", "league"):
        given["ppo"] = replace(given["ppo"], optimiser=own)
    elif chosen.trainer != "q_table":
        given["optimiser"] = own
    return component(chosen.trainer)(**given).build(make_policy(variant, kind) if policy is None else policy, seed=3, num_updates=10)


@cache
def rows_of(variant: str, kind: str) -> Trajectory:
    """Collect rows once for a cell, and make them uneven: rewards, values, probabilities and lengths of every size."""
    torch.manual_seed(1)
    return uneven(make_trainer(variant, kind).collect(make_task(variant, kind)), KINDS[kind].family == "texts")


def uneven(rows: Trajectory, cut: bool = False) -> Trajectory:
    """Spoil the regularity that hides faults; what does not count stays as it is, and nothing is earned there."""
    generator = torch.Generator().manual_seed(11)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    if cut and rows.imitate is None and rows.num_steps > 3:
        device = rows.mask.device
        length = (torch.arange(rows.batch_size, device=device) * 2) % 4 + rows.num_steps - 3
        place = torch.arange(rows.num_steps, device=device)
        kept = rows.mask & (place < length.unsqueeze(1))
        last = kept & ~torch.nn.functional.pad(kept[:, 1:], (0, 1))
        rows = rows.replace(mask=kept, terminated=last)
    earned = rows.terminated if cut else rows.mask
    rows = rows.replace(
        reward=torch.where(earned, noise(rows.reward), 0.0),
        logp=torch.where(rows.mask, rows.logp + 0.1 * noise(rows.logp), rows.logp),
        value=rows.value + 0.3 * noise(rows.value),
    )
    return rows if rows.baseline is None else rows.replace(baseline=0.3 * noise(rows.baseline))


def state_of(policy: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items() if isinstance(tensor, Tensor)}


@contextmanager
def recorded(policy: nn.Module) -> Iterator[list[Weights]]:
    """Take down the gradients that AdamW is given."""
    names, steps, step = {id(p): name for name, p in policy.named_parameters()}, list[Weights](), AdamW.step

    def noted(self: AdamW, learning_rate: float, divisor: Tensor | None = None) -> None:
        given = {names[id(p)]: p for p in self.parameters if id(p) in names}
        steps.append({name: torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for name, p in given.items()})
        step(self, learning_rate, divisor)

    AdamW.step = noted  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        AdamW.step = step  # type: ignore[method-assign]


def learn(variant: str, kind: str, rows: Trajectory | None = None, *, updates: int = 1, policy: Any = None, **changes: Any) -> Learned:
    """Take one update, or some, on the same rows."""
    trainer = make_trainer(variant, kind, policy, **changes)
    rows = rows_of(variant, kind) if rows is None else rows
    trainer.policy.eval()
    if isinstance(trainer.policy, ActionValueTable):
        trainer.policy.epsilon = 0.1
    before = state_of(trainer.policy)
    with recorded(trainer.policy) as gradients:
        for _ in range(updates):
            stats = trainer.update(rows)
    return Learned(gradients, before, state_of(trainer.policy), stats)


@cache
def whole(variant: str, kind: str) -> Learned:
    """Take one update on the cell's own rows; what others are compared with."""
    return learn(variant, kind)


def norm(weights: Mapping[str, Tensor]) -> float:
    return float(sum(tensor.double().square().sum() for tensor in weights.values()) ** 0.5)


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Give the largest difference, as a share of the larger norm; infinite where something is missing."""
    if set(first) != set(second):
        return float("inf")
    size = max(norm(first), norm(second), 1e-12)
    return (
        max((float((first[name].double() - second[name].double()).abs().nan_to_num(nan=torch.inf).max()) for name in first), default=0.0)
        / size
    )


def assert_same(first: Learned, second: Learned, tolerance: float = 2e-6) -> None:
    """Compare the gradients of each optimiser step, and how the weights have moved."""
    assert len(first.gradients) == len(second.gradients), f"{len(first.gradients)} optimiser steps, and {len(second.gradients)}"
    for step, (one, other) in enumerate(zip(first.gradients, second.gradients, strict=True)):
        found = difference(one, other)
        assert found <= tolerance, f"step {step}: the gradients differ by {found:.2g} of their norm in {worst(one, other)}"
    moved = difference(first.change, second.change)
    assert moved <= 20 * tolerance, f"the weights' changes differ by {moved:.2g} of their norm in {worst(first.change, second.change)}"


def worst(first: Weights, second: Weights) -> str:
    return max(first, key=lambda name: float((first[name].double() - second[name].double()).abs().nan_to_num(nan=torch.inf).max()))
