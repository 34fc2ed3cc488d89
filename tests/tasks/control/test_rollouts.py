"""What rollouts of a task hold: values at ends, masks, frames, rewards, metrics, and environments of every form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqrl.functional import returns
from seqrl.tasks.control.environments import make_environments
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask
from seqrl.trajectory import Step, Trajectory

_SPEC = importlib.util.spec_from_file_location("faulty_environments", Path(__file__).with_name("faulty.py"))
assert _SPEC is not None and _SPEC.loader is not None
_SPEC.loader.exec_module(importlib.util.module_from_spec(_SPEC))

SMALL = ControlPolicyConfig(hidden_sizes=(4,))


def task_of(environment: str, **settings: Any) -> EnvTask:
    return ControlConfig(environment, **{"policy": SMALL, "num_envs": 2, **settings}).build(0)


class KnowsTheValue(nn.Module):
    """Its value is exact at a discount of 0.9 in a Corridor: after a truncation, rewards would have gone on for ever."""

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any, *, greedy: bool = False, generator: Any = None) -> Step:
        seen = obs["observation"] if isinstance(obs, dict) else obs
        left, terminates = seen.unbind(dim=1)
        # What it says of an observation that nothing follows must not matter.
        finite = torch.where(left == 0, 1e6, 10.0 * (1.0 - 0.9**left))
        return Step((left.long() % 2), torch.zeros(len(left)), torch.where(terminates.bool(), finite, 10.0))


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_truncation_bootstraps_and_termination_does_not(vectorization: str) -> None:
    task = task_of("Corridor-v0", vectorization=vectorization, num_envs=4, num_steps=13, max_episode_steps=100)
    counts = {"terminated": 0, "truncated": 0}
    for _ in range(3):
        trajectory = task.rollout(KnowsTheValue())
        case = (trajectory.reward, trajectory.value, trajectory.terminated, trajectory.truncated)
        for name in counts:
            counts[name] += int(getattr(trajectory, name).sum())
        assert returns.gae(*case, 0.9, 0.95)[trajectory.mask].abs().max() < 1e-4
        assert (returns.discounted_return(*case, 0.9) - trajectory.value[:, :-1])[trajectory.mask].abs().max() < 1e-4
        wrong = returns.gae(*case[:2], *reversed(case[2:]), 0.9, 0.95)[trajectory.mask]
        assert wrong.abs().max() > 1.0
    assert min(counts.values()) > 3


def test_both_forms_of_copies_play_the_same_episodes() -> None:
    one, two = (task_of("Corridor-v0", vectorization=form, num_steps=20, max_episode_steps=100) for form in ("sync", "async"))
    for _ in range(2):
        first, second = one.rollout(KnowsTheValue()), two.rollout(KnowsTheValue())
        for name in ("obs", "action", "reward", "terminated", "truncated", "mask"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_action_masks_are_shown_and_kept_to() -> None:
    task = task_of("Corridor-v0", num_steps=30, action_masks=True, max_episode_steps=100)
    policy = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))  # Corridor asserts that they are kept to
    assert isinstance(trajectory.obs, dict)
    left, mask = trajectory.obs["observation"][..., 0], trajectory.obs["action_mask"]
    expected = torch.stack([left % 2 == 0, left % 2 == 1], dim=-1) | (left == 0).unsqueeze(-1)
    assert mask.dtype == torch.bool and torch.equal(mask, expected)
    greedy = task.evaluate(policy)
    assert greedy["return_min"] >= 2.0


def test_frames_are_stacked_and_an_episodes_first_fills_all_places() -> None:
    plain, stacked = (task_of("Corridor-v0", num_steps=25, frame_stack=n, max_episode_steps=100) for n in (1, 3))
    one, many = (task.rollout(Alternating()) for task in (plain, stacked))
    for row in range(2):
        start = 0
        for t in range(26):
            # A dummy step leads to an episode's first observation.
            start = t if t > 0 and not one.mask[row, t - 1] else start
            expected = torch.stack([one.obs[row, max(start, t - back)] for back in (2, 1, 0)])
            assert torch.equal(many.obs[row, t], expected), (row, t)
    assert many.obs.shape == (2, 26, 3, 2)
    cartpole = task_of("CartPole-v1", num_steps=5, frame_stack=3)
    policy = cartpole.build_policy()
    assert policy(cartpole.rollout(policy)).logp.shape == (2, 5)


class Alternating(KnowsTheValue):
    """Acts right whether or not frames are stacked."""

    def act(self, obs: Any, state: Any, **settings: Any) -> Step:
        return super().act(obs if obs.ndim == 2 else obs[:, -1], state)


def test_rewards_are_scaled_by_the_deviation_of_the_returns_and_clipped() -> None:
    raw, scaled, clipped = (
        task_of("Acrobot-v1", num_envs=3, num_steps=20, max_episode_steps=7, **settings)
        for settings in (
            {},
            {"reward_scale": True, "reward_discount": 0.5},
            {"reward_scale": True, "reward_discount": 0.5, "reward_clip": 1.9},
        )
    )
    policy = raw.build_policy()
    running, seen = np.zeros(3), []
    for k in range(3):
        rollouts = [task.rollout(policy, generator=torch.Generator().manual_seed(k)) for task in (raw, scaled, clipped)]
        reward, mask = rollouts[0].reward.double().numpy(), rollouts[0].mask.numpy()
        ended = (rollouts[0].terminated | rollouts[0].truncated).numpy()
        for t in range(20):
            running = 0.5 * running + reward[:, t]
            seen += list(running[mask[:, t]])
            running[ended[:, t]] = 0.0
        np.testing.assert_allclose(rollouts[1].reward.numpy(), reward / np.std(seen), rtol=1e-4)
        np.testing.assert_allclose(rollouts[2].reward.numpy(), np.clip(reward / np.std(seen), -1.9, 1.9), rtol=1e-4)
    assert float(rollouts[1].reward.min()) < -1.9
    metrics = [task.pop_metrics() for task in (raw, scaled, clipped)]
    assert metrics[0] == metrics[1] == metrics[2] and metrics[0]["episode/return_mean"] == -7.0


def test_metrics_tell_the_episodes_that_ended() -> None:
    task = task_of("Corridor-v0", num_steps=20, max_episode_steps=100)
    trajectory = task.rollout(KnowsTheValue())
    lengths = []
    for row in range(2):
        length = 0
        for t in range(20):
            length += int(trajectory.mask[row, t])
            if trajectory.terminated[row, t] or trajectory.truncated[row, t]:
                lengths.append(length)
                length = 0
    assert task.pop_metrics() == {
        "progress/num_env_steps": float(trajectory.mask.sum()),
        "episode/count": float(len(lengths)),
        "episode/return_mean": sum(lengths) / len(lengths),
        "episode/return_max": float(max(lengths)),
        "episode/length": sum(lengths) / len(lengths),
    }
    assert task.pop_metrics() == {"progress/num_env_steps": float(trajectory.mask.sum()), "episode/count": 0.0}


def test_metrics_of_whole_episodes_and_their_baseline() -> None:
    task = task_of("CartPole-v1", mode="episodes", num_envs=4, max_episode_steps=30)
    trajectory = task.rollout(task.build_policy(), greedy_baseline=True, generator=torch.Generator().manual_seed(0))
    assert trajectory.baseline is not None
    metrics = task.pop_metrics()
    assert metrics["episode/count"] == 4.0 and metrics["episode/return_mean"] == pytest.approx(float(trajectory.score.mean()))
    # A CartPole's return is its number of steps.
    assert metrics["progress/num_env_steps"] == float(trajectory.score.sum() + trajectory.baseline.sum())


@pytest.mark.parametrize("environment", ["Parts-v0", "Blackjack-v1"])
def test_observations_of_several_parts_and_several_choices(environment: str) -> None:
    task = task_of(environment, num_steps=6, max_episode_steps=9, num_eval_episodes=2)
    policy = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.obs, Tensor)
    assert trajectory.obs.shape == {"Parts-v0": (2, 7, 5), "Blackjack-v1": (2, 7, 45)}[environment]
    assert policy(trajectory).logp.shape == (2, 6)
    assert task.evaluate(policy)["length"] <= 9


def test_squashed_actions_reach_the_bounds_and_not_beyond() -> None:
    policy = ControlPolicyConfig(hidden_sizes=(4,))
    policy.actor_critic.squash = True
    task = task_of("Pendulum-v1", num_steps=9, policy=policy)
    taken: list[np.ndarray] = []
    step = task._source.envs.step
    task._source.envs.step = lambda action: (taken.append(action), step(action))[1]
    trajectory = task.rollout(task.build_policy(), generator=torch.Generator().manual_seed(0))
    expected = 2.0 * torch.tanh(trajectory.action).numpy()
    np.testing.assert_allclose(np.stack(taken, axis=1), expected, atol=1e-6)


def test_options_reach_the_environment() -> None:
    class Right(KnowsTheValue):
        def act(self, obs: Any, state: Any, **settings: Any) -> Step:
            return Step(torch.full((len(obs),), 2), torch.zeros(len(obs)), torch.zeros(len(obs)))

    calm = task_of("FrozenLake-v1", num_envs=8, num_steps=3, environment_options={"is_slippery": False}).rollout(Right())
    windy = task_of("FrozenLake-v1", num_envs=8, num_steps=3).rollout(Right())
    assert calm.obs[:, 1:].tolist() == [[1, 2, 3]] * 8  # type: ignore[index, call-overload]
    assert windy.obs[:, 1:].tolist() != [[1, 2, 3]] * 8  # type: ignore[index, call-overload]


def test_masked_cartpole_is_cartpole_without_velocities() -> None:
    shown, whole = (make_environments(name, 5) for name in ("seqrl/CartPoleMasked-v1", "CartPole-v1"))
    one, _ = shown.reset(seed=3)
    two, _ = whole.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(80):
        assert one.shape == (5, 2) and shown.single_observation_space.contains(one[0])
        np.testing.assert_array_equal(one, two[:, [0, 2]])
        action = rng.integers(0, 2, 5)
        (one, *first, _), (two, *second, _) = shown.step(action), whole.step(action)
        np.testing.assert_array_equal(np.array(first), np.array(second))
    single, plain = gym.make("seqrl/CartPoleMasked-v1"), gym.make("CartPole-v1")
    np.testing.assert_array_equal(single.reset(seed=1)[0], plain.reset(seed=1)[0][[0, 2]])
    np.testing.assert_array_equal(single.step(1)[0], plain.step(1)[0][[0, 2]])
    spec = gym.spec("seqrl/CartPoleMasked-v1")
    assert (spec.max_episode_steps, spec.reward_threshold) == (500, 475.0)


def test_a_policy_is_told_what_a_rollout_saw() -> None:
    task = task_of("Corridor-v0", num_steps=4, max_episode_steps=100)

    class Observing(KnowsTheValue):
        seen: list[Any] = []

        def observe(self, obs: Tensor, mask: Tensor) -> None:
            self.seen.append((obs, mask))

    trajectory: Trajectory = task.rollout(Observing())
    assert len(Observing.seen) == 1 and Observing.seen[0][0] is trajectory.obs and Observing.seen[0][1] is trajectory.mask


def test_memory_goes_on_across_rollouts_and_resumes() -> None:
    policy_config = ControlPolicyConfig(hidden_sizes=(6,))
    policy_config.actor_critic.memory = "gru"
    settings: dict[str, Any] = {"policy": policy_config, "num_envs": 3, "max_episode_steps": 8}
    short, long, resumed = (task_of("CartPole-v1", num_steps=n, **settings) for n in (5, 10, 5))
    policy = short.build_policy()
    generator, same = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    whole = long.rollout(policy, generator=same)
    first = short.rollout(policy, generator=generator)
    resumed.load_state_dict(short.state_dict())
    again = torch.Generator()
    again.set_state(generator.get_state())
    second, third = short.rollout(policy, generator=generator), resumed.rollout(policy, generator=again)
    for name in ("action", "logp", "reward", "mask"):
        assert torch.equal(torch.cat([getattr(first, name), getattr(second, name)], dim=1), getattr(whole, name)), name
        assert torch.equal(getattr(second, name), getattr(third, name)), name
    assert torch.allclose(policy(second).logp, second.logp, atol=1e-5)


def test_copies_rest_after_their_episode_and_play_the_next_as_before() -> None:
    task = task_of("Corridor-v0", mode="episodes", num_envs=4, max_episode_steps=100)
    steps = [0]
    for copy in task._sources.get(4, training=True, seed=0).envs.envs:
        inner, step = copy.env, copy.env.step
        inner.step = lambda action, step=step: (steps.__setitem__(0, steps[0] + 1), step(action))[1]
    for _ in range(3):
        trajectory = task.rollout(KnowsTheValue())
        left = trajectory.obs[:, 0, 0]  # type: ignore[index, call-overload]
        assert trajectory.score.tolist() == left.tolist() == trajectory.mask.sum(dim=1).tolist()
        assert len(set(left.tolist())) > 1
    assert steps[0] == task.pop_metrics()["progress/num_env_steps"]
