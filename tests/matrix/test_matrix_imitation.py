"""Demonstrations beside samples: the cross-entropy is that of supervised training, and the policy gradient never sees them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from matrix_cells import VARIANTS, running
from matrix_kinds import DEMONSTRATIONS, KINDS
from matrix_updates import Learned, assert_same, difference, learn, make_policy, make_task, make_trainer, norm, rows_of, uneven, whole

from seqrl.trainers.imitation import ImitationConfig
from seqrl.trajectory import Trajectory, concatenate

# Recorded episodes have no prefix to be forced; tests/tasks/control/test_demonstrations.py mixes them.
SHOWN = [name for name, kind in KINDS.items() if DEMONSTRATIONS in kind.gives and kind.family == "texts"]
MIXES = [(v, k) for v, k in running() if VARIANTS[v].trainer in ("reinforce", "self_critical", "ppo") and k in SHOWN]
KINDS_IN_TURN = ("captions", "captions_critic", "captions_lstm", "captions_detecting")
_NAMES = list(dict.fromkeys(name for name, _ in MIXES))
# Every other variant on one kind in the fast tests.
QUICK = {next((v, k) for k in KINDS_IN_TURN[n % 4 :] + KINDS_IN_TURN if (v, k) in MIXES) for n, v in enumerate(_NAMES) if n % 4 != 1}
each = pytest.mark.parametrize(
    ("variant", "kind"), [pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.slow]) for pair in MIXES]
)


@cache
def demonstrations(kind: str) -> Trajectory:
    task = make_task("reinforce_none", kind)
    if kind.startswith("copies"):  # whose contexts are those of the last rollout
        task.rollout(make_policy("reinforce_none", kind).eval())
    rows: Trajectory = task.demonstrations(torch.arange(3))
    return rows


@cache
def mixed(variant: str, kind: str) -> Trajectory:
    """The cell's rows with demonstrations under them, of other contexts, so that any length and group comes together."""
    rows, shown = rows_of(variant, kind), demonstrations(kind)
    if "memory" in rows.context:  # type: ignore[operator]
        shown = shown.replace(context=encoded(variant, kind, shown))
    return concatenate([rows, shown.replace(context={name: shown.context[name] for name in rows.context})])  # type: ignore[index, union-attr]


@torch.no_grad()
def encoded(variant: str, kind: str, shown: Trajectory) -> Any:
    return {"memory": make_policy(variant, kind).encode(shown.context["image"])}  # type: ignore[index]


@cache
def mixture(variant: str, kind: str, weight: float) -> Learned:
    return learn(variant, kind, mixed(variant, kind), imitation=ImitationConfig(weight=weight))


def averaged(variant: str, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average over what the variant averages its losses over, row by row."""
    over, chosen = (
        VARIANTS[variant].settings.get("average_over", "steps"),
        [row[m] for row, m in zip(x, mask, strict=True) if bool(m.any())],
    )
    if over == "steps":
        return torch.cat(chosen).mean()
    return torch.stack([row.sum() if over == "rows" else row.mean() for row in chosen]).mean()


@cache
def cross_entropy(variant: str, kind: str) -> dict[str, torch.Tensor]:
    """Gradient of the demonstrations' mean cross-entropy, by autograd on the demonstrations alone."""
    policy, rows = make_policy(variant, kind).eval(), mixed(variant, kind)
    shown = rows.select_rows(rows.imitate.any(dim=1))  # type: ignore[union-attr]
    loss = -averaged(variant, policy(shown).logp, shown.imitate)  # type: ignore[arg-type]
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [policy.get_parameter(name) for name in names], allow_unused=True)
    return {n: torch.zeros_like(policy.get_parameter(n)) if g is None else g for n, g in zip(names, found, strict=True)}


@each
def test_the_mix_adds_the_cross_entropy_of_the_demonstrations(variant: str, kind: str) -> None:
    # What is detected in demonstrations is learned whatever the weight.
    plain, mix = (mixture(variant, kind, weight).gradients[0] for weight in (0.0, 0.7))
    expected = cross_entropy(variant, kind)
    found = {name: (mix[name] - plain[name]) / 0.7 for name in mix}
    assert difference(found, {name: expected.get(name, torch.zeros(())) for name in found}) < 1e-5


@each
def test_demonstrations_without_a_weight_change_nothing(variant: str, kind: str) -> None:
    if kind not in ("captions_detecting", "copies_thinking"):  # where there are words to detect in them, or thoughts about them cost
        assert_same(mixture(variant, kind, 0.0), whole(variant, kind))


@each
def test_parts_and_the_order_change_no_mix(variant: str, kind: str) -> None:
    rows, mix = mixed(variant, kind), ImitationConfig(weight=0.5)
    expected = mixture(variant, kind, 0.5)
    order = torch.randperm(rows.batch_size, generator=torch.Generator().manual_seed(5))
    assert_same(learn(variant, kind, rows.select_rows(order), imitation=mix), expected)
    for parts in (2, 4):
        assert_same(learn(variant, kind, rows, imitation=mix, optimiser={"accumulation": parts}), expected)


@each
def test_a_mix_learns_with_and_without_dropout(variant: str, kind: str) -> None:
    # The policy drops nothing out here, so the setting must not matter; an auxiliary loss neither.
    assert_same(
        learn(variant, kind, mixed(variant, kind), imitation=ImitationConfig(weight=0.5), dropout=True), mixture(variant, kind, 0.5)
    )


@each
def test_a_forced_prefix_is_imitated_and_never_rewarded(variant: str, kind: str) -> None:
    def forced(weight: float) -> ImitationConfig:
        return ImitationConfig(weight=weight, forced_steps=2)

    torch.manual_seed(1)
    collected = make_trainer(variant, kind, imitation=forced(1.0)).collect(make_task(variant, kind))
    assert collected.imitate is not None and bool(collected.imitate[:, :2].all()) and not bool(collected.mask[:, :2].any())
    rows = uneven(collected)
    one, two = (learn(variant, kind, rows, imitation=forced(weight)).gradients[0] for weight in (1.0, 2.0))
    policy = make_policy(variant, kind).eval()
    loss = -averaged(variant, policy(rows).logp, rows.imitate)  # type: ignore[arg-type]
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [policy.get_parameter(name) for name in names], allow_unused=True)
    expected = {name: torch.zeros(()) if g is None else g for name, g in zip(names, found, strict=True)}
    assert difference({n: two[n] - one[n] for n in one}, {n: expected[n] * torch.ones_like(one[n]) for n in one}) < 1e-5
    # What is said about the prefix as if it had been sampled must not matter.
    strange = rows.replace(logp=torch.where(rows.imitate, -7.0, rows.logp))  # type: ignore[arg-type]
    assert difference(learn(variant, kind, strange, imitation=forced(1.0)).gradients[0], one) < 2e-6
    assert norm(one) > 0


@pytest.mark.parametrize("kind", ["own_texts", "glimpses", "cartpole_episodes", "table_episodes"])
@pytest.mark.parametrize("variant", ["reinforce_none", "self_critical_leave_one_out", "ppo_leave_one_out"])
def test_a_mix_is_refused_where_there_are_no_demonstrations(variant: str, kind: str) -> None:
    task, policy = make_task(variant, kind), make_policy(variant, kind)
    for mix in (ImitationConfig(weight=0.5), ImitationConfig(weight=0.5, forced_steps=2)):
        with pytest.raises(ValueError, match=r"demonstrations?.*(choose|set)|forced steps.*set"):
            make_trainer(variant, kind, policy, imitation=mix).collect(task)
