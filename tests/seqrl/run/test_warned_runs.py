"""Badly configured runs of agents are told so, and a good one is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqrl.run.config import read_config
from seqrl.run.train import train

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "control" / "cartpole_ppo.yaml"
SMALL = ["--task.num_envs=4", "--task.num_steps=16", "--trainer.epochs=2", "--trainer.minibatches=1", "--eval_every=0", "--num_threads=1"]


def kinds(tmp_path: Path, *settings: str) -> set[str]:
    result = train(read_config(CONFIG, [*SMALL, f"--runs_folder={tmp_path}", *settings]), display=False)
    assert result.run_folder is not None
    path = result.run_folder / "warnings.jsonl"
    return {json.loads(line)["kind"] for line in path.read_text().splitlines()} if path.exists() else set()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Too small a learning rate: nothing moves.
        (["--trainer.optimiser.learning_rate=1e-9"], {"random_policy", "no_clipping"}),
        # No pole falls within five steps, so that every episode earns 5.
        (["--task.max_episode_steps=5", "--trainer.optimiser.learning_rate=1e-9"], {"equal_returns"}),
        # Far too large a learning rate.
        (["--trainer.optimiser.learning_rate=3", "--trainer.optimiser.max_grad_norm=0", "--trainer.epochs=10"], {"no_entropy"}),
    ],
    ids=["too_slow", "equal", "too_fast"],
)
def test_a_run_that_cannot_learn_is_told_so(settings: list[str], expected: set[str], tmp_path: Path) -> None:
    assert expected <= kinds(tmp_path, "--num_updates=60", *settings)


@pytest.mark.slow
def test_a_run_that_learns_is_left_alone(tmp_path: Path) -> None:
    result = train(read_config(CONFIG, [f"--runs_folder={tmp_path}", "--num_threads=1"]), display=False)
    assert result.evaluation["return_mean"] > 450
    assert result.run_folder is not None and not (result.run_folder / "warnings.jsonl").exists()
