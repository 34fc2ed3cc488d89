"""The benchmark of dialogue policies: its columns by hand, and a small run from training to its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_trains_tests_and_writes_both_policies(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, "benchmarks/dialogue_policy.py", "restaurants", "--trainers=ppo", "--error-rates=0.15", "--seeds=3"]
    command += ["--dialogs=60", "--num_updates=2", f"--runs-folder={tmp_path}", f"--output={output}", "--allow-dirty"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    crafted, learned = json.loads(output.read_text())["rows"]
    assert (
        crafted["policy"] == "hand-crafted"
        and crafted["success"][0] > 0.9
        and set(crafted["thresholds"]) == {"request", "confirm", "question", "alternatives", "goodbye"}
    )
    assert learned["policy"] == "ppo" and learned["seed"] == 3 and len(learned["curve"]) == 3 and learned["commit"]
    success, turns, reward = (learned[name][0] for name in ("success", "turns", "reward"))
    assert abs(reward - (20 * success - turns)) < 1e-9
    assert "errors 15%: ppo seed 3: success" in printed
