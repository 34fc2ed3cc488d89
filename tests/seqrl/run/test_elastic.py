"""A run that goes on with another number of processes: what all share goes on, what one had for itself stays its own or is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launch
from one_of_several import run_all

from seqrl import CrossEntropyConfig, PPOConfig, ReinforceConfig
from seqrl.run import checkpoint, elastic
from seqrl.run.log import read_metrics
from seqrl.run.metric_accumulator import MetricAccumulator
from seqrl.run.saving import restore
from seqrl.tasks.control import ControlConfig
from seqrl.trainers.dqn import DQNConfig

SCRIPT = Path(__file__).with_name("one_of_several.py")
STEPS = "{type: control, num_envs: 2, num_steps: 16, reward_scale: true, policy: {hidden_sizes: [8]}}"
VALUES = "{type: control, num_envs: 2, num_steps: 16, policy: {type: action_values, hidden_sizes: [8]}}"
EPISODES = "{type: control, mode: episodes, num_envs: 4, max_episode_steps: 20, policy: {hidden_sizes: [8]}}"
RUNS = {
    "ppo": (STEPS, "{type: ppo, minibatches: 2, epochs: 1, OPTIMISER}"),
    "dqn": (VALUES, "{type: dqn, learning_starts: 8, batch_size: 8, gradient_steps: 2, OPTIMISER}"),
    "cem": (EPISODES, "{type: cem, percentile: 50, elite_iterations: 3, OPTIMISER}"),
    "reinforce": (EPISODES, "{type: reinforce, baseline: moving_average, OPTIMISER}"),
    "vtrace": (STEPS, "{type: vtrace, actor_lag: 2, OPTIMISER}"),
}


def write_configs(folder: Path) -> None:
    for name, (task, trainer) in RUNS.items():
        trainer = trainer.replace("OPTIMISER", "optimiser: {accumulation: 2, precision: fp32}")
        head = f"name: {name}\nnum_updates: 1\nnum_threads: 1\nruns_folder: {folder}\nkeep_checkpoints: 9\n"
        (folder / f"{name}.yaml").write_text(f"{head}task: {task}\ntrainer: {trainer}\n")


@pytest.mark.slow
def test_one_then_three_then_two_then_one(tmp_path: Path) -> None:
    write_configs(tmp_path)
    run_all(tmp_path, 2, going_on=False)
    launch(SCRIPT, str(tmp_path), "4", "resume", number=3)
    launch(SCRIPT, str(tmp_path), "6", "resume", number=2)
    run_all(tmp_path, 8, going_on=True)
    for name in RUNS:
        folder, lines = tmp_path / name, read_metrics(tmp_path / name)
        assert [line["step"] for line in lines] == list(range(1, 9)), name
        for kind in ("env_steps", "actions", "samples"):
            counts = [0.0, *(line[f"progress/num_{kind}"] for line in lines)]
            more = [after - before for before, after in zip(counts, counts[1:], strict=False)]
            assert min(more) > 0, (name, kind, more)
            # Three processes collect about three times as much as one, two twice as much.
            assert min(more[2:4]) > 1.2 * max(more[0], more[7]) or name in ("cem", "reinforce"), (name, kind, more)
        said = [json.loads(line)["warning"] for line in (folder / "warnings.jsonl").read_text().splitlines() if '"other_processes"' in line]
        assert len(said) == 3 and all("no longer to the bit" in text for text in said)
        assert said[0].startswith("Saved by 1 process, goes on with 3 processes") and "3 times the rows" in said[0]
        assert "only process 2 had" in said[1] and ("replay" in said[1]) == (name == "dqn") and ("elites" in said[1]) == (name == "cem")
        three, two = (checkpoint.step_folder(folder, step) for step in (4, 6))
        assert [checkpoint.num_saved(one) for one in (three, two)] == [3, 2]
        states = [checkpoint.load_state(three, process) for process in range(3)]
        generators = [state["trainer"]["generator"] for state in states]
        assert not any(torch.equal(generators[a], generators[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
        for state in states[1:]:
            assert_same(state["trainer"]["optimiser"], states[0]["trainer"]["optimiser"])
            assert state["task"]["rewards"]["mean"] == states[0]["task"]["rewards"]["mean"]


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


@pytest.mark.parametrize(
    "config", [DQNConfig(learning_starts=1, batch_size=4), CrossEntropyConfig(percentile=50), PPOConfig(minibatches=1)]
)
def test_who_joins_takes_what_is_shared_and_keeps_what_is_its_own(config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = "action_values" if isinstance(config, DQNConfig) else "actor_critic"
    mode = "episodes" if isinstance(config, CrossEntropyConfig) else "steps"

    def make(seed: int) -> tuple[Any, Any]:
        settings = {"num_envs": 2, "num_steps": 8, "mode": mode, "max_episode_steps": 9, "reward_scale": True}
        task = ControlConfig(**settings).build(seed)  # type: ignore[arg-type]
        task.config.policy.type = kind  # type: ignore[assignment]
        return config.build(task.build_policy(), seed=seed, num_updates=9), task

    first, task = make(0)
    for _ in range(2):
        first.update(first.collect(task))
    state = {"trainer": first.state_dict(), "task": task.state_dict(), "random": None, "progress": {"step": 2}, "metrics_num_bytes": 7}
    checkpoint.save(tmp_path / "step", first.policy, state, {"step": 2, "num_processes": 1})
    joining, its_task = make(1)
    generator, environment = joining.optimiser.generator.get_state().clone(), its_task.state_dict().get("environment")
    monkeypatch.setattr(elastic, "process_index", lambda: 1)
    before = torch.get_rng_state()
    progress, *_ = restore(tmp_path / "step", joining, its_task, joining.policy)
    assert progress.step == 2 and torch.equal(torch.get_rng_state(), before)
    assert torch.equal(joining.optimiser.generator.get_state(), generator)
    assert joining.optimiser.num_finished == 2
    assert_same(joining.optimiser.state_dict(), first.optimiser.state_dict())
    assert_same(joining.policy.state_dict(), first.policy.state_dict())
    now = its_task.state_dict()
    assert now["rewards"]["count"] == state["task"]["rewards"]["count"] > 0 and now["rewards"]["running"] is None
    assert now["num_env_steps"] == now["num_rollouts"] == 0
    assert_same(now.get("environment"), environment)
    if isinstance(config, DQNConfig):
        assert joining.replay.num_steps == 0 < first.replay.num_steps and joining.num_env_steps == first.num_env_steps > 0
        assert_same(joining.target.state_dict(), first.target.state_dict())
    if isinstance(config, CrossEntropyConfig):
        assert joining.elites == [] != first.elites
    joining.update(joining.collect(its_task))


def test_seeds_of_who_joins_differ_by_run_step_and_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy, seeds = torch.nn.Linear(1, 1), []
    for step in (3, 4):
        checkpoint.save(tmp_path / str(step), policy, {}, {"step": step, "num_processes": 1})
    for process in (0, 1, 2):
        monkeypatch.setattr(elastic, "process_index", lambda process=process: process)
        seeds += [elastic.seed_from(tmp_path / str(step), seed) for step in (3, 4) for seed in (5, 6)]
        assert elastic.seed_from(None, 5) == 5
    assert seeds[:4] == [5, 6, 5, 6] and len(set(seeds[4:])) == 8 and min(seeds) >= 0


def test_counts_go_on_whoever_counted() -> None:
    gathered = MetricAccumulator()
    gathered.add_popped({"progress/num_env_steps": 10.0}, {"progress/num_env_steps": 30.0})
    alone = MetricAccumulator(gathered.state_dict())
    alone.carry({"progress/num_env_steps": 10.0})
    alone.add_popped({"progress/num_env_steps": 15.0})
    assert alone.counts == {"progress/num_env_steps": 45.0}
    three = MetricAccumulator(alone.state_dict())
    three.carry({"progress/num_env_steps": 15.0}, {"progress/num_env_steps": 0.0}, {})
    three.add_popped({"progress/num_env_steps": 16.0}, {"progress/num_env_steps": 2.0}, {"progress/num_env_steps": 3.0})
    assert three.counts == {"progress/num_env_steps": 51.0}


def test_a_lost_state_is_no_smaller_number(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step", torch.nn.Linear(1, 1), {}, {"step": 1, "num_processes": 2})
    with pytest.raises(ValueError, match="saved by 2 processes, it holds the state of 1"):
        checkpoint.num_saved(tmp_path / "step")


def test_moving_average_is_one_for_all(tmp_path: Path) -> None:
    task = ControlConfig(num_envs=2, mode="episodes", max_episode_steps=9).build(0)
    trainer = ReinforceConfig(baseline="moving_average").build(task.build_policy(), seed=0, num_updates=3)
    trainer.update(trainer.collect(task))
    other = ReinforceConfig(baseline="moving_average").build(task.build_policy(), seed=1, num_updates=3)
    elastic.join({"trainer": trainer.state_dict(), "task": None}, other, task)
    assert other.average is not None and torch.equal(other.average, trainer.average)
