"""Every registered trainer, stopped in the middle and resumed by command, ends with the weights of a run that was not, to the bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from seqrl.run import checkpoint, registry
from seqrl.run.cli import main
from seqrl.run.log import read_metrics
from seqrl.tasks.control.task import EnvTask

CART_POLE = {"type": "control", "environment": "CartPole-v1", "num_envs": 2, "num_steps": 8, "max_episode_steps": 30}
LAKE = CART_POLE | {"environment": "FrozenLake-v1"}
EPISODES = {"mode": "episodes"}
VALUES = {"policy": {"type": "action_values", "hidden_sizes": [8]}}
SOFT = {"policy": {"type": "soft_actor_critic", "hidden_sizes": [8]}}
SMALL_SAC = {"learning_starts": 16, "batch_size": 8, "gradient_steps": 2}
ACTOR = {"policy": {"hidden_sizes": [8]}}
MEMORY = {"policy": {"hidden_sizes": [8], "actor_critic": {"memory": "lstm"}}}
TAUGHT = {"demonstrations": {"batch_size": 5, "num_steps": 3}}  # see `taught`
MATRIX_GAME = {"type": "matrix_game", "stakes": [1.0, 2.0, 3.0], "noise": 0.5}
SMALL_REPLAY = {"learning_starts": 16, "batch_size": 8, "gradient_steps": 2, "target_every": 3}
DRAWN = {"type": "captioning", "images_per_batch": 2, "data": {"image_size": 16, "scenes": {"num_train": 8, "num_dev": 2, "num_test": 0}}}
CAPTIONS = DRAWN | {"policy": {"dim": 16, "num_layers": 1, "num_heads": 2, "max_tokens": 6}}

GLIMPSES = {
    "type": "attention",
    "images_per_batch": 4,
    "num_glimpses": 3,
    "data": {"image_size": 20, "placement": "cluttered", "canvas_size": 30},
}
LOOKS = GLIMPSES | {"policy": {"num_features": 8, "glimpse_units": 8, "hidden_units": 8}}

PLAYED = {"type": "boards", "num_games": 3, "policy": {"num_channels": 4, "num_blocks": 1, "search": {"num_simulations": 6}}}

# name -> (task, trainer)
RUNS = {
    "supervised": (CAPTIONS, {"type": "supervised"}),
    "reinforce": (CART_POLE | EPISODES | ACTOR, {"type": "reinforce", "baseline": "leave_one_out"}),
    "reinforce_critic": (CART_POLE | ACTOR, {"type": "reinforce", "baseline": "critic", "num_samples": 1}),
    "reinforce_glimpses": (LOOKS, {"type": "reinforce", "baseline": "critic", "num_samples": 1}),
    "ppo_glimpses": (LOOKS, {"type": "ppo", "advantage": "leave_one_out", "num_samples": 3}),
    "self_critical": (CART_POLE | EPISODES | ACTOR, {"type": "self_critical"}),
    "ppo": (CART_POLE | ACTOR, {"type": "ppo", "minibatch_unit": "steps"}),
    "ppo_averaged": (CART_POLE | ACTOR, {"type": "ppo", "optimiser": {"ema_decay": 0.9}}),
    "ppo_bonus": (CART_POLE | ACTOR, {"type": "ppo", "bonus": {"type": "random_distillation", "hidden_sizes": [8]}}),
    "ppo_memory": (CART_POLE | MEMORY, {"type": "ppo", "minibatches": 2}),
    "ppo_normalised": (CART_POLE | {"reward_scale": True, "policy": {"actor_critic": {"normalise_observations": True}}}, {"type": "ppo"}),
    "a2c": (CART_POLE | ACTOR, {"type": "a2c"}),
    "vtrace": (CART_POLE | ACTOR, {"type": "vtrace", "actor_lag": 2}),
    "trpo": (CART_POLE | ACTOR, {"type": "trpo"}),
    "off_policy": (CART_POLE | ACTOR, {"type": "off_policy"}),
    "dqn": (CART_POLE | VALUES, {"type": "dqn", **SMALL_REPLAY}),
    "dqn_prioritised": (CART_POLE | VALUES, {"type": "dqn", "replay": "prioritised", "n_step": 3, **SMALL_REPLAY}),
    "dqn_bonus": (CART_POLE | VALUES, {"type": "dqn", "bonus": {"type": "pseudo_counts"}, **SMALL_REPLAY}),
    "sac": (CART_POLE | {"environment": "Pendulum-v1"} | SOFT, {"type": "sac", **SMALL_SAC}),
    "sac_choices": (CART_POLE | SOFT, {"type": "sac", **SMALL_SAC}),
    "q_table": (LAKE | {"policy": {"type": "action_value_table"}}, {"type": "q_table", "rule": "sarsa"}),
    "q_table_planning": (LAKE | {"policy": {"type": "action_value_table"}}, {"type": "q_table", "planning_steps": 3}),
    "q_table_bonus": (
        LAKE | {"policy": {"type": "action_value_table"}},
        {"type": "q_table", "planning_steps": 3, "bonus": {"type": "counts"}},
    ),
    "evolution_strategies": (CART_POLE | EPISODES | ACTOR, {"type": "evolution_strategies", "population_size": 4}),
    "model_based": (CART_POLE | {"policy": {"type": "planner", "hidden_sizes": [8]}}, {"type": "model_based", "gradient_steps": 2}),
    "alpha_zero": (PLAYED, {"type": "alpha_zero", "gradient_steps": 2, "batch_size": 8}),
    "cem": (CART_POLE | EPISODES | ACTOR, {"type": "cem", "elite_iterations": 3}),
    "cem_counts": (LAKE | EPISODES | {"policy": {"type": "probability_table"}}, {"type": "cem", "fit": "counts"}),
    "cloned": (CART_POLE | MEMORY | TAUGHT, {"type": "supervised"}),
    "dagger": (CART_POLE | ACTOR | TAUGHT, {"type": "dagger", "beta_updates": 5, "batch_size": 20}),
    "gail": (CART_POLE | ACTOR | TAUGHT, {"type": "gail", "gradient_penalty": 0.1, "ppo": {"minibatches": 2}}),
    "league": (MATRIX_GAME, {"type": "league", "matches": 2, "games": 4, "keep_min_updates": 1, "keep_max_updates": 2}),
    "cem_captions": (CAPTIONS, {"type": "cem", "num_samples": 3}),
}


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)  # half of the time would go there


def write(tmp_path: Path, kind: str, name: str) -> str:
    task, trainer = RUNS[kind]
    path = tmp_path / f"{name}.yaml"
    if "demonstrations" in task:
        task = task | taught(tmp_path, task["demonstrations"])
    if trainer["type"] not in ("q_table", "gail", "league"):
        trainer = trainer | {"optimiser": {"precision": "fp32"} | trainer.get("optimiser", {})}
    if task["type"] == "attention":
        task = task | {"policy": task["policy"] | {"precision": "fp32"}}
    settings = {"name": name, "num_updates": 6, "seed": 5, "num_threads": 1, "runs_folder": str(tmp_path), "task": task, "trainer": trainer}
    path.write_text(json.dumps(settings))  # JSON is YAML
    return str(path)


def taught(tmp_path: Path, shown: dict[str, object]) -> dict[str, object]:
    """Name an expert and its episodes; make them the first time."""
    expert, episodes = tmp_path / "expert", tmp_path / "episodes"
    if not expert.exists():
        assert main(["train", write(tmp_path, "ppo", "expert"), "--quiet"]) == 0
        assert main(["record", str(expert), f"--data={episodes}", "--episodes=3"]) == 0
    return {"expert": str(expert), "demonstrations": shown | {"path": str(episodes)}}


def state(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    folder = checkpoint.find(run)
    from safetensors.torch import load_file

    return load_file(folder / checkpoint.WEIGHTS), checkpoint.load_state(folder)


def assert_same(one: object, two: object, where: str = "") -> None:
    assert type(one) is type(two), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two) or (one.is_floating_point() and torch.equal(one.isnan(), two.isnan())), where  # type: ignore[arg-type]
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where  # type: ignore[attr-defined]
        for key in one:
            if not str(key).endswith("_s"):  # durations
                assert_same(one[key], two[key], f"{where}.{key}")  # type: ignore[index]
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where  # type: ignore[arg-type]
        for index, (first, second) in enumerate(zip(one, two, strict=True)):  # type: ignore[call-overload]
            assert_same(first, second, f"{where}[{index}]")
    else:
        assert one == two or (one != one and two != two), where


def test_every_trainer_is_here() -> None:
    assert {trainer["type"] for _, trainer in RUNS.values()} == set(registry.registered(registry.TRAINERS))


@pytest.mark.parametrize("kind", RUNS)
def test_a_resumed_run_ends_as_one_that_was_not(kind: str, tmp_path: Path) -> None:
    assert main(["train", write(tmp_path, kind, "whole"), "--quiet"]) == 0
    assert main(["train", write(tmp_path, kind, "parts"), "--quiet", "--save_every=3", "--keep_checkpoints=9"]) == 0
    parts = tmp_path / "parts" / "checkpoints"
    # As if the run had been killed after its third update.
    (parts / "step_00000006" / checkpoint.META).unlink()
    torch.manual_seed(99)
    assert main(["resume", str(tmp_path / "parts"), "--quiet"]) == 0
    (weights, rest), (other_weights, other_rest) = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert checkpoint.find(tmp_path / "parts").name == "step_00000006"
    assert_same(weights, other_weights, "weights")
    assert_same(rest["trainer"], other_rest["trainer"], "trainer")
    assert_same(rest["task"], other_rest["task"], "task")
    lines, other_lines = (
        [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_metrics(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert lines == other_lines


def test_an_interrupted_agent_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", write(tmp_path, "ppo", "whole"), "--quiet"]) == 0
    rollout, calls = EnvTask.rollout, []

    def interrupted(self: EnvTask, *arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return rollout(self, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(EnvTask, "rollout", interrupted)
    assert main(["train", write(tmp_path, "ppo", "parts"), "--quiet"]) == 130
    assert "interrupted after update 2" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "parts"), "--quiet"]) == 0
    assert_same(state(tmp_path / "whole")[0], state(tmp_path / "parts")[0], "weights")
