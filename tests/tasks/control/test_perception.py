"""Environments that take a prediction with every action: rows and rewards by hand, what may be seen, what is learned, bad input, ap-gym."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from safetensors.torch import load_file

from seqrl import Optimiser, OptimiserConfig
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.run import checkpoint
from seqrl.run.config import RunConfig
from seqrl.run.registry import TRAINERS, find
from seqrl.run.train import resume, train
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask

STEPS = 4


class CrossEntropy:
    """In ap-gym's form, by NumPy and by PyTorch."""

    def numpy(self, prediction: np.ndarray, target: int) -> float:
        return float(np.log(np.exp(prediction).sum()) - prediction[target])

    def torch(self, prediction: torch.Tensor, target: torch.Tensor, batch_shape: tuple[int, ...] = (), rng: Any = None) -> torch.Tensor:
        return F.cross_entropy(prediction.flatten(0, -2), target.flatten(), reduction="none").view(batch_shape)


class SquaredError:
    """The same for numbers."""

    def numpy(self, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.square(prediction - target).mean())

    def torch(self, prediction: torch.Tensor, target: torch.Tensor, batch_shape: tuple[int, ...] = (), rng: Any = None) -> torch.Tensor:
        return (prediction - target).square().mean(dim=-1)


class HiddenBit(gym.Env):
    """A bit, or two numbers of its size, that is seen for one step after the action 1 (or a number above 0), which costs 0.1."""

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, kind: str = "bit", loss_fn: Any = None) -> None:
        self.is_bit = kind == "bit"
        action = Discrete(2) if self.is_bit else Box(-1, 1, (1,), np.float32)
        prediction = Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_space = Dict({"seen": Box(-1, 1, (1,), np.float32), "clock": Box(0, 1, (), np.float32)})
        self.action_space = Dict({"action": action, "prediction": prediction})
        self.prediction_target_space: Any = Discrete(2) if self.is_bit else Box(-1, 1, (2,), np.float32)
        self.loss_fn = loss_fn or (CrossEntropy() if self.is_bit else SquaredError())

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.bit, self.time = int(self.np_random.integers(2)), 0
        return self._shown(False), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        looks = bool(np.ravel(action["action"])[0] > 0)
        target = self.bit if self.is_bit else np.full(2, 2.0 * self.bit - 1, np.float32)
        loss = self.loss_fn.numpy(action["prediction"], target)
        self.time += 1
        told = {"prediction": {"target": target, "loss": loss}, "base_reward": -0.1 * looks, "stats": {"odd": [self.time] * self.time}}
        return self._shown(looks), -0.1 * looks - loss, self.time == STEPS, False, told

    def _shown(self, looks: bool) -> dict[str, np.ndarray]:
        return {"seen": np.array([looks * (2.0 * self.bit - 1)], np.float32), "clock": np.array(self.time / STEPS, np.float32)}


gym.register("HiddenBit-v0", entry_point=HiddenBit, max_episode_steps=STEPS)
MEMORY = ActorCriticConfig(memory="gru", memory_size=16)
POLICY = ControlPolicyConfig(hidden_sizes=(16,), actor_critic=MEMORY)


def hidden_bit(kind: str = "bit", **settings: Any) -> EnvTask:
    return EnvTask("HiddenBit-v0", **{"environment_options": {"kind": kind}, "mode": "episodes", "policy": POLICY} | settings)


@pytest.mark.parametrize(("kind", "num_targets"), [("bit", 1), ("numbers", 2)])
def test_rows_by_hand(kind: str, num_targets: int) -> None:
    task = hidden_bit(kind, num_envs=6)
    policy = task.build_policy()
    rows = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert rows.action.shape == (6, STEPS, 3) and rows.obs.shape == (6, STEPS + 1, num_targets + 2)
    target, seen = rows.obs[..., :num_targets], rows.obs[..., -1]  # flattened by name: the clock stands first
    assert not target[:, 0].any() and (target[:, 1:] == target[:, 1:2]).all() and len(target[:, 1].unique()) == 2
    looks = rows.action[..., 0] > 0
    sign = (2 * target[:, 1:, 0] - 1) if kind == "bit" else target[:, 1:, 0]
    assert torch.equal(seen[:, 1:], torch.where(looks, sign, 0.0))
    predicted = rows.action[..., 1:]
    if kind == "bit":
        loss = -predicted.log_softmax(dim=-1).gather(2, target[:, 1:].long()).squeeze(2)
        assert set(rows.action[..., 0].unique().tolist()) <= {0.0, 1.0}
    else:
        loss = (predicted - target[:, 1:]).square().mean(dim=-1)
    torch.testing.assert_close(rows.reward, -0.1 * looks - loss)
    # The same weights predict the same again, so that what they learn by is what they were charged.
    evaluation = policy(rows)
    torch.testing.assert_close(evaluation.aux_loss, loss.mean())
    torch.testing.assert_close(evaluation.logp, rows.logp)
    assert policy.aux_count(rows) == 6 * STEPS


@pytest.mark.parametrize("kind", ["bit", "numbers"])
def test_the_policy_does_not_see_the_target(kind: str) -> None:
    task = hidden_bit(kind, num_envs=4)
    policy = task.build_policy()
    rows = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    number = rows.obs.shape[-1] - 2
    other = rows.obs.clone()
    other[..., :number] = 1 - other[..., :number]
    assert torch.equal(policy.act(rows.obs[:, 0], greedy=True).action, policy.act(other[:, 0], greedy=True).action)
    before, after = policy(rows), policy(rows.replace(obs=other))
    assert torch.equal(before.logp, after.logp) and torch.equal(before.value, after.value) and before.aux_loss != after.aux_loss
    # Its gradient reaches the prediction and the trunk, and not the actor or the critic.
    before.aux_loss.backward()
    assert all(weight.grad is None or not weight.grad.any() for head in (policy.actor, policy.critic) for weight in head.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in policy.predict.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in policy.trunk.parameters())


def test_steps_that_do_not_count_are_not_learned() -> None:
    task = hidden_bit(num_envs=4, mode="steps", num_steps=7)  # a dummy step in the middle
    policy = task.build_policy()
    rows = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert not rows.mask.all() and policy.aux_count(rows) == rows.mask.sum()
    target, predicted = rows.obs[:, 1:, 0].long(), rows.action[..., 1:]
    loss = -predicted.log_softmax(dim=-1).gather(2, target.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(policy(rows).aux_loss, loss[rows.mask].mean())
    silent = hidden_bit(num_envs=4, policy=replace(POLICY, prediction_weight=0.0))
    policy = silent.build_policy()
    rows = silent.rollout(policy)
    assert policy.aux_count(rows) == 0 and policy(rows).aux_loss == 0


def config_of(trainer: str, folder: Path, kind: str, num_updates: int, **settings: Any) -> RunConfig:
    task = ControlConfig("HiddenBit-v0", {"kind": kind}, mode="episodes", num_envs=32, num_eval_episodes=64, policy=POLICY)
    optimiser = OptimiserConfig(learning_rate=1e-2, precision="fp32")
    more: dict[str, Any] = {
        "ppo": {"epochs": 4, "minibatches": 2, "minibatch_unit": "rows"},
        "reinforce": {"baseline": "critic", "num_samples": 1},
    }
    trainer_config = find(TRAINERS, trainer)(optimiser=optimiser, **more[trainer])
    return RunConfig("run", task, trainer_config, num_updates=num_updates, num_threads=1, runs_folder=folder, **settings)


@pytest.mark.parametrize(("trainer", "kind", "num_updates"), [("ppo", "bit", 25), ("reinforce", "bit", 80), ("ppo", "numbers", 40)])
def test_learns_to_look_and_to_tell(trainer: str, kind: str, num_updates: int, tmp_path: Path) -> None:
    result = train(config_of(trainer, tmp_path, kind, num_updates, eval_every=num_updates), display=False)
    # Blind: log 2 = 0.69 (of numbers 1) a step, a return of -2.8 (-4). One look: the first step is a guess, the others are known.
    blind = 0.6931 if kind == "bit" else 1.0
    found = result.evaluation
    assert found["last_prediction_loss"] < 0.1 and found["prediction_loss"] < 0.45 * blind
    assert found["return_mean"] > -1.7 * blind - 0.1
    assert ("accuracy" in found) == (kind == "bit") and found.get("accuracy", 1.0) == 1.0


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = config_of("ppo", tmp_path / "whole", "bit", 4)
    half = config_of("ppo", tmp_path / "half", "bit", 2)
    train(whole, display=False)
    train(half, display=False)
    resume(tmp_path / "half" / "run", ["--num_updates=4"], display=False)
    ours, theirs = (load_file(checkpoint.find(tmp_path / name / "run") / checkpoint.WEIGHTS) for name in ("half", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class NoTorch:
    def torch(self, *arguments: Any) -> torch.Tensor:
        raise NotImplementedError("Loss function is not implemented for torch.")


class NoGradient(CrossEntropy):
    def torch(self, *arguments: Any) -> torch.Tensor:
        return super().torch(*arguments).detach()


def strange(**changes: Any) -> Any:
    def make() -> gym.Env:
        env = HiddenBit(loss_fn=changes.pop("loss_fn", None))
        for name, space in changes.items():
            if name in ("action", "prediction"):
                env.action_space = Dict({**env.action_space.spaces, name: space})
            else:
                setattr(env, name, space)
        return env

    return make


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss_fn": NoTorch()}, "expected a loss_fn with a method `torch`, got Loss function is not implemented for torch"),
        ({"loss_fn": NoGradient()}, r"expected losses \[2\] with a gradient for two predictions, got \[2\], gradient: False"),
        ({"prediction_target_space": Tuple(())}, r"expected a class or a row of numbers to predict, got Tuple\(\)"),
        ({"action": Box(0, 1, (3, 3), np.float32)}, "expected actions that are Discrete or a row of real numbers"),
        ({"prediction": Discrete(2)}, "expected actions that are Discrete or a row of real numbers, and predictions that are such a row"),
    ],
)
def test_environments_that_do_not_serve(changes: dict[str, Any], said: str) -> None:
    gym.register("Strange-v0", entry_point=strange(**changes), max_episode_steps=STEPS)
    try:
        with pytest.raises(ValueError, match=f"environment Strange-v0: {said}"):
            EnvTask("Strange-v0")
    finally:
        del gym.registry["Strange-v0"]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"type": "action_values"}, "task.policy.type: expected actor_critic in an environment that takes predictions, got action_values"),
        ({"actor_critic": ActorCriticConfig(state_dependent_std=True)}, "state_dependent_std: expected false in an environment"),
    ],
)
def test_policies_that_do_not_predict(policy: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hidden_bit("numbers", policy=ControlPolicyConfig(**policy)).build_policy()


@pytest.mark.parametrize("name", ["LightDark-v0", "CircleSquare-s15-v0"])
def test_ap_gym(name: str) -> None:
    pytest.importorskip("ap_gym")
    task = EnvTask(f"ap_gym:{name}", mode="episodes", num_envs=3, max_episode_steps=16, num_eval_episodes=3, policy=POLICY)
    policy = task.build_policy()
    rows = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    loss = policy.prediction.loss(rows.action[..., 2:], rows.obs[:, 1:, : policy.prediction.num_targets])
    if name == "LightDark-v0":  # its reward: 1 - 0.001 of the action's square - the loss; predictions are clipped
        paid = rows.action[..., :2].clamp(-1, 1)
        clipped = policy.prediction.loss(rows.action[..., 2:].clamp(-1, 1), rows.obs[:, 1:, :2])
        earned = 1 - 1e-3 * paid.square().sum(dim=-1) - clipped
        torch.testing.assert_close(rows.reward[rows.mask], earned[rows.mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(policy(rows).aux_loss, loss[rows.mask].mean())
    optimiser = Optimiser(policy, OptimiserConfig(precision="fp32"), num_updates=1, seed=0)
    optimiser.minimise(rows, lambda part, evaluation: {})
    assert {"return_mean", "prediction_loss", "last_prediction_loss"} <= set(task.evaluate(policy))
