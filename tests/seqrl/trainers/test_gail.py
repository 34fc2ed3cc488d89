from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.discriminator import Discriminator
from seqrl.policies.encoders import ObservationSize
from seqrl.trainers.gail import GAIL, GAILConfig, repacked, reward_of
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.ppo_config import PPOConfig
from seqrl.trajectory import Trajectory, concatenate

PPO_ONCE = PPOConfig(epochs=1, minibatches=1)


def rows_of(state: torch.Tensor, action: torch.Tensor, *, shown: bool = False) -> Trajectory:
    """Rows [B, T] of numbered states and actions, all of them the policy's or all demonstrated."""
    B, T = state.shape
    zeros, no = torch.zeros(B, T), torch.zeros(B, T, dtype=torch.bool)
    obs = torch.cat([state, state[:, -1:]], dim=1)
    given = {"mask": no, "imitate": ~no} if shown else {"mask": ~no}
    return Trajectory(action=action, logp=zeros, value=torch.zeros(B, T + 1), reward=zeros, terminated=no, truncated=no, obs=obs, **given)


def steps(counts: dict[tuple[int, int], int], *, shown: bool = False) -> Trajectory:
    """A row of steps in which each pair of state and action stands so often."""
    pairs = torch.tensor([pair for pair, count in counts.items() for _ in range(count)])
    return rows_of(pairs[None, :, 0], pairs[None, :, 1], shown=shown)


def test_at_its_optimum_the_discriminator_gives_the_log_ratio_of_the_visits() -> None:
    """f = log(rho_expert / rho_policy); of 8 expert and 16 policy steps a pair with 4 and 2 has log((4/8) / (2/16)) = log 4."""
    expert = {(0, 0): 4, (0, 1): 1, (1, 0): 1, (1, 1): 2}
    policy = {(0, 0): 2, (0, 1): 8, (1, 0): 2, (1, 1): 4}
    expected = {(0, 0): math.log(4), (0, 1): math.log(1 / 4), (1, 0): 0.0, (1, 1): 0.0}
    agent = ActorCritic(ObservationSize((), num_categories=2), ActionSize(num_actions=2), (4,))
    config = GAILConfig(hidden_sizes=(16,), discriminator_steps=400, discriminator=OptimiserConfig(learning_rate=0.02), ppo=PPO_ONCE)
    trainer = GAIL(agent, config)
    trainer.update(concatenate([steps(policy), steps(expert, shown=True)]))
    every = steps(dict.fromkeys(expected, 1))
    with torch.no_grad():
        f = trainer.discriminator(every).logp[0]  # type: ignore[misc]
    torch.testing.assert_close(f, torch.tensor(list(expected.values())), rtol=0, atol=0.05)


def test_rewards_by_hand() -> None:
    odds = torch.tensor([1.0, 3.0, 1 / 4])
    paid = {form: reward_of(odds.log(), form) for form in ("positive", "negative", "log_ratio")}  # type: ignore[arg-type]
    torch.testing.assert_close(paid["positive"], torch.tensor([math.log(2), math.log(4), math.log(5 / 4)]))
    torch.testing.assert_close(paid["negative"], torch.tensor([math.log(1 / 2), math.log(3 / 4), math.log(1 / 5)]))
    torch.testing.assert_close(paid["log_ratio"], odds.log())


def test_ppo_learns_from_the_discriminators_reward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = ActorCritic(ObservationSize((), num_categories=2), ActionSize(num_actions=2), (4,))
    trainer = GAIL(agent, GAILConfig(hidden_sizes=(4,), reward="log_ratio", ppo=PPO_ONCE))
    rows = steps({(0, 0): 2, (1, 1): 1}).replace(reward=torch.tensor([[100.0, -100.0, 7.0]]))
    rows = rows.replace(mask=torch.tensor([[True, False, True]]))
    seen: list[Trajectory] = []
    monkeypatch.setattr(trainer.ppo, "update", lambda rows: seen.append(rows) or {})
    trainer.update(concatenate([rows, steps({(0, 1): 3}, shown=True)]))
    with torch.no_grad():
        f = trainer.discriminator(rows).logp[0]  # type: ignore[misc]
    assert seen[0].batch_size == 1 and seen[0].imitate is None
    torch.testing.assert_close(seen[0].reward[0], torch.stack([f[0], torch.zeros(()), f[2]]))


def test_the_penalty_is_the_squared_slope() -> None:
    one = Discriminator(ObservationSize((2,)), ActionSize(num_dimensions=1), [], torch.Generator().manual_seed(0))
    rows = Trajectory.of_known(vars(steps({(0, 0): 3})) | {"obs": torch.randn(1, 4, 2), "action": torch.randn(1, 3, 1)})
    (matrix,) = (p for p in one.layers.parameters() if p.ndim == 2)
    torch.testing.assert_close(one.penalty(rows), matrix.square().sum().expand(1, 3))


def test_actions_as_the_discriminator_sees_them() -> None:
    def seen(size: ActionSize, action: Any) -> list[float]:
        module = Discriminator(ObservationSize((1,)), size, (3,), torch.Generator().manual_seed(0))
        rows = Trajectory.of_known(vars(steps({(0, 0): 1})) | {"obs": torch.zeros(1, 2, 1), "action": torch.tensor([[action]])})
        return module.features(rows)[0, 0, 1:].tolist()

    assert seen(ActionSize(num_actions=3), 2) == [0, 0, 1]
    assert seen(ActionSize(choices=(2, 3)), [1, 0]) == [0, 1, 1, 0, 0]
    assert seen(ActionSize(num_dimensions=2), [0.5, -7.0]) == [0.5, -7]
    assert seen(ActionSize(num_dimensions=2, bounds=((-1, 1), (-2, 2))), [0.5, -7.0]) == [0.5, -2]
    assert seen(ActionSize(num_actions=2, num_dimensions=1), [1.0, 0.25]) == [0, 1, 0.25]


def test_repacked_steps_keep_what_belongs_together() -> None:
    state = torch.arange(12).view(3, 4)
    shown = rows_of(state, state * 10, shown=True)
    imitate = torch.tensor([[True, True, False, True], [False] * 4, [True, True, True, True]])
    rows = repacked(shown.replace(imitate=imitate), 5)
    assert rows.action.shape == (2, 5) and rows.imitate is not None and rows.imitate.tolist() == [[True] * 5, [True] * 2 + [False] * 3]
    assert rows.action[rows.imitate].tolist() == [0, 10, 30, 80, 90, 100, 110]
    assert torch.equal(rows.obs[:, :-1] * 10, rows.action)  # type: ignore[index, call-overload, operator]


def test_what_cannot_be_served_is_refused() -> None:
    frames = ActorCritic(ObservationSize((1, 84, 84), frames=True), ActionSize(num_actions=2), config=ActorCriticConfig(code_size=4))
    shown: Any = SimpleNamespace(demonstrations=lambda group: None)
    with pytest.raises(ValueError, match=r"gail: expected an ActorCritic that sees numbers.*sees something else; choose"):
        GAIL(frames).check_task(shown)
    with pytest.raises(ValueError, match=r"ppo\.imitation\.weight: expected 0"):
        GAILConfig(ppo=PPOConfig(imitation=ImitationConfig(weight=0.1)))


def pole(tmp_path: Any, **settings: Any) -> Any:
    from seqrl.tasks.control.demonstrations import DemonstrationsConfig
    from seqrl.tasks.control.task import EnvTask

    if not (tmp_path / "shown").exists():
        once = EnvTask("CartPole-v1", max_episode_steps=20)
        once.record_data(once.build_policy(), tmp_path / "shown", episodes=4)
    shown = DemonstrationsConfig(path=str(tmp_path / "shown"), batch_size=30)
    return EnvTask("CartPole-v1", num_envs=3, num_steps=8, max_episode_steps=20, demonstrations=shown, **settings)


@pytest.mark.parametrize("memory", ["none", "lstm"])
@pytest.mark.parametrize("mode", ["steps", "episodes"])
def test_a_resumed_run_goes_on_with_the_same_numbers(tmp_path: Any, memory: Any, mode: str) -> None:
    from seqrl.tasks.control.policy import ControlPolicyConfig

    def start() -> Any:
        actor_critic = ActorCriticConfig(memory=memory, memory_size=6, normalise_observations=True)
        task = pole(tmp_path, mode=mode, policy=ControlPolicyConfig(hidden_sizes=(8,), actor_critic=actor_critic))
        return task, GAIL(task.build_policy(), GAILConfig(gradient_penalty=0.1, ppo=PPOConfig(minibatches=2)), num_updates=4)

    task, trainer = start()
    trainer.update(trainer.collect(task))
    state = copy.deepcopy((trainer.state_dict(), task.state_dict(), trainer.policy.state_dict()))
    expected = trainer.update(trainer.collect(task))
    task, trainer = start()
    trainer.load_state_dict(state[0])
    task.load_state_dict(state[1])
    trainer.policy.load_state_dict(state[2])
    assert trainer.update(trainer.collect(task)) == expected
    assert {
        "loss/discriminator",
        "loss/discriminator_expert",
        "discriminator/expert_share",
        "discriminator/policy_share",
    } <= expected.keys()
