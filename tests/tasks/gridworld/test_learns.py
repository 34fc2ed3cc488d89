"""What is learned in the room and in gymnasium's tables, against what is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.tasks.gridworld.planning import Model, policy_iteration
from seqrl.tasks.gridworld.room import CELLS, EXITS, room_model
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.ppo import PPOConfig
from seqrl.trainers.q_table import QTableConfig

CONFIGS = Path(__file__).parents[3] / "configs"
INSIDE = [state for state, cell in enumerate(CELLS) if cell not in EXITS]


def soft_action_values(model: Model, epsilon: float) -> Tensor:
    """The best Q among policies that act by chance a share ε of the time, by repeated backups; Q* for ε = 0."""
    values = torch.zeros_like(model.reward)
    for _ in range(2000):
        values = model.action_values((1 - epsilon) * values.amax(dim=1) + epsilon * values.mean(dim=1))
    return values


def control(mode: str = "steps", **settings: object) -> ControlConfig:
    options = {"random_start": True}
    return ControlConfig("seqrl/RobotInARoom-v0", mode=mode, environment_options=options, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "n_step", "epsilon", "target_epsilon"),
    [
        ("q_learning", 1, 1.0, 0.0),
        ("tree_backup", 3, 1.0, 0.0),
        ("sarsa", 3, 0.3, 0.3),
        ("expected_sarsa", 1, 0.3, 0.3),
    ],
)
def test_converges_to_the_exact_action_values(rule: str, n_step: int, epsilon: float, target_epsilon: float) -> None:
    exact = soft_action_values(room_model(-0.04), target_epsilon)[INSIDE]
    if not target_epsilon:  # by another way
        torch.testing.assert_close(exact.amax(dim=1), policy_iteration(room_model(-0.04))[1][INSIDE])
    task = control(num_envs=200, num_steps=5, policy=ControlPolicyConfig(type="action_value_table")).build(0)
    policy = task.build_policy()
    config = QTableConfig(rule, n_step, gamma=1.0, learning_rate=1.0, visit_exponent=0.7, epsilon_start=epsilon)  # type: ignore[arg-type]
    trainer = config.build(policy, seed=0, num_updates=1)
    for _ in range(120):
        trainer.update(trainer.collect(task))
    learned = policy.values[INSIDE]
    assert float((learned - exact).abs().mean()) < 0.02
    assert float((learned - exact).abs().max()) < 0.15


def play(trainer: object, task: object, updates: int) -> float:
    for _ in range(updates):
        trainer.update(trainer.collect(task))  # type: ignore[attr-defined]
    return float(task.evaluate(trainer.policy)["return_mean"])  # type: ignore[attr-defined]


def test_a_table_of_probabilities_serves_elites_and_gradients_alike() -> None:
    best = float(policy_iteration(room_model(-0.04))[1][INSIDE].mean())
    table = ControlPolicyConfig(type="probability_table")
    episodes = control("episodes", num_envs=200, num_eval_episodes=400, policy=table).build(0)
    counts = CrossEntropyConfig(fit="counts", percentile=50.0, elite_iterations=3)
    assert play(counts.build(episodes.build_policy(), seed=0, num_updates=15), episodes, 15) > best - 0.12
    steps = control(num_envs=32, num_steps=32, num_eval_episodes=400, policy=table).build(0)
    gradients = PPOConfig(gamma=1.0, minibatch_unit="steps")
    gradients.optimiser.learning_rate = 0.1
    assert play(gradients.build(steps.build_policy(), seed=0, num_updates=25), steps, 25) > best - 0.12


@pytest.mark.parametrize(
    ("task", "trainer"),
    [
        ("mode: steps, num_envs: 3, num_steps: 7, policy: {type: action_value_table}", "{type: q_table, rule: sarsa, n_step: 3}"),
        ("mode: steps, num_envs: 1, num_steps: 5, policy: {type: action_value_table}", "{type: q_table, visit_exponent: 0.5}"),
        ("mode: episodes, num_envs: 6, policy: {type: probability_table}", "{type: cem, fit: counts, elite_iterations: 3}"),
        ("mode: episodes, num_envs: 6, policy: {hidden_sizes: [8]}", "{type: cem, elite_iterations: 3, minibatch_rows: 2}"),
    ],
)
@pytest.mark.parametrize("environment", ["seqrl/RobotInARoom-v0", "FrozenLake-v1"])
def test_interrupted_run_ends_with_the_same_weights(environment: str, task: str, trainer: str, tmp_path: Path) -> None:
    described = f"{{type: control, environment: {environment}, {task}}}"
    common = f"eval_every: 0\nsave_every: 4\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {described}\ntrainer: {trainer}\n"
    for name, steps in (("whole", 8), ("halves", 4)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nnum_updates: {steps}\n{common}", encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml"), display=False)
    resume(tmp_path / "halves", ["--num_updates=8"], display=False)
    whole, halves = (load(tmp_path / name)[2].state_dict() for name in ("whole", "halves"))
    for one, two in zip(whole.values(), halves.values(), strict=True):
        assert torch.equal(one, two)


def test_a_table_says_what_it_cannot_serve() -> None:
    for kind in ("action_value_table", "probability_table"):
        with pytest.raises(ValueError, match=f"{kind} needs numbered .*ppo"):
            ControlConfig("CartPole-v1", policy=ControlPolicyConfig(type=kind)).build(0).build_policy()  # type: ignore[arg-type]
    task = control(policy=ControlPolicyConfig(type="action_value_table")).build(0)
    with pytest.raises(ValueError, match="q_table"):
        PPOConfig().build(task.build_policy(), seed=0, num_updates=1)


# Start states of the evaluations are fixed, so that Taxi's optimum on them is known: 7.855 over 1,000 episodes.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "steps", "episodes", "least"),
    [
        ("control/taxi_q_learning", 600, 100, 7.5),
        ("control/frozen_lake_q_learning", 2000, 1000, 0.68),
        ("control/cliff_walking_q_learning", 8000, 1, -13.0),
        ("control/cliff_walking_sarsa", 8000, 1, -21.0),
        ("gridworld/robot_q_learning", 500, 1000, 0.66),
    ],
)
def test_reaches_the_optimum(config: str, steps: int, episodes: int, least: float, tmp_path: Path) -> None:
    settings = [f"--num_updates={steps}", f"--task.num_eval_episodes={episodes}", f"--runs_folder={tmp_path}", "--num_threads=1"]
    result = train(read_config(CONFIGS / f"{config}.yaml", [*settings, f"--eval_every={steps}", "--seed=1"]), display=False)
    assert result.evaluation["return_mean"] >= least
