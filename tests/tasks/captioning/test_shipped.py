"""The captioner that ships: its weights load bit for bit, fit the configurations that start from it, and see what they are said to see."""

from __future__ import annotations

import json
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqrl.run import shipped
from seqrl.run.config import read_config
from seqrl.run.recovery import damage
from seqrl.run.train import build, start_from, task_fingerprints
from seqrl.tasks.captioning.evaluation import EvaluationConfig, evaluate_captions
from seqrl.tasks.captioning.shipped import checkpoint
from seqrl.tasks.captioning.task import CaptioningTask

ROOT = Path(__file__).parents[3]
FEW = ["--task.data.scenes.num_train=8", "--task.data.scenes.num_dev=2", "--task.data.scenes.num_test=60"]
FROM_IT = sorted(path.stem for path in (ROOT / "configs" / "captioning").glob("*.yaml") if "init_from: shipped:" in path.read_text())


def test_size_and_package_data() -> None:
    folder = checkpoint()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4_000_000
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    assert all(any(fnmatch(path.name, pattern) for pattern in patterns) for path in folder.iterdir())
    provenance = json.loads((folder / "meta.json").read_text())["provenance"]
    assert provenance["clean"] and provenance["commit"] and provenance["command"] and provenance["versions"]["torch"]


def test_a_flipped_bit_in_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert damage(checkpoint()) is None
    folder = tmp_path / "tasks" / "captioning" / "shipped" / "scenes_xe"
    shutil.copytree(checkpoint(), folder)
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:99] + bytes([content[99] ^ 2]) + content[100:])
        with pytest.raises(ValueError, match="scenes_xe: damaged: .*; install the package anew"):
            start_from(Path("shipped:scenes_xe"), torch.nn.Linear(1, 1), {})
        path.write_bytes(content)


@pytest.mark.parametrize("name", FROM_IT)
def test_the_configurations_take_its_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    config = read_config(ROOT / "configs" / "captioning" / f"{name}.yaml", ["--task.data.image_size=64", *FEW])
    task, policy = build(config)
    assert config.init_from is not None
    folder = start_from(config.init_from, policy, task_fingerprints(task))
    stored = load_file(str(folder / "model.safetensors"))
    loaded = policy.state_dict()
    assert all(torch.equal(loaded[name], tensor) and tensor.dtype == torch.float32 for name, tensor in stored.items())


def test_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    task, policy = build(read_config(ROOT / "configs" / "captioning" / "scenes_self_critical.yaml", FEW))
    assert isinstance(task, CaptioningTask)
    start_from(checkpoint(), policy, task_fingerprints(task))
    metrics = evaluate_captions(policy, task.data.test, task.vocabulary, EvaluationConfig())
    # A captioner that guesses names a third of the shapes and a sixth of the backgrounds rightly.
    assert metrics["shapes_right"] > 0.85 and metrics["colours_right"] > 0.85 and metrics["places_right"] > 0.9
