from __future__ import annotations

import copy
from dataclasses import dataclass

import gymnasium as gym
import pytest
import torch
from torch import nn

from seqrl.protocols import Policy, Task
from seqrl.requirements import demonstrations_of
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.task import ControlConfig, ControlPolicyConfig, EnvTask
from seqrl.trajectory import Step


def make(seed: int = 0, **settings) -> EnvTask:
    return ControlConfig(policy=ControlPolicyConfig((8,)), **settings).build(seed)


class Balance(nn.Module):
    """Pushes towards where the pole falls, which holds it up for 500 steps; greedy or not."""

    def __init__(self, sense: float = 1.0) -> None:
        super().__init__()
        self.sense = sense

    def initial_state(self, context):
        return None

    def act(self, obs, state=None, *, greedy=False, generator=None):
        action = (self.sense * (obs[:, 2] + 0.5 * obs[:, 3] + 0.02 * obs[:, 0] + 0.05 * obs[:, 1]) > 0).long()
        return Step(action, torch.zeros(obs.shape[0]), torch.zeros(obs.shape[0]))


def test_meets_the_roles() -> None:
    task = make()
    assert isinstance(task, Task)
    assert isinstance(task.build_policy(), Policy)


def test_an_id_and_a_setting_are_enough() -> None:
    task, whole = EnvTask("CartPole-v1", seed=3, num_envs=2), ControlConfig(num_envs=2).build(3)
    assert task.config == whole.config
    policies = [one.build_policy().state_dict() for one in (task, whole)]
    assert all(torch.equal(policies[0][name], policies[1][name]) for name in policies[1])
    with pytest.raises(TypeError, match="num_env"):
        EnvTask("CartPole-v1", num_env=2)


def test_steps_go_on_across_rollouts() -> None:
    task, whole = make(num_envs=3, num_steps=30), make(num_envs=3, num_steps=60)
    policy = task.build_policy()
    generator, same = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    first, second = (task.rollout(policy, generator=generator) for _ in range(2))
    both = whole.rollout(policy, generator=same)
    for name in ("action", "reward", "terminated", "mask"):
        torch.testing.assert_close(torch.cat([getattr(first, name), getattr(second, name)], dim=1), getattr(both, name))
    torch.testing.assert_close(torch.cat([first.obs[:, :-1], second.obs], dim=1), both.obs)


def test_dummy_steps_do_not_count_and_the_last_observation_is_true() -> None:
    trajectory = make(num_envs=4, num_steps=120).rollout(Balance(-1.0))
    fallen = trajectory.terminated.nonzero()
    assert fallen.shape[0] >= 12
    for row, t in fallen.tolist():
        assert float(trajectory.obs[row, t + 1, 2].abs()) > 0.2  # beyond 12 degrees = 0.2094 rad
        if t + 1 < 120:
            assert not trajectory.mask[row, t + 1]
            assert trajectory.reward[row, t + 1] == 0
    assert int((~trajectory.mask).sum()) == sum(t + 1 < 120 for _, t in fallen.tolist())
    assert float(trajectory.reward.sum()) == float(trajectory.mask.sum())  # one point a step that counts


def test_time_limit_truncates_rather_than_terminates() -> None:
    trajectory = make(mode="episodes", num_envs=3, max_episode_steps=40).rollout(Balance())
    assert trajectory.num_steps == 40
    assert not trajectory.terminated.any()
    assert trajectory.truncated[:, -1].all() and not trajectory.truncated[:, :-1].any()


def test_episodes_end_once_and_nothing_follows() -> None:
    task = make(mode="episodes", num_envs=5)
    policy = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    ended = trajectory.terminated | trajectory.truncated
    assert (ended.sum(dim=1) == 1).all()
    for row in range(5):
        last = int(ended[row].nonzero())
        assert trajectory.mask[row, : last + 1].all() and not trajectory.mask[row, last + 1 :].any()
        assert float(trajectory.score[row]) == last + 1
    assert trajectory.num_steps == int(trajectory.mask.sum(dim=1).max())


def test_each_rollout_of_episodes_starts_elsewhere_and_each_row_too() -> None:
    task = make(mode="episodes", num_envs=2)
    policy = task.build_policy()
    starts = torch.cat([task.rollout(policy, num_samples=2, greedy=True).obs[:, 0] for _ in range(3)])
    assert starts.shape[0] == 12
    assert torch.unique(starts, dim=0).shape[0] == 12


def test_greedy_baseline_is_the_greedy_return_from_the_same_starts() -> None:
    task, twin = make(mode="episodes", num_envs=4), make(mode="episodes", num_envs=4)
    policy = task.build_policy()
    trajectory = task.rollout(policy, greedy_baseline=True, generator=torch.Generator().manual_seed(0))
    greedy = twin.rollout(policy, greedy=True)
    torch.testing.assert_close(trajectory.obs[:, 0], greedy.obs[:, 0])
    torch.testing.assert_close(trajectory.baseline, greedy.score)
    assert greedy.baseline is None


def test_evaluation_is_fixed_and_does_not_disturb_training() -> None:
    task, undisturbed = make(num_envs=2, num_steps=20), make(num_envs=2, num_steps=20)
    policy = task.build_policy()
    results = []
    for _ in range(2):
        results.append(task.evaluate(policy.train()))
        assert policy.training
        one = task.rollout(policy, generator=torch.Generator().manual_seed(0))
        assert policy.training
        two = undisturbed.rollout(policy, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(one.obs, two.obs)
    assert results[0] == results[1]
    assert task.evaluate(policy, split="test") != results[0]
    with pytest.raises(ValueError, match="split"):
        task.evaluate(policy, split="train")


def test_evaluation_of_known_players(monkeypatch) -> None:
    task = make(num_eval_episodes=25)
    best = task.evaluate(Balance())
    assert best == {"return_mean": 500.0, "return_min": 500.0, "return_max": 500.0, "length": 500.0}
    worst = task.evaluate(Balance(-1.0))
    assert 5 < worst["return_min"] <= worst["return_mean"] <= worst["return_max"] < 15
    # In parts, too.
    monkeypatch.setattr("seqrl.tasks.control.episodes.LARGEST_BATCH", 10)
    assert task.evaluate(Balance()) == best


@pytest.mark.parametrize("mode", ["steps", "episodes"])
def test_resume_is_exact(mode: str, tmp_path) -> None:
    task = make(mode=mode, num_envs=3, num_steps=25)
    policy = task.build_policy()
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        task.rollout(policy, generator=generator)
    torch.save(task.state_dict(), tmp_path / "task.pt")
    resumed = make(mode=mode, num_envs=3, num_steps=25)
    resumed.load_state_dict(torch.load(tmp_path / "task.pt", weights_only=True))
    same = torch.Generator()
    same.set_state(generator.get_state())
    for _ in range(3):
        one, two = task.rollout(policy, generator=generator), resumed.rollout(policy, generator=same)
        for name in ("obs", "action", "logp", "reward", "terminated", "mask"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=0, atol=0)


class Forgetful(gym.vector.VectorWrapper):
    """Cannot tell its state."""

    @property
    def unwrapped(self):
        return self


def forgetful_task() -> EnvTask:
    @dataclass(frozen=True)
    class Factory(GymnasiumFactory):
        def make(self, num_envs, *, training, render_mode=None):
            return Forgetful(super().make(num_envs, training=training))

    config = ControlConfig(environment="Acrobot-v1", num_envs=2, num_steps=5, policy=ControlPolicyConfig((8,)))
    return EnvTask(config, factory=Factory("Acrobot-v1"))


def test_resume_without_a_state_warns_and_starts_new_episodes_reproducibly() -> None:
    task = forgetful_task()
    policy = task.build_policy()
    task.rollout(policy)
    state = task.state_dict()
    assert state["environment"] is None
    starts = []
    for _ in range(2):
        resumed = forgetful_task()
        with pytest.warns(UserWarning, match="Acrobot-v1 did not keep its state: its episodes start anew"):
            resumed.load_state_dict(copy.deepcopy(state))
        starts.append(resumed.rollout(policy, greedy=True).obs[:, 0])
    torch.testing.assert_close(starts[0], starts[1])


def test_what_cannot_be_asked_for_says_so() -> None:
    task = make()
    policy = task.build_policy()
    with pytest.raises(ValueError, match=r"EnvTask has no demonstrations to imitate; set task\.demonstrations\.path to .*, or choose"):
        demonstrations_of(task)(None)
    with pytest.raises(ValueError, match="no demonstrations"):
        task.rollout(policy, num_forced_steps=1)
    with pytest.raises(ValueError, match="task.mode=episodes"):
        task.rollout(policy, num_samples=5)
    with pytest.raises(ValueError, match="greedy baseline"):
        task.rollout(policy, greedy_baseline=True)


@pytest.mark.parametrize("setting", [{"num_envs": 0}, {"num_steps": 0}, {"num_eval_episodes": 0}, {"max_episode_steps": 0}])
def test_settings_out_of_range_are_named(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        ControlConfig(**setting)
    with pytest.raises(ValueError, match="hidden_sizes"):
        ControlConfig(policy=ControlPolicyConfig(()))


@pytest.mark.parametrize("environment", ["Acrobot-v1", "Pendulum-v1", "FrozenLake-v1", "MountainCarContinuous-v0"])
def test_other_environments_run(environment: str) -> None:
    task = make(environment=environment, num_envs=2, num_steps=6, max_episode_steps=8, num_eval_episodes=2)
    policy = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert policy(trajectory).logp.shape == (2, 6)
    assert task.evaluate(policy)["length"] <= 8
