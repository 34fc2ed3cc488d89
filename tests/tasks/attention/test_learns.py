"""Looking is learned, on images that need no files, by each kind of trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.config import read_config
from seqrl.run.train import load, train

CONFIGS = Path(__file__).parents[3] / "configs" / "attention"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_translated_digits(seed: int, tmp_path: Path) -> None:
    overrides = [f"--seed={seed}", f"--runs_folder={tmp_path}", "--num_threads=1", "--task.policy.precision=fp32"]
    overrides += ["--trainer.optimiser.precision=fp32"]
    train(read_config(CONFIGS / "digits_translated.yaml", overrides), display=False)
    _, task, policy, _ = load(tmp_path / "digits_translated")
    assert task.evaluate(policy, split="test")["error_percent"] <= 15
