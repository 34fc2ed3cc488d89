"""A run that shares weights and batches out over two processes trains as one does; its checkpoints are whole, and go on in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from launched import ROOT
from safetensors.torch import load_file
from torch import nn

from seqrl import A2CConfig, VTraceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import load, resume, train
from seqrl.sharding import shard, shards_of, whole
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig

CONFIG = """name: it
num_updates: 3
eval_every: 3
num_threads: 1
split_batches: true
task:
  type: text
  prompts_per_batch: 3
  data: {source: files, path: FOLDER, prompts: en, references: de, num_dev: 9}
  policy: {type: transformer, dim: 12, num_layers: 1, num_heads: 2, max_tokens: 7, dropout: 0}
  evaluation: {beam_size: 2, prompts_per_batch: 3}
trainer:
  type: ppo
  minibatches: 1
  num_samples: 3
  advantage: leave_one_out
  optimiser: {precision: fp32, sharding: full, ema_decay: 0.9, learning_rate: 0.03}
"""


@pytest.mark.slow
def test_evaluates_saves_and_goes_on(tmp_path: Path) -> None:
    words = "one two three four five six".split()
    pairs = [(f"{a} {b}", f"{b} {a} then {b}") for a in words for b in words]
    for name, column in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (tmp_path / name).write_text("\n".join(column) + "\n")
    (tmp_path / "it.yaml").write_text(CONFIG.replace("FOLDER", str(tmp_path)) + f"runs_folder: {tmp_path}\n")
    command = [sys.executable, "-m", "seqrl", "train", str(tmp_path / "it.yaml"), "--num_processes=2", "--quiet"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    alone = train(read_config(tmp_path / "it.yaml", ["--name=alone"]), display=False)
    weights = [load_file(checkpoint.step_folder(tmp_path / name, 3) / checkpoint.WEIGHTS) for name in ("it", "alone")]
    assert weights[0].keys() == weights[1].keys() and alone.step == 3
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-5
    logged = [line for line in read_metrics(tmp_path / "it") if "dev/sacrebleu" in line]
    assert [line["step"] for line in logged] == [0, 3]
    # What two processes have written and the first one has scored is what one writes and scores with the saved average.
    _, task, policy, _ = load(checkpoint.step_folder(tmp_path / "it", 3))
    for name, value in task.evaluate(policy).items():
        assert logged[-1][name if "/" in name else f"dev/{name}"] == pytest.approx(value, rel=1e-6), name
    saved = checkpoint.load_state(checkpoint.step_folder(tmp_path / "it", 3), 1)["trainer"]["optimiser"]
    shapes = sorted(tuple(parameter.shape) for parameter in policy.parameters())
    assert sorted(tuple(moments["exp_avg"].shape) for moments in saved["adamw"]["state"].values()) == shapes
    assert [tuple(one.shape) for one in saved["average"]["learning"]] == [tuple(one.shape) for one in policy.parameters()]
    result = resume(tmp_path / "it", ["--num_updates=4", "--eval_every=0"], display=False)
    alone = resume(tmp_path / "alone", ["--num_updates=4", "--eval_every=0"], display=False)
    weights = [load_file(checkpoint.step_folder(tmp_path / name, 4) / checkpoint.WEIGHTS) for name in ("it", "alone")]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-5
    assert result.step == 4 and checkpoint.num_saved(checkpoint.step_folder(tmp_path / "it", 4)) == 1


def trainer_of(config: type, **settings: object) -> object:
    task = ControlConfig(num_envs=2, num_steps=4, policy=ControlPolicyConfig(hidden_sizes=(4,))).build(0)
    return config(optimiser=OptimiserConfig(sharding="full", **settings)).build(task.build_policy(), seed=0, num_updates=1)  # type: ignore[arg-type]


def test_what_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(
        ValueError, match="optimiser.sharding: VTrace keeps or changes whole weights beside its optimiser; set sharding=none"
    ):
        shard(trainer_of(VTraceConfig))
    with pytest.raises(ValueError, match="expected compile=false"):
        shard(trainer_of(A2CConfig, compile=True))
    with pytest.raises(ValueError, match="expected precision fp32 or bf16"):
        shard(trainer_of(A2CConfig, precision="fp16"))
    scalar = trainer_of(A2CConfig)
    scalar.policy.register_parameter("scale", nn.Parameter(torch.ones(())))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"got a single number \(scale\); give it the shape \[1\]"):
        shard(scalar)
    with pytest.raises(ValueError, match="sharding: expected one of none, full, got 'half'"):
        OptimiserConfig(sharding="half")  # type: ignore[arg-type]


def test_one_process_keeps_all() -> None:
    trainer = trainer_of(A2CConfig)
    shard(trainer)
    policy: nn.Module = trainer.policy  # type: ignore[attr-defined]
    assert shards_of(policy) is None
    with whole(policy):
        assert all(type(parameter) is nn.Parameter for parameter in policy.parameters())
