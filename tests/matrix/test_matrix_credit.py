"""What a step is credited with, by loops over episodes, on every kind of task where REINFORCE runs."""

from __future__ import annotations

import pytest
import torch
from matrix_cells import VARIANTS, parameters, running
from matrix_kinds import KINDS
from matrix_updates import difference, learn, make_policy, rows_of
from torch import Tensor

from seqrl.trajectory import Trajectory

PAIRS = [pair for pair in running() if pair[0] == "reinforce_none"]
DISCOUNT = 0.9


def credits(rows: Trajectory, *, to_go: bool) -> Tensor:
    """Give each step the discounted rewards of its episode that come after it, or all of them; nothing is known of what was cut off."""
    found = torch.zeros_like(rows.reward)
    for row in range(rows.batch_size):
        ends = (rows.terminated | rows.truncated)[row].tolist()
        begin = 0
        for step in range(rows.num_steps):
            if not (ends[step] or step == rows.num_steps - 1):
                continue
            # A dummy step, with which an environment resets itself, stands before its episode and belongs to none.
            first = next((s for s in range(begin, step + 1) if bool(rows.counted[row, s])), step)
            for at in range(begin, step + 1):
                start = at if to_go else first
                rewards = rows.reward[row, start : step + 1].tolist()
                found[row, at] = sum(DISCOUNT**k * reward for k, reward in enumerate(rewards))
            begin = step + 1
    return found


@pytest.mark.parametrize("to_go", [True, False])
@pytest.mark.parametrize(("variant", "kind"), parameters(PAIRS))
def test_a_step_is_credited_with_its_own_episode(variant: str, kind: str, to_go: bool) -> None:
    rows, policy = rows_of(variant, kind), make_policy(variant, kind).eval()
    if not bool(rows.mask.any()):
        return
    evaluation = policy(rows)
    weighted = credits(rows, to_go=to_go)[rows.mask] * evaluation.logp[rows.mask]
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    loss = -weighted.mean() + (0.0 if evaluation.aux_loss is None else evaluation.aux_loss)
    found = torch.autograd.grad(loss, [policy.get_parameter(name) for name in names], allow_unused=True)
    expected = {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}
    learned = learn(variant, kind, gamma=DISCOUNT, reward_to_go=to_go, ent_coef=0.0)
    gradients = {name: learned.gradients[0][name] for name in expected}
    if KINDS[kind].family == "glimpses":  # the classes are learned beside
        gradients, expected = (
            {name: g for name, g in some.items() if name in ("locate.weight", "start")} for some in (gradients, expected)
        )
    assert difference(gradients, expected) < 1e-5


@pytest.mark.parametrize("kind", ["captions", "glimpses", "cartpole_episodes", "table_episodes"])
def test_rows_that_are_compared_with_themselves_are_worth_nothing(kind: str) -> None:
    rows = rows_of("reinforce_greedy", kind)
    same = rows.replace(baseline=rows.score)
    assert VARIANTS["reinforce_greedy"].settings["reward_to_go"] is False
    for gamma in (1.0, 0.5):
        try:
            learned = learn("reinforce_greedy", kind, same, gamma=gamma)
        except ValueError as refusal:
            assert gamma < 1 and "baseline" in str(refusal) and "set " in str(refusal)
            continue
        assert abs(learned.stats["advantage/mean"]) < 1e-6 and learned.stats["advantage/std"] < 1e-6
