"""The actor-critic against itself step by step, masks against enumeration, statistics against numpy's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import Env
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from torch import Tensor

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import Inputs, ObservationSize, RunningNorm
from seqrl.rollout import unroll
from seqrl.sources import VectorEnvSource
from seqrl.trainers.ppo import PPOConfig
from seqrl.trajectory import Trajectory, concatenate, map_tree

LENGTHS = (2, 3, 5, 1)


class Walk(Env):
    """Shows random numbers for a fixed number of steps, then terminates or is truncated."""

    observation_space, action_space = Box(-9.0, 9.0, (3,)), Discrete(4)

    def __init__(self, length: int) -> None:
        self.length, self.left = length, length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = self.length
        return self._see(), {}

    def _see(self) -> np.ndarray:
        return self.np_random.normal(size=3).astype(np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        ended = self.left == 0
        return self._see(), float(action == 2), ended and self.length % 2 == 0, ended and self.length % 2 == 1, {}


def walks(seed: int = 0) -> VectorEnvSource:
    return VectorEnvSource(SyncVectorEnv([lambda length=length: Walk(length) for length in LENGTHS]), seed=seed)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(actions: ActionSize | None = None, hidden: tuple[int, ...] = (8,), **settings: Any) -> ActorCritic:
    config = ActorCriticConfig(memory_size=5, actor_gain=2.0, **settings)
    return ActorCritic(ObservationSize((3,)), actions or ActionSize(num_actions=4), hidden, config, generator=seeded())


FORMS = [dict(memory=memory, shared_trunk=shared) for memory in ("none", "lstm", "gru") for shared in (False, True)]


@pytest.mark.parametrize("form", [*FORMS, dict(activation="relu"), dict(normalise_observations=True)])
def test_the_update_sees_what_the_rollout_saw(form: dict[str, Any]) -> None:
    policy, source, state, generator = make(**form), walks(), None, seeded(1)
    for num_steps in (9, 1, 2, 6):  # the stretches begin before, on and after dummy steps
        trajectory, state = unroll(policy, source, max_steps=num_steps, state=state, generator=generator)
        policy.observe(trajectory.obs, trajectory.mask)
        again = policy(trajectory)
        assert (again.logp - trajectory.logp)[trajectory.mask].abs().max() < 1e-5
        # Dummy steps, too: there stands the value that a truncation bootstraps from.
        assert (again.value - trajectory.value[:, :-1]).abs().max() < 1e-5
        swapped = policy(trajectory.select_rows(torch.tensor([2, 0])))
        torch.testing.assert_close(swapped.logp, again.logp[[2, 0]])


@pytest.mark.parametrize("form", FORMS)
def test_two_stretches_are_one_long_one(form: dict[str, Any]) -> None:
    whole, _ = unroll(make(**form), walks(), max_steps=8, generator=seeded(3))
    policy, source, generator = make(**form), walks(), seeded(3)
    first, state = unroll(policy, source, max_steps=3, generator=generator)
    second, _ = unroll(policy, source, max_steps=5, state=state, generator=generator)
    assert torch.equal(torch.cat([first.action, second.action], dim=1), whole.action)
    for name in ("logp", "value"):
        parts = first.value[:, :-1] if name == "value" else first.logp, getattr(second, name)
        torch.testing.assert_close(torch.cat(parts, dim=1), getattr(whole, name))


def test_padding_after_the_end_changes_nothing() -> None:
    policy = make(memory="lstm", shared_trunk=True)
    long, _ = unroll(policy, walks(), max_steps=6, generator=seeded(1))
    short, _ = unroll(policy, walks(7), max_steps=3, generator=seeded(2))
    both = policy(concatenate([long, short]))
    torch.testing.assert_close(both.logp[4:, :3], policy(short).logp)


def test_the_memory_is_learned_through_the_stretch() -> None:
    policy = make(memory="gru", shared_trunk=True)
    trajectory, _ = unroll(policy, walks(), max_steps=4, generator=seeded(1))
    obs = trajectory.obs.clone().requires_grad_()  # type: ignore[union-attr]
    policy(trajectory.replace(obs=obs)).value[2, 3].backward()  # row 2 lasts for 5 steps
    assert obs.grad is not None and obs.grad[2, :4].any(dim=1).all() and not obs.grad[[0, 1, 3]].any()


def masked(mask: Tensor) -> tuple[Trajectory, dict[str, Tensor]]:
    rows, steps = mask.shape[0], mask.shape[1] - 1
    obs = {"observation": torch.randn(rows, steps + 1, 3, generator=seeded(1)), "action_mask": mask}
    flags, zeros = torch.zeros(rows, steps, dtype=torch.bool), torch.zeros(rows, steps)
    action, value = torch.zeros(rows, steps, dtype=torch.long), torch.zeros(rows, steps + 1)
    return Trajectory(action, zeros, value, zeros, flags, flags, ~flags, obs=obs), obs


def test_forbidden_actions_are_never_taken_and_teach_nothing() -> None:
    policy, mask = make(), torch.rand(50, 3, 4, generator=seeded()) < 0.5
    mask[..., 3] |= ~mask.any(dim=-1)
    trajectory, obs = masked(mask)
    with torch.no_grad():
        action = torch.stack([policy.act(map_tree(lambda leaf, t=t: leaf[:, t], obs), generator=seeded(t)).action for t in range(2)], dim=1)
    allowed = mask[:, :-1]
    assert allowed.gather(-1, action.unsqueeze(-1)).all()
    evaluation = policy(trajectory.replace(action=action))
    # By enumeration: the probabilities of what is allowed, scaled to one.
    plain = policy(trajectory.replace(obs=obs["observation"])).distribution.logits.softmax(dim=-1) * allowed
    probability = plain / plain.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(evaluation.logp.exp(), probability.gather(-1, action.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(evaluation.entropy, torch.special.entr(probability).sum(dim=-1))
    (evaluation.logp.sum() + evaluation.entropy.sum() + evaluation.value.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in policy.parameters() if parameter.grad is not None)


def test_a_step_without_allowed_actions_spoils_no_other() -> None:
    policy, mask = make(), torch.ones(2, 3, 4, dtype=torch.bool)
    mask[0, 1] = False  # for instance a dummy step
    evaluation = policy(masked(mask)[0])
    evaluation.logp[:, 0].sum().backward()
    assert evaluation.logp.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in policy.actor.parameters())


def test_several_choices_are_masked_each() -> None:
    policy, mask = make(ActionSize(choices=(2, 3))), torch.tensor([False, True, True, False, True]).expand(40, 3, 5)
    trajectory, obs = masked(mask)
    with torch.no_grad():
        action = policy.act(map_tree(lambda leaf: leaf[:, 0], obs), generator=seeded()).action
    assert (action[:, 0] == 1).all() and set(action[:, 1].tolist()) == {0, 2}


@pytest.mark.parametrize("settings", [{}, {"state_dependent_std": True}, {"squash": True}])
def test_continuous_actions_start_with_the_deviation_asked_for(settings: dict[str, bool]) -> None:
    config = ActorCriticConfig(first_log_std=-0.7, actor_gain=1e-3, **settings)
    policy = ActorCritic(ObservationSize((3,)), ActionSize(num_dimensions=2), (8,), config, generator=seeded())
    obs = torch.randn(20_000, 3, generator=seeded(1))
    with torch.no_grad():
        drawn, most_probable = policy.act(obs, generator=seeded()).action, policy.act(obs, greedy=True).action
    assert drawn.std(dim=0).tolist() == pytest.approx([np.exp(-0.7)] * 2, rel=0.03)
    assert most_probable.abs().max() < 0.02 and drawn.shape == (20_000, 2)


@pytest.mark.parametrize("settings", [{}, {"state_dependent_std": True}, {"squash": True}, {"memory": "lstm", "shared_trunk": True}])
def test_a_choice_and_a_continuous_action_at_once(settings: dict[str, Any]) -> None:
    size = ActionSize(num_actions=4, num_dimensions=2)
    config = ActorCriticConfig(first_log_std=-0.7, actor_gain=1e-3, memory_size=5, **settings)
    policy = ActorCritic(ObservationSize((3,)), size, (8,), config, generator=seeded())
    assert policy.max_entropy is None and size.num_outputs == 6
    obs = torch.randn(20_000, 3, generator=seeded(1))
    with torch.no_grad():
        drawn, most_probable = policy.act(obs, generator=seeded()).action, policy.act(obs, greedy=True).action
    assert drawn.shape == (20_000, 3)
    assert (drawn[:, 0].long().bincount() / 20_000).tolist() == pytest.approx([0.25] * 4, abs=0.015)
    assert drawn[:, 1:].std(dim=0).tolist() == pytest.approx([np.exp(-0.7)] * 2, rel=0.03)
    assert most_probable[:, 1:].abs().max() < 0.02 and set(most_probable[:, 0].tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_the_choice_of_a_joint_action_is_masked() -> None:
    policy, mask = make(ActionSize(num_actions=4, num_dimensions=2)), torch.tensor([False, True, False, True]).expand(40, 3, 4)
    _, obs = masked(mask)
    with torch.no_grad():
        action = policy.act(map_tree(lambda leaf: leaf[:, 0], obs), generator=seeded()).action
    assert set(action[:, 0].tolist()) == {1.0, 3.0} and len(action[:, 1].unique()) == 40


def test_normalised_observations_by_numpy() -> None:
    norm, chunks = RunningNorm(3), [np.random.default_rng(0).normal(5.0, 3.0, size=(size, 3)).astype(np.float32) for size in (50, 1, 200)]
    probe = torch.from_numpy(chunks[2])
    for chunk in chunks:
        norm.observe(torch.from_numpy(chunk))
    torch.testing.assert_close(norm(probe), probe.clamp(-10, 10))  # not before it is folded in
    norm.fold()
    everything = np.concatenate(chunks)
    expected = (chunks[2] - everything.mean(axis=0)) / everything.std(axis=0)
    np.testing.assert_allclose(norm(probe).numpy(), expected, atol=2e-5)
    norm.fold()
    assert float(norm.count) == 251 and float(norm(torch.full((3,), 1e6)).max()) == 10.0


def test_what_does_not_count_is_not_observed() -> None:
    inputs = Inputs(ObservationSize((2, 1)), normalise=True)
    obs, mask = torch.randn(4, 6, 2, 1, generator=seeded()), torch.rand(4, 5, generator=seeded()) < 0.5
    inputs.observe(obs, mask)
    assert inputs.norm is not None
    inputs.norm.fold()
    seen = obs[:, :-1][mask].numpy().reshape(-1, 2)
    np.testing.assert_allclose(inputs.norm.mean.numpy(), seen.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(inputs.norm.variance.numpy(), seen.var(axis=0), atol=1e-6)


def test_statistics_are_saved_with_the_weights_before_and_after_they_count() -> None:
    policy, source, generator = make(normalise_observations=True), walks(), seeded(1)
    first, _ = unroll(policy, source, max_steps=5, generator=generator)
    policy.observe(first.obs, first.mask)
    saved = copy.deepcopy(policy.state_dict())
    other = make(normalise_observations=True)
    other.load_state_dict(saved)
    obs = torch.randn(6, 3, generator=seeded(2))
    before = policy(first).logp
    torch.testing.assert_close(other(first).logp, before)
    for one in (policy, other):
        one.initial_state(None)  # the next rollout begins
    assert torch.equal(policy.act(obs, greedy=True).action, other.act(obs, greedy=True).action)
    assert not torch.equal(policy(first).logp, before) and torch.equal(policy(first).logp, other(first).logp)


@pytest.mark.parametrize("form", [dict(memory="lstm"), dict(memory="gru", shared_trunk=True)])
def test_ppo_improves_a_policy_with_a_memory(form: dict[str, Any]) -> None:
    policy, source, state = make(**form), walks(), None
    optimiser = OptimiserConfig(learning_rate=0.02)
    trainer = PPOConfig(minibatches=2, epochs=4, gamma=0.5, optimiser=optimiser).build(policy, seed=0, num_updates=8)
    rewards = []
    for _ in range(8):
        trajectory, state = unroll(policy, source, max_steps=32, state=state, generator=trainer.optimiser.generator)
        rewards.append(float(trajectory.reward[trajectory.mask].mean()))
        numbers = trainer.update(trajectory)
        assert numbers["policy/kl_sampling"] >= 0
    assert rewards[-1] > rewards[0] + 0.1


def test_heads_are_in_full_precision_under_autocast() -> None:
    policy = make(shared_trunk=True)
    trajectory, _ = unroll(policy, walks(), max_steps=4, generator=seeded(1))
    with torch.autocast("cpu", torch.bfloat16):
        evaluation = policy(trajectory)
    assert {evaluation.logp.dtype, evaluation.value.dtype, evaluation.entropy.dtype} == {torch.float32}
    torch.testing.assert_close(evaluation.logp, trajectory.logp, atol=0.1, rtol=0.1)


def test_frames_with_the_channels_last_give_the_same() -> None:
    policy = ActorCritic(
        ObservationSize((2, 84, 84), frames=True), ActionSize(num_actions=3), config=ActorCriticConfig(shared_trunk=True, code_size=16)
    )
    frames = torch.randint(0, 256, (3, 2, 84, 84), dtype=torch.uint8, generator=seeded())
    with torch.no_grad():
        first = policy.act(frames, greedy=True)
        second = policy.to(memory_format=torch.channels_last).act(frames, greedy=True)  # type: ignore[call-overload]
    torch.testing.assert_close(first.value, second.value)


def test_what_is_odd_is_named() -> None:
    for sizes in ({}, {"num_actions": 2, "choices": (2,)}, {"choices": (2,), "num_dimensions": 1}):
        with pytest.raises(ValueError, match="expected one of num_actions, choices and num_dimensions, or the first and the last"):
            ActionSize(**sizes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"frames: expected observations of shape \[channels, 84, 84\]"):
        ObservationSize((4, 64, 64), frames=True)
    with pytest.raises(TypeError, match="expected a tensor, or a mapping of observation and action_mask"):
        make().act((torch.zeros(1, 3),))
    for wrong in ({"memory": "rnn"}, {"activation": "gelu"}, {"code_size": 0}, {"hidden_gain": 0.0}, {"first_log_std": 5.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ActorCriticConfig(**wrong)  # type: ignore[arg-type]
