from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("ale_py")

from seqrl.optimiser import OptimiserConfig  # noqa: E402
from seqrl.run.decode import decode  # noqa: E402
from seqrl.tasks.atari.games import AtariGames  # noqa: E402
from seqrl.tasks.atari.task import AtariConfig, encoders  # noqa: E402
from seqrl.tasks.control.demonstrations import DemonstrationsConfig  # noqa: E402
from seqrl.tasks.control.task import EVALUATION_SEEDS, EnvTask  # noqa: E402
from seqrl.trainers.ppo import PPO, PPOConfig  # noqa: E402
from seqrl.trainers.supervised import Supervised, SupervisedConfig  # noqa: E402
from seqrl.trajectory import Step  # noqa: E402


class Repeater(nn.Module):
    """Takes one action for ever."""

    def __init__(self, action: int) -> None:
        super().__init__()
        self.action = action

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Tensor, state: Any = None, *, greedy: bool = False, generator: Any = None) -> Step:
        assert obs.dtype == torch.uint8 and obs.shape[1:] == (84, 84, 4)
        zeros = torch.zeros(obs.shape[0])
        return Step(torch.full((obs.shape[0],), self.action), zeros, zeros)


def trainer(policy: nn.Module) -> PPO:
    return PPOConfig(epochs=1, minibatches=2, minibatch_unit="steps", optimiser=OptimiserConfig(learning_rate=1e-3)).build(
        policy, seed=0, num_updates=4
    )


def small(**settings: Any) -> EnvTask:
    return AtariConfig(**{"num_envs": 2, "num_steps": 8, "num_eval_episodes": 2, **settings}).build(seed=0)


def test_rewards_are_clipped_and_metrics_are_raw() -> None:
    task, raw = (
        small(environment="demon_attack", num_steps=60, max_frames=320),
        small(environment="demon_attack", num_steps=60, reward_clip=0.0),
    )
    clipped = task.rollout(Repeater(1))
    assert clipped.reward.unique().tolist() == [0.0, 1.0] and clipped.obs.dtype == torch.uint8  # type: ignore[union-attr]
    assert raw.rollout(Repeater(1)).reward.unique().tolist() == [0.0, 10.0]
    task.rollout(Repeater(1))
    metrics = task.pop_metrics()
    assert metrics["episode/count"] == 2 and metrics["episode/return_mean"] >= 10.0 and metrics["episode/length"] == 80
    assert metrics["progress/num_env_steps"] == 2 * 120 - 2  # a dummy step each


def test_a_lost_life_terminates_but_the_episode_goes_on() -> None:
    task = small(environment="breakout", num_steps=110, noop_max=0)
    trajectory = task.rollout(Repeater(0))
    assert trajectory.terminated.sum(dim=1).min() >= 3 and not trajectory.truncated.any()
    after = torch.nn.functional.pad(trajectory.terminated, [1, 0])[:, :-1]
    assert torch.equal(~trajectory.mask, after)
    assert task.pop_metrics()["episode/count"] == 0


def test_evaluation_plays_whole_games_for_raw_scores() -> None:
    task = small(environment="breakout", num_eval_episodes=1, noop_max=0)
    result = task.evaluate(Repeater(0))
    games = AtariGames("breakout", 1, noop_max=0)
    games.reset(seed=EVALUATION_SEEDS["dev"])
    score, length, over = 0.0, 0, False
    while not over:
        _, reward, terminated, _, info = games.step(np.zeros(1, dtype=np.int64))
        score, length, over = score + reward[0], length + 1, bool(terminated[0])
    assert info["lives"][0] == 0 and result["return_mean"] == score and result["length"] == length
    assert result["human_normalised_score"] == pytest.approx((score - 1.7) / 28.8)
    assert "human_normalised_score" not in small(environment="tetris", max_frames=40).evaluate(Repeater(0))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_same_to_the_bit(precision: Any) -> None:
    def train(task: EnvTask, agent: PPO, updates: int) -> dict[str, Tensor]:
        for _ in range(updates):
            agent.update(agent.collect(task))
        return copy.deepcopy(agent.policy.state_dict())

    settings = {"environment": "breakout", "precision": precision, "sticky_actions": 0.25}
    task = small(**settings)
    agent = trainer(task.build_policy())
    train(task, agent, 2)
    saved = copy.deepcopy((task.state_dict(), agent.state_dict(), agent.policy.state_dict()))
    expected = train(task, agent, 2)
    again = small(**settings)
    resumed = trainer(again.build_policy())
    resumed.policy.load_state_dict(saved[2])
    resumed.load_state_dict(saved[1])
    again.load_state_dict(saved[0])
    got = train(again, resumed, 2)
    assert all(torch.equal(got[name], weight) for name, weight in expected.items())


@pytest.mark.slow
def test_the_precision_is_the_tasks() -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        assert [encoder.dtype for encoder in encoders(small(precision=precision).build_policy())] == [dtype]
    policy = small(precision="bf16").build_policy()
    assert all(weight.dtype == torch.float32 for weight in policy.parameters())


def test_sampling_and_learning_agree_about_log_probabilities() -> None:
    task = small(precision="bf16")
    policy = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    evaluation = policy(trajectory)
    assert evaluation.logp.dtype == evaluation.value.dtype == torch.float32
    assert torch.allclose(evaluation.logp, trajectory.logp, atol=1e-5)


@pytest.mark.slow
def test_pictures(tmp_path: Path) -> None:
    task = small(environment="pong", max_frames=60)
    gif, sheet, text = task.sample(Repeater(0), tmp_path, count=1)
    assert gif.read_bytes()[:3] == b"GIF" and sheet.read_bytes()[1:4] == b"PNG" and "return" in text.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"environment": "brakeout"}, "expected an Atari game, got 'brakeout'; did you mean 'breakout'"),
        ({"sticky_actions": 1.5}, "sticky_actions: expected a share from 0 to below 1, got 1.5"),
        ({"noop_max": -1}, "noop_max: expected 0 or more, got -1"),
        ({"num_frames": 0}, "num_frames: expected at least 1, got 0"),
        ({"num_envs": 0}, "num_envs: expected at least 1, got 0"),
        ({"precision": "fp8"}, "precision: expected one of auto, fp32, bf16, got 'fp8'"),
    ],
)
def test_bad_input(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_games_are_recorded_and_cloned_from_moved_pictures(tmp_path: Path) -> None:
    expert = small(max_frames=40)
    expert.record_data(Repeater(2), tmp_path / "pong", episodes=2)
    task = small(max_frames=40, demonstrations=DemonstrationsConfig(path=str(tmp_path / "pong"), batch_size=4, shift_px=4))
    assert task.demonstrations is not None
    shown = task.demonstrations(None)
    assert isinstance(shown.obs, Tensor) and shown.obs.shape == (4, 2, 84, 84, 4) and shown.obs.dtype == torch.uint8
    assert set(shown.action.flatten().tolist()) == {2}
    policy = task.build_policy()
    trainer = Supervised(policy, SupervisedConfig(optimiser=OptimiserConfig(learning_rate=1e-3)), num_updates=8)
    for _ in range(8):
        trainer.update(trainer.collect(task))
    with torch.no_grad():
        likely = policy.act(shown.obs[:, 0], None, greedy=True).action
    assert likely.tolist() == [2] * 4


def test_one_changed_setting_of_the_network_leaves_its_other_defaults() -> None:
    """The defaults of this task differ from those of the class two levels down."""
    config = decode(AtariConfig, {"policy": {"actor_critic": {"code_size": 64}}})
    assert config.policy.actor_critic == dataclasses.replace(AtariConfig().policy.actor_critic, code_size=64)
    assert config.policy.actor_critic.shared_trunk
