"""What must not change an update: parts, the order of rows, padding, the numbers of groups, a save and a load in between."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from matrix_cells import VARIANTS, parameters, running
from matrix_kinds import CRITIC, KINDS, NUM_CONTEXTS
from matrix_updates import assert_same, learn, make_task, make_trainer, rows_of, state_of, whole

# Atari's tasks take long to make; what they could tell, other environments do.
PAIRS = [pair for pair in running() if pair[1] != "atari_steps"]
BY_GRADIENT = [pair for pair in PAIRS if VARIANTS[pair[0]].trainer != "q_table" and pair[0] != "cem_counts"]
FREE_ORDER = [pair for pair in PAIRS if not VARIANTS[pair[0]].updates_in_order]
# Members of a population are named by their group, whose number their noise is drawn from.
IN_GROUPS = [pair for pair in PAIRS if KINDS[pair[1]].family in ("texts", "glimpses") and pair[0] != "evolution_strategies"]
PROBABLE = [pair for pair in PAIRS if VARIANTS[pair[0]].policy == "actor_critic" and VARIANTS[pair[0]].trainer != "supervised"]
# What a policy says depends on the trainer only where its actors lag.
ONE_EACH = [next(pair for pair in PROBABLE if pair[1] == kind) for kind in dict.fromkeys(kind for _, kind in PROBABLE)]
# Kinds whose state is made of other parts than another's.
STATES = {
    "captions_lstm",
    "own_texts",
    "glimpses_early",
    "cartpole_steps",
    "memory_steps",
    "masks_episodes",
    "pictures_steps",
    "table_steps",
}


def cells(pairs: list[tuple[str, str]], *, wide: bool = False) -> Any:
    return pytest.mark.parametrize(("variant", "kind"), parameters(pairs, wide=wide))


@cells(BY_GRADIENT, wide=True)
def test_accumulation_changes_nothing(variant: str, kind: str) -> None:
    # Nine rows in two parts, or in four; three rows in two. Neither the parts nor the groups in them are whole.
    parts = 2 if len(kind) % 2 or rows_of(variant, kind).batch_size < 4 else 4
    assert_same(learn(variant, kind, optimiser={"accumulation": parts}), whole(variant, kind), tolerance(variant))


def tolerance(variant: str) -> float:
    return 1e-3 if VARIANTS[variant].trainer == "trpo" else 2e-6  # conjugate gradients make more of roundings


@cells(FREE_ORDER, wide=True)
def test_the_order_of_rows_changes_nothing(variant: str, kind: str) -> None:
    rows = rows_of(variant, kind)
    order = torch.randperm(rows.batch_size, generator=torch.Generator().manual_seed(5))
    assert_same(learn(variant, kind, rows.select_rows(order)), whole(variant, kind), tolerance(variant))


@cells(IN_GROUPS)
def test_the_numbers_of_groups_change_nothing(variant: str, kind: str) -> None:
    rows = rows_of(variant, kind)
    assert rows.group is not None and len(rows.group.unique()) == NUM_CONTEXTS
    assert_same(learn(variant, kind, rows.replace(group=1000 - 7 * rows.group)), whole(variant, kind))


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        pytest.param(*cell.values, marks=cell.marks or ([] if cell.values[1] in STATES else [pytest.mark.slow]))
        for cell in parameters(PAIRS)
    ],
)
def test_a_resumed_run_that_was_evaluated_goes_on_with_the_same_bits(variant: str, kind: str) -> None:
    def start(seed: int) -> tuple[Any, Any]:
        torch.manual_seed(seed)
        task = make_task(variant, kind)
        return task, make_trainer(variant, kind, task.build_policy())

    def update(task: Any, trainer: Any) -> dict[str, float]:
        return trainer.update(trainer.collect(task))

    task, trainer = start(1)
    update(task, trainer)
    saved = io.BytesIO()
    torch.save({"policy": trainer.policy.state_dict(), "trainer": trainer.state_dict(), "task": task.state_dict()}, saved)
    expected, weights = update(task, trainer), state_of(trainer.policy)
    task, trainer = start(2)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    trainer.policy.load_state_dict(state["policy"])
    trainer.load_state_dict(state["trainer"])
    task.load_state_dict(state["task"])
    task.evaluate(trainer.policy)
    assert update(task, trainer) == expected
    assert all(torch.equal(tensor, weights[name]) for name, tensor in state_of(trainer.policy).items())


@pytest.mark.parametrize(("variant", "kind"), [pytest.param(*p, marks=[pytest.mark.slow] if KINDS[p[1]].slow else []) for p in ONE_EACH])
def test_the_update_sees_the_probabilities_of_sampling(variant: str, kind: str) -> None:
    torch.manual_seed(3)
    trainer = make_trainer(variant, kind)
    rows = trainer.collect(make_task(variant, kind))
    with torch.no_grad():
        seen = trainer.policy(rows)
    torch.testing.assert_close(seen.logp[rows.mask], rows.logp[rows.mask], rtol=1e-4, atol=1e-5)
    if CRITIC in KINDS[kind].gives:
        torch.testing.assert_close(seen.value[rows.mask], rows.value[:, :-1][rows.mask], rtol=1e-4, atol=1e-5)
