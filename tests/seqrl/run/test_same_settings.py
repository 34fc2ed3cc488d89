"""A run goes on with the settings it began with; fields that came later have their defaults."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from seqrl.run import checkpoint
from seqrl.run.config import decisive, read_config
from seqrl.run.same_settings import refuse_other_settings
from seqrl.run.train import resume, train

# What trainers had before advantages could be averaged otherwise than over steps, and KL terms stood in the loss.
CAME_LATER = ("trainer.average_over", "trainer.kl_in", "trainer.kl_estimator")

MORE = {"cartpole_ppo_fast": ["--trainer.minibatch_unit=rows"]}


def write_meta(folder: Path, settings: Mapping[str, object]) -> Path:
    (folder / "meta.json").write_text(json.dumps({"step": 3, "config": settings}))
    return folder


@pytest.mark.parametrize("name", ["cartpole_ppo_fast", "scenes_ppo", "scenes_self_critical", "mnist_6x8", "cartpole_dqn"])
def test_fields_that_came_later_must_have_their_defaults(tmp_path: Path, name: str) -> None:
    config = read_config(name)
    old = {key: value for key, value in decisive(config).items() if key not in CAME_LATER}
    refuse_other_settings(write_meta(tmp_path, old), config)
    if "trainer.average_over" in decisive(config):
        other = read_config(name, ["--trainer.average_over=rows", *MORE.get(name, [])])
        with pytest.raises(ValueError, match=r"trainer\.average_over was not there, is 'rows'; for those start"):
            refuse_other_settings(tmp_path, other)


def test_a_whole_part_that_came_later_must_be_as_it_is_by_default(tmp_path: Path) -> None:
    config = read_config("cartpole_ppo_fast", ["--trainer.optimiser.learning_rate=0.125"])
    old = {key: value for key, value in decisive(config).items() if not key.startswith("trainer.optimiser.")}
    with pytest.raises(ValueError, match=r"trainer\.optimiser\.learning_rate was not there, is 0\.125"):
        refuse_other_settings(write_meta(tmp_path, old), config)
    plain = read_config("cartpole_ppo_fast", ["--trainer.optimiser={}"])
    refuse_other_settings(tmp_path, plain)


def test_what_was_off_and_is_on_by_default_is_a_change(tmp_path: Path) -> None:
    config = read_config("cartpole_ppo_fast")
    old = {key: value for key, value in decisive(config).items() if not key.startswith("trainer.optimiser.")}
    with pytest.raises(ValueError, match=r"trainer\.optimiser\.\w+ was not there"):
        refuse_other_settings(write_meta(tmp_path, old | {"trainer.optimiser": None}), config)


def test_more_than_five_changes_are_counted(tmp_path: Path) -> None:
    config = read_config("cartpole_ppo_fast")
    old = {key: "other" for key in decisive(config)}
    with pytest.raises(ValueError, match=f"; and {len(old) - 5} more; for those"):
        refuse_other_settings(write_meta(tmp_path, old), config)


def test_a_checkpoint_of_an_older_version_goes_on(toy_yaml: Path, toy_environment: Callable[..., dict[str, str]]) -> None:
    folder = train(read_config(toy_yaml, ["--num_updates=2", "--name=old"]), display=False).run_folder
    assert folder is not None
    saved = checkpoint.find(folder)
    meta = json.loads((saved / "meta.json").read_text())
    del meta["sums"], meta["config"]["task.fail_at"], meta["config"]["trainer.optimiser.betas"]
    (saved / "meta.json").write_text(json.dumps(meta))
    (saved / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match=r"trainer\.optimiser\.betas was not there, is \[0\.5, 0\.5\]"):
        resume(folder, ["--num_updates=4", "--trainer.optimiser.betas=[0.5,0.5]"], display=False, allow_code=True)
    assert resume(folder, ["--num_updates=4"], display=False, allow_code=True).step == 4
