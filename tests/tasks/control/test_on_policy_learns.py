"""The on-policy agents reach a score on CartPole, each in a part of its configuration's updates."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train

CONFIGS = Path(__file__).parents[3] / "configs" / "control"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "score"),
    [("cartpole_trpo", 40, 475), ("cartpole_a2c", 500, 475), ("cartpole_vtrace", 700, 475), ("cartpole_off_policy", 500, 475)],
)
def test_learns_cartpole(name: str, steps: int, score: float, tmp_path: Path) -> None:
    overrides = [f"--runs_folder={tmp_path}", f"--num_updates={steps}", "--eval_every=0", "--num_threads=1"]
    train(read_config(CONFIGS / f"{name}.yaml", overrides), display=False)
    _, task, policy, _ = load(tmp_path / name)
    assert task.evaluate(policy, split="test")["return_mean"] >= score  # start states that were never watched


@pytest.mark.parametrize(
    "trainer",
    [
        "{type: a2c}",
        "{type: trpo, minibatch_unit: steps, critic_epochs: 1}",
        "{type: vtrace, actor_lag: 3}",
        "{type: off_policy, actor_lag: 2, epsilon: 0.1, max_weight: 2.0}",
    ],
    ids=["a2c", "trpo", "vtrace", "off_policy"],
)
@pytest.mark.parametrize("environment", ["CartPole-v1", "Acrobot-v1"])
def test_interrupted_run_ends_with_the_same_weights(environment: str, trainer: str, tmp_path: Path) -> None:
    settings = "normalise_observations: true"
    task = f"{{type: control, environment: {environment}, num_envs: 4, num_steps: 16, reward_scale: true, policy: {{hidden_sizes: [8], "
    task += f"actor_critic: {{{settings}}}}}}}"
    common = f"eval_every: 0\nsave_every: 2\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {trainer}\n"
    for name, steps in (("whole", 6), ("halves", 3)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nnum_updates: {steps}\n{common}", encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml"), display=False)
    resume(tmp_path / "halves", ["--num_updates=6"], display=False)
    _, _, whole, _ = load(tmp_path / "whole")
    _, _, halves, _ = load(tmp_path / "halves")
    for one, two in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True):
        assert bool((one == two).all())


@pytest.mark.parametrize("trainer", ["a2c", "trpo", "vtrace", "off_policy"])
@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("{actor_critic: {memory: lstm}}", True),
        ("{actor_critic: {shared_trunk: true}}", True),
        ("{type: action_values}", False),
    ],
    ids=["lstm", "shared", "action_values"],
)
def test_policies_are_served_or_refused_before_any_rollout(policy: str, served: bool, trainer: str, tmp_path: Path) -> None:
    task = f"{{type: control, num_envs: 2, num_steps: 8, num_eval_episodes: 1, max_episode_steps: 10, policy: {policy}}}"
    text = f"name: it\nnum_updates: 2\neval_every: 0\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {{type: {trainer}}}\n"
    (tmp_path / "it.yaml").write_text(text, encoding="utf-8")
    config = read_config(tmp_path / "it.yaml")
    if served:
        assert train(config, display=False).step == 2
        return
    with pytest.raises(ValueError, match=rf"trainer {trainer}: expected a policy .*dqn"):
        train(config, display=False)


@pytest.mark.parametrize("trainer", ["a2c", "trpo", "vtrace", "off_policy"])
def test_continuous_actions_are_served(trainer: str, tmp_path: Path) -> None:
    task = "{type: control, environment: Pendulum-v1, num_envs: 2, num_steps: 8, num_eval_episodes: 1, max_episode_steps: 10}"
    text = f"name: it\nnum_updates: 2\neval_every: 0\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {{type: {trainer}}}\n"
    (tmp_path / "it.yaml").write_text(text, encoding="utf-8")
    assert train(read_config(tmp_path / "it.yaml"), display=False).step == 2
