"""Every trainer on every kind of task runs, or refuses by name and says what to choose."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from matrix_cells import MISSING, VARIANTS, missing, parameters, running, trainers
from matrix_kinds import KINDS
from matrix_updates import make_policy, make_task, make_trainer, norm, rows_of, whole
from torch import Tensor

from seqrl.trajectory import Trajectory, tree_leaves

RUNNING = parameters(running(), wide=True)


def test_every_trainer_has_a_variant() -> None:
    assert sorted({variant.trainer for variant in VARIANTS.values()}) == trainers()


@pytest.mark.parametrize(("variant", "kind"), RUNNING)
def test_a_cell_runs(variant: str, kind: str) -> None:
    rows = rows_of(variant, kind)
    before = [leaf.clone() for leaf in leaves(rows)]
    learned = whole(variant, kind)
    assert all(value == value for value in learned.stats.values())
    assert norm(learned.change) > 0, "nothing was learned"
    assert all(torch.equal(one, other) for one, other in zip(before, leaves(rows), strict=True)), "the rows were changed"


def leaves(rows: Trajectory) -> list[Tensor]:
    return [leaf for field in dataclasses.fields(rows) for leaf in tree_leaves(getattr(rows, field.name))]


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cell_is_refused_by_name_before_anything_is_done(variant: str, slow: bool) -> None:
    torch.manual_seed(0)
    for kind in (kind for kind in KINDS if KINDS[kind].slow == slow):
        lacks = missing(VARIANTS[variant], KINDS[kind])
        if lacks is None:
            continue
        task = make_task(variant, kind)
        policy = task.build_policy()
        policy.act = lambda *_, kind=kind, **__: pytest.fail(f"{kind}: it acted before it refused")
        with pytest.raises(ValueError) as refusal:
            make_trainer(variant, kind, policy).collect(task)
        assert re.search(MISSING[lacks][0], str(refusal.value), re.DOTALL), f"{kind}: {refusal.value}"


@pytest.mark.parametrize("kind", ["cartpole_steps", "pendulum_steps", "table_steps"])
@pytest.mark.parametrize(
    "variant", ["reinforce_leave_one_out", "reinforce_group_norm", "ppo_leave_one_out", "ppo_group_norm", "off_policy_normalised"]
)
def test_stretches_of_steps_are_not_compared_as_rows(variant: str, kind: str) -> None:
    """With one sample a task can give stretches; what compares rows has to refuse them at once, not when an episode happens to end."""
    task, policy = make_task(variant, kind), make_policy(variant, kind)
    policy.act = lambda *_, **__: pytest.fail("it acted before it refused")
    with pytest.raises(ValueError, match=r"episodes.*set task\.mode=episodes"):
        make_trainer(variant, kind, policy, num_samples=1).collect(task)
