"""The one switch of hand-written derivatives, in a run: what it says, and that the weights are the same either way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqrl.run.checkpoint import find
from seqrl.run.config import read_config
from seqrl.run.train import train

CONFIG = Path(__file__).parents[3] / "configs" / "control" / "cartpole_ppo.yaml"


def test_a_run_says_which_way_it_goes_and_ends_with_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, weights = [], []
    for fused in ("auto", "off"):
        settings = {
            "trainer.optimiser.fused": fused,
            "name": fused,
            "runs_folder": tmp_path,
            "num_updates": 1,
            "task.num_eval_episodes": 1,
            "num_threads": 1,
        }
        config = read_config(CONFIG, [f"--{name}={value}" for name, value in settings.items()])
        train(config, display=True)
        lines.append(json.loads((config.run_folder / "env.json").read_text())[-1]["policy"])
        assert f"{fused}: {lines[-1]}" in capsys.readouterr().out
        weights.append(load_file(find(config.run_folder) / "model.safetensors"))
    assert lines[0].startswith("ppo goes without autograd's graph") and lines[1] == "ppo goes through autograd: optimiser.fused is off"
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-5, atol=1e-5)
