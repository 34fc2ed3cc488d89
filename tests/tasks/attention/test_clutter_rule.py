"""A run from before there was a choice of rules for clutter goes on with the rule that it had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from seqrl.run import checkpoint, integrity
from seqrl.run.config import decisive, read_config
from seqrl.run.same_settings import refuse_other_settings
from seqrl.run.train import load, resume, train

RULE = "task.data.clutter_rule"
SETTINGS = {
    "name": "whole",
    "num_updates": 4,
    "save_every": 2,
    "num_threads": 1,
    "task": {
        "type": "attention",
        "images_per_batch": 4,
        "num_glimpses": 3,
        "policy": {"num_features": 8, "glimpse_units": 8, "hidden_units": 8, "precision": "fp32"},
        "data": {"image_size": 12, "placement": "cluttered", "canvas_size": 24, "clutter_size": 6, "clutter_rule": "brightest"},
    },
    "trainer": {"type": "reinforce", "baseline": "critic", "num_samples": 1, "optimiser": {"precision": "fp32"}},
}


def made_old(run: Path) -> None:
    """Take the field out of a run's files, as if it had not been there."""
    tree = yaml.safe_load((run / "config.yaml").read_text())
    del tree["task"]["data"]["clutter_rule"]
    (run / "config.yaml").write_text(integrity.sealed(yaml.safe_dump(tree)))
    for folder in (run / "checkpoints").iterdir():
        meta = json.loads((folder / "meta.json").read_text())
        del meta["config"][RULE]
        (folder / "meta.json").write_text(json.dumps(meta))
        integrity.write_sums(folder)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(SETTINGS | {"runs_folder": str(tmp_path / "runs")}))
    return train(read_config(path), display=False).run_folder


def test_an_old_run_goes_on_to_the_bit(whole: Path) -> None:
    half = whole.with_name("half")
    shutil.copytree(whole, half)
    made_old(half)
    assert load(half)[0].task.data.clutter_rule == "brightest"  # so it is evaluated as before, too
    shutil.rmtree(half / "checkpoints" / "step_00000004")
    assert resume(half, display=False).step == 4
    assert yaml.safe_load((half / "config.yaml").read_text())["task"]["data"]["clutter_rule"] == "brightest"
    ours, theirs = (load_file(checkpoint.find(run) / checkpoint.WEIGHTS) for run in (half, whole))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_an_old_run_does_not_go_on_with_the_new_rule(whole: Path) -> None:
    made_old(whole)
    with pytest.raises(ValueError, match=r"task\.data\.clutter_rule was 'brightest', is 'added'"):
        resume(whole, ["--num_updates=6", f"--{RULE}=added"], display=False)


def test_the_rule_matters_to_no_other_placement(tmp_path: Path) -> None:
    for name, taken in (("translated_8x12", True), ("cluttered_8x12", False)):
        config = read_config(name)
        old = {key: value for key, value in decisive(config).items() if key != RULE}
        (tmp_path / "meta.json").write_text(json.dumps({"step": 3, "config": old}))
        if taken:
            refuse_other_settings(tmp_path, config)
        else:
            with pytest.raises(ValueError, match="clutter_rule was 'brightest', is 'added'"):
                refuse_other_settings(tmp_path, config)
