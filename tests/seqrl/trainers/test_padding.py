"""What does not count never reaches a gradient, be it NaN or infinite, whichever the trainer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_tokens import TokenPolicy, TokenTask, flat_weights

from seqrl import A2CConfig, OffPolicyConfig, PPOConfig, ReinforceConfig, SelfCriticalConfig, SupervisedConfig, VTraceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.action_values import ActionValues, ActionValuesConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.dqn import DQNConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trajectory import Trajectory, map_tree

PLAIN = OptimiserConfig(max_grad_norm=0.0)
MIX = ImitationConfig(weight=0.3)
TRAINERS: dict[str, Any] = {
    **{
        f"reinforce_{baseline}": ReinforceConfig(optimiser=PLAIN, baseline=baseline, whiten=True)  # type: ignore[arg-type]
        for baseline in ("none", "moving_average", "critic", "leave_one_out", "group_norm", "greedy")
    },
    "reinforce_whole": ReinforceConfig(optimiser=PLAIN, baseline="none", reward_to_go=False),
    "self_critical": SelfCriticalConfig(optimiser=PLAIN, ent_coef=0.1),
    "self_critical_greedy": SelfCriticalConfig(optimiser=PLAIN, baseline="greedy", imitation=MIX),
    **{f"a2c_{kind}": A2CConfig(optimiser=PLAIN, advantage=kind) for kind in ("n_step", "td_lambda", "gae")},  # type: ignore[arg-type]
    "ppo": PPOConfig(optimiser=PLAIN, epochs=2, minibatches=2, kl_coef=0.1, ent_coef=0.1),
    "ppo_again": PPOConfig(optimiser=PLAIN, epochs=2, minibatches=1, recompute_advantage=True, clip_range_vf=0.2),
    "ppo_leave_one_out": PPOConfig(optimiser=PLAIN, epochs=1, minibatches=1, advantage="leave_one_out"),
    "ppo_group_norm": PPOConfig(optimiser=PLAIN, epochs=1, minibatches=1, advantage="group_norm"),
    "ppo_greedy": PPOConfig(optimiser=PLAIN, epochs=1, minibatches=1, advantage="greedy", imitation=MIX),
    "vtrace": VTraceConfig(optimiser=PLAIN),
    "off_policy": OffPolicyConfig(optimiser=PLAIN, epochs=2),
    "off_policy_own_action": OffPolicyConfig(optimiser=PLAIN, weighting="own_action"),
    "trpo": TRPOConfig(optimiser=PLAIN, critic_epochs=2, critic_minibatches=1),
    "cem": CrossEntropyConfig(optimiser=PLAIN, percentile=50, gradient_steps=2, ent_coef=0.1),
    "supervised": SupervisedConfig(optimiser=PLAIN),
}
POLICIES = {
    "choice": (ActionSize(num_actions=3), ActorCriticConfig()),
    "shared_trunk": (ActionSize(num_actions=3), ActorCriticConfig(shared_trunk=True)),
    "numbers": (ActionSize(num_dimensions=2), ActorCriticConfig()),
    "squashed": (ActionSize(num_dimensions=2), ActorCriticConfig(squash=True, state_dependent_std=True)),
    "lstm": (ActionSize(num_actions=3), ActorCriticConfig(memory="lstm", memory_size=4)),
}


def averages(trainer: Any, rows: Trajectory) -> Tensor:
    """AdamW's averages of the gradients of an update, and the weights after it, which a natural step changes, too."""
    trainer.update(rows)
    moments = trainer.optimiser.state_dict()["adamw"]["state"].values()
    return torch.cat([*(moment["exp_avg"].flatten() for moment in moments), flat_weights(trainer.policy)])


def agent_rows(actions: ActionSize, *, seed: int = 0) -> Trajectory:
    """Rows that terminate and are cut short, with a dummy step after; of demonstrations; of nothing; that go on to the end."""
    draws = torch.Generator().manual_seed(seed)
    B, T = 5, 6

    def random(*shape: int) -> Tensor:
        return torch.randn(B, *shape, generator=draws)

    counted = torch.ones(B, T, dtype=torch.bool)
    counted[0, 3] = counted[1, 3] = False
    counted[2, 4:] = False
    counted[3] = False
    terminated, truncated = torch.zeros_like(counted), torch.zeros_like(counted)
    terminated[0, 2] = terminated[2, 3] = terminated[4, 5] = truncated[1, 2] = True
    imitate = torch.zeros_like(counted)
    imitate[2] = counted[2]
    action = random(T, 2).tanh() if actions.num_dimensions else torch.randint(3, (B, T), generator=draws)
    return Trajectory(
        action=action,
        logp=random(T) - 2.0,
        value=random(T + 1),
        reward=torch.where(counted, random(T), 0.0),
        terminated=terminated,
        truncated=truncated,
        mask=counted & ~imitate,
        obs=random(T + 1, 4),
        group=torch.zeros(B, dtype=torch.long),
        baseline=random(),
        imitate=imitate,
    )


def poisoned(rows: Trajectory, number: float) -> Trajectory:
    """The same rows with a number that is not finite wherever nothing counts and no return bootstraps."""
    counted, leads = rows.counted, rows.counted & ~rows.terminated
    read = torch.nn.functional.pad(counted, (0, 1)) | torch.nn.functional.pad(leads, (1, 0))
    rows_read = counted.any(dim=1)
    places = {
        "action": counted,
        "logp": counted,
        "reward": counted,
        "value": read,
        "obs": read,
        "baseline": rows_read,
        "context": rows_read,
    }

    def spoil(leaf: Tensor, keep: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf
        return torch.where(keep.view(*keep.shape, *[1] * (leaf.ndim - keep.ndim)), leaf, number)

    fields = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    spoilt = {name: map_tree(lambda leaf, keep=keep: spoil(leaf, keep), fields[name]) for name, keep in places.items()}
    return Trajectory(**(fields | spoilt))


# Numbers are broken in most places; of the other policies a few trainers tell enough.
FEW = ("reinforce_whole", "ppo", "vtrace", "off_policy", "trpo")
COMPARING_ROWS = ("leave_one_out", "group_norm", "greedy", "self_critical")


def first_episodes(rows: Trajectory) -> Trajectory:
    """The same rows up to their first end: rows that go on cannot be compared as wholes."""
    ended = rows.terminated | rows.truncated
    before = ended.cumsum(dim=1) - ended.long() == 0
    assert rows.imitate is not None
    kept = {"terminated": rows.terminated & before, "truncated": rows.truncated & before}
    kept["reward"] = torch.where(before, rows.reward, 0.0)
    return rows.replace(mask=rows.mask & before, imitate=rows.imitate & before, **kept)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in POLICIES for name in TRAINERS if kind == "numbers" or name in FEW])
def test_padding_of_an_agent_reaches_no_gradient(kind: str, name: str) -> None:
    actions, settings = POLICIES[kind]
    rows = agent_rows(actions)
    if any(method in name for method in COMPARING_ROWS):
        rows = first_episodes(rows)
    gradients = []
    for given in (rows, poisoned(rows, math.nan), *([poisoned(rows, -math.inf)] if kind == "numbers" else [])):
        policy = ActorCritic(ObservationSize((4,)), actions, (5,), settings, generator=torch.Generator().manual_seed(1))
        gradients.append(averages(TRAINERS[name].build(policy, seed=0, num_updates=4), given))
    assert gradients[0].isfinite().all()
    for spoilt in gradients[1:]:
        torch.testing.assert_close(spoilt, gradients[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in TRAINERS if name != "trpo"])
def test_padding_of_texts_reaches_no_gradient(name: str) -> None:
    collector = ReinforceConfig(optimiser=PLAIN, baseline="greedy", num_samples=3, imitation=MIX)
    rows = collector.build(TokenPolicy(), seed=4, num_updates=4).collect(TokenTask(num_contexts=3))
    assert not rows.counted.all()
    found = [averages(TRAINERS[name].build(TokenPolicy(), seed=0, num_updates=4), given) for given in (rows, poisoned(rows, math.nan))]
    assert found[0].isfinite().all()
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("estimate", ["mean", "categorical"])
@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_padding_reaches_no_action_value(memory: Any, estimate: Any) -> None:
    rows = agent_rows(ActionSize(num_actions=3))
    config = DQNConfig(optimiser=PLAIN, learning_starts=0, gradient_steps=3, batch_size=16, n_step=2, window_steps=4, buffer_size=100)
    settings, found = ActionValuesConfig(memory=memory, memory_size=4, estimate=estimate), []
    for given in (rows, poisoned(rows, math.nan)):
        policy = ActionValues(ObservationSize((4,)), 3, (5,), settings, generator=torch.Generator().manual_seed(1))
        found.append(averages(config.build(policy, seed=0, num_updates=4), given))
    assert found[0].isfinite().all()
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_what_counts_stays_as_it_is() -> None:
    rows = agent_rows(ActionSize(num_dimensions=2))
    everywhere = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    everywhere |= {name: torch.full_like(everywhere[name], math.nan) for name in ("action", "logp", "reward", "value", "obs", "baseline")}
    made = Trajectory(**everywhere)
    for name in ("action", "logp", "reward"):
        assert torch.equal(getattr(made, name).isnan().flatten(2).any(2) if name == "action" else getattr(made, name).isnan(), rows.counted)
    # What a return bootstraps from after a truncation, and what is seen after the last step, are not padding.
    seen = made.value.isnan()
    assert seen[0].tolist() == [True] * 3 + [False] + [True] * 3 and seen[1].all() and not seen[3].any() and seen[4].all()
    assert torch.equal(made.obs.isnan().all(2), seen) and made.baseline is not None  # type: ignore[union-attr]
    assert made.baseline.isnan().tolist() == [True, True, True, False, True]
    # Nothing is copied where all is well, and rows of numbers that are not finite may be replaced later.
    assert rows.replace(baseline=None).obs is rows.obs and agent_rows(ActionSize(num_actions=3)).replace(mask=rows.mask).mask is rows.mask
    assert not rows.replace(logp=torch.full_like(rows.logp, math.inf)).logp[~rows.counted].any()


def test_a_row_that_stops_counting_is_silenced_then() -> None:
    rows = agent_rows(ActionSize(num_actions=3))
    reward = rows.reward.clone()
    reward[4, 2] = math.nan
    broken = rows.replace(reward=reward)
    assert broken.reward[4, 2].isnan()
    mask = rows.mask.clone()
    mask[4] = False
    assert broken.replace(mask=mask).reward.isfinite().all()


def test_replace_refuses_what_is_no_field() -> None:
    with pytest.raises(TypeError, match="replace: expected fields of a Trajectory, got rewards"):
        agent_rows(ActionSize(num_actions=3)).replace(rewards=None)
