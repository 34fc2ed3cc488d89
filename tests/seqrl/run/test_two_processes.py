"""Two processes that train one agent: one policy, and one log with what both have seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from launched import launch

from seqrl.run import checkpoint
from seqrl.run.log import read_metrics
from seqrl.run.train import read_run

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_statistics_and_metrics_are_of_both(tmp_path: Path) -> None:
    launch(HERE / "one_of_two_agents.py", str(tmp_path))
    (line,) = read_metrics(tmp_path)
    assert [path.name[-1] for path in checkpoint.step_folders(tmp_path)] == ["1", "2", "3"]
    seen = line["progress/num_actions"]
    # 3 rollouts of 16 steps in 2 and 3 environments; a step that starts an episode anew is none of theirs.
    assert 3 * 16 * 2 < seen <= 3 * 16 * 5
    assert line["progress/num_env_steps"] == seen
    states = [torch.load(tmp_path / f"state_{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert states[0]["rewards"] == states[1]["rewards"] and states[0]["rewards"]["count"] == seen
    first, second = (state["weights"] for state in states)
    assert first.keys() == second.keys() and first["inputs.norm.new_count"] > 0
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")
    # The third rollout's observations wait for a fourth.
    assert first["inputs.norm.count"] + first["inputs.norm.new_count"] == seen


@pytest.mark.slow
def test_the_first_process_chooses_for_both(tmp_path: Path) -> None:
    task = "{type: control, num_envs: 2, num_steps: 8, max_episode_steps: 30, policy: {hidden_sizes: [8]}}"
    (tmp_path / "it.yaml").write_text(
        f"name: it\nnum_updates: 2\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {{type: ppo, minibatches: 2}}\n"
    )
    launch(HERE / "chooses_in_two_processes.py", str(tmp_path))
    first, second = ((tmp_path / f"said_{rank}.txt").read_text() for rank in (0, 1))
    assert first == second and first.endswith("\nbf16 1\n") and "as OMP_NUM_THREADS says; an update took" in first
    kept = read_run(tmp_path / "it")
    assert kept.trainer.optimiser.precision == "bf16" and kept.num_threads == 1


@pytest.mark.slow
def test_both_save_when_neither_can_take_a_step(tmp_path: Path) -> None:
    launch(HERE / "one_of_two_skipping.py", str(tmp_path))
    # Update 4 is skipped, and update 5, with which the run ends; its weights are those after update 3.
    (kept,) = checkpoint.step_folders(tmp_path)
    assert kept.name == "step_00000004" and checkpoint.num_saved(kept) == 2
    for rank in (0, 1):
        said = (tmp_path / f"said_{rank}.txt").read_text()
        assert "no step of the last 2 updates could be taken" in said and f"in update 5; the last checkpoint is {kept}" in said
        assert checkpoint.load_state(kept, rank)["trainer"]["optimiser"]["num_skipped"] == 2
