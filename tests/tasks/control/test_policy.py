"""From spaces to policies: every kind of observation and action, and what is refused before any long work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Tuple

from seqrl import DQNConfig, PPOConfig
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.control.parts import observation_size
from seqrl.tasks.control.policy import ControlPolicyConfig, action_size, build_policy
from seqrl.tasks.control.task import EnvTask
from seqrl.trajectory import Trajectory, map_tree

FRAMES = Box(0, 255, (2, 84, 84), dtype=np.uint8)
JOINT = Tuple((Discrete(3), Box(-2.0, 2.0, (2,))))


def make(observation_space, action_space, **settings) -> ActorCritic:
    config = ControlPolicyConfig((8,), actor_critic=ActorCriticConfig(actor_gain=2.0, code_size=16, **settings))
    policy = build_policy(config, observation_space, action_space, torch.Generator().manual_seed(0))
    assert isinstance(policy, ActorCritic)
    return policy


def draw(space, rows: int, steps: int):
    space.seed(0)
    samples = [[space.sample() for _ in range(steps)] for _ in range(rows)]
    if isinstance(space, Dict):
        return {key: torch.as_tensor(np.array([[sample[key] for sample in row] for row in samples])) for key in space.spaces}
    return torch.as_tensor(np.array(samples))


@pytest.mark.parametrize("action_space", [Discrete(3), MultiDiscrete([2, 3]), MultiBinary(2), Box(-2.0, 2.0, (2,)), JOINT])
@pytest.mark.parametrize("observation_space", [Box(-1.0, 1.0, (2, 3)), Box(0, 255, (4,), dtype=np.uint8), Discrete(5), FRAMES])
def test_forward_says_what_act_said(observation_space, action_space) -> None:
    policy, obs = make(observation_space, action_space), draw(observation_space, 3, 5)
    with torch.no_grad():
        steps = [policy.act(obs[:, t], generator=torch.Generator().manual_seed(t)) for t in range(4)]
    action = torch.stack([step.action for step in steps], dim=1)
    sampled = action.numpy()[0, 0]
    assert sampled.shape == (action_space.shape or ((3,) if action_space is JOINT else ()))
    flags, zeros = torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, 4)
    trajectory = Trajectory(action, zeros, torch.zeros(3, 5), zeros, flags, flags, ~flags, obs=obs)
    filled = policy.annotate(trajectory) if steps[0].logp is None else trajectory
    if steps[0].logp is not None:
        filled = trajectory.replace(
            logp=torch.stack([step.logp for step in steps], dim=1),
            value=torch.stack([*(step.value for step in steps), policy.act(obs[:, 4]).value], dim=1),
        )
    evaluation = policy(trajectory)
    torch.testing.assert_close(evaluation.logp, filled.logp)
    torch.testing.assert_close(evaluation.value, filled.value[:, :-1])
    torch.testing.assert_close(evaluation.distribution.logp(action), filled.logp)


def test_sizes_of_spaces() -> None:
    assert observation_size(Discrete(5)) == ObservationSize((), num_categories=5)
    assert observation_size(Dict(observation=Box(-1, 1, (3,)), action_mask=MultiBinary(2))) == ObservationSize((3,))
    assert observation_size(FRAMES).frames and not observation_size(Box(0.0, 1.0, (4, 84, 84))).frames
    assert action_size(MultiBinary(3)) == ActionSize(choices=(2, 2, 2))
    assert action_size(JOINT) == ActionSize(num_actions=3, num_dimensions=2)
    for wrong in (
        Box(-1, 1, (2, 2)),
        Graph(Discrete(2), None),
        Tuple((Discrete(2), Discrete(2))),
        Tuple((Discrete(2), Box(-1, 1, (2, 2)))),
    ):
        with pytest.raises(ValueError, match="action space: expected Discrete, or a row of"):
            action_size(wrong)
    with pytest.raises(ValueError, match="observation space: expected a Box or Discrete"):
        observation_size(Graph(Discrete(2), None))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "settings", "message"),
    [
        (Box(-1, 1, (2,)), Discrete(3), {"squash": True}, "squash: expected an environment with continuous actions"),
        (Box(-1, 1, (2,)), Discrete(3), {"state_dependent_std": True}, "state_dependent_std: expected"),
        (Discrete(4), Discrete(3), {"normalise_observations": True}, "normalise_observations: expected observations of real"),
        (FRAMES, Discrete(3), {"normalise_observations": True}, "normalise_observations: expected"),
        (Dict(observation=Box(-1, 1, (3,)), action_mask=MultiBinary(2)), Box(-1, 1, (2,)), {}, "action_masks: expected"),
    ],
)
def test_what_does_not_go_together_is_named(observation_space, action_space, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(observation_space, action_space, **settings)


@pytest.mark.parametrize("kind", ["action_values", "action_value_table", "probability_table"])
def test_values_and_tables_need_a_single_choice(kind) -> None:
    with pytest.raises(ValueError, match=rf"task.policy.type: {kind} needs .*Tuple.*; use type: actor_critic"):
        build_policy(ControlPolicyConfig(type=kind), Discrete(4), JOINT)


@pytest.mark.parametrize("wrong", [{"type": "critic"}, {"hidden_sizes": ()}, {"hidden_sizes": (8, 0)}])
def test_settings_out_of_range_are_named(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ControlPolicyConfig(**wrong)


def test_a_task_reads_whether_to_squash() -> None:
    squashed = ActorCriticConfig(squash=True)
    assert ControlPolicyConfig(actor_critic=squashed).squash and not ControlPolicyConfig().squash
    assert not ControlPolicyConfig(type="action_values", actor_critic=squashed).squash


@pytest.mark.slow
def test_a_memory_balances_a_pole_whose_velocities_are_hidden(tmp_path) -> None:
    path = Path(__file__).parents[3] / "configs" / "control" / "cartpole_masked_ppo_lstm.yaml"
    best = {}
    for memory in ("lstm", "none"):
        settings = [f"--runs_folder={tmp_path}", f"--name={memory}", f"--task.policy.actor_critic.memory={memory}", "--num_threads=1"]
        train(read_config(path, settings), display=False)
        lines = [json.loads(line) for line in (tmp_path / memory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        best[memory] = max(line["dev/return_mean"] for line in lines if "dev/return_mean" in line)
    assert best["lstm"] >= 475  # gymnasium's threshold
    assert best["none"] < 100


def test_same_seed_same_weights() -> None:
    one, two = make(Box(-1.0, 1.0, (2,)), Discrete(3)), make(Box(-1.0, 1.0, (2,)), Discrete(3))
    map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0) or a, one.state_dict(), two.state_dict())


@pytest.mark.parametrize(
    ("environment", "policy", "unit"),
    [
        ("seqrl/CartPoleMasked-v1", "{memory: lstm, memory_size: 4, normalise_observations: true}", "rows"),
        ("Pendulum-v1", "{squash: true, state_dependent_std: true, normalise_observations: true}", "steps"),
    ],
)
def test_a_resumed_run_ends_with_the_same_weights_and_statistics(environment: str, policy: str, unit: str, tmp_path) -> None:
    task = (
        f"{{type: control, environment: {environment}, num_envs: 3, num_steps: 12, policy: {{hidden_sizes: [4], actor_critic: {policy}}}}}"
    )
    common = f"eval_every: 3\nsave_every: 2\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\n"
    for name, steps in (("whole", 4), ("halves", 2)):
        settings = f"name: {name}\nnum_updates: {steps}\n{common}trainer: {{type: ppo, minibatches: 2, minibatch_unit: {unit}}}\n"
        (tmp_path / f"{name}.yaml").write_text(settings, encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml", ["--task.num_eval_episodes=2"]), display=False)
    resume(tmp_path / "halves", ["--num_updates=4"], display=False)
    (_, _, whole, _), (_, _, halves, _) = (load(tmp_path / name) for name in ("whole", "halves"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, halves.state_dict()[name]), name
    assert float(whole.state_dict()["inputs.norm.count"]) >= 3 * 30


@pytest.mark.parametrize("settings", [{}, {"actor_critic": ActorCriticConfig(shared_trunk=True, memory="gru")}, {"type": "action_values"}])
def test_an_encoder_of_ones_own_by_name(settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the environment's numbers, its weights are drawn by the task's seed, and an update moves them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = ControlPolicyConfig(encoder="own_encoder:Halves", **settings)
    task = EnvTask("CartPole-v1", num_envs=2, num_steps=16, policy=config)
    policy, again = task.build_policy(), task.build_policy()
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))
    encoders = [module for module in policy.modules() if type(module).__name__ == "Halves"]
    assert len(encoders) == (2 if not settings else 1)
    trainer = (DQNConfig(learning_starts=8) if "type" in settings else PPOConfig(minibatches=1)).build(policy, seed=0, num_updates=2)
    before = [encoder.weight.detach().clone() for encoder in encoders]
    for _ in range(2):
        trainer.update(trainer.collect(task))
    assert all((encoder.weight != weight).any() for encoder, weight in zip(encoders, before, strict=True))


def test_an_encoder_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(ValueError, match="encoder: expected one of auto or module:function, got 'cnn'"):
        ControlPolicyConfig(encoder="cnn")
    own = ControlPolicyConfig(encoder="own_encoder:Halves", actor_critic=ActorCriticConfig(normalise_observations=True))
    with pytest.raises(ValueError, match="normalise_observations: .* what an encoder of one's own reads; switch it off"):
        EnvTask("CartPole-v1", num_envs=1, policy=own).build_policy()


@pytest.mark.parametrize("kind", ["action_value_table", "probability_table", "planner", "soft_actor_critic"])
def test_policies_without_an_encoder_refuse_one(kind: str) -> None:
    with pytest.raises(
        ValueError, match=f"encoder: expected auto with task.policy.type: {kind}, which has no encoder, got own_encoder:Halves"
    ):
        build_policy(ControlPolicyConfig(type=kind, encoder="own_encoder:Halves"), Discrete(3), Discrete(3))
