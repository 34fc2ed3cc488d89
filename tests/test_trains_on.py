"""The README's table of what trains on what is what the trainers say: one update where it says yes, a refusal where it says no."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from seqrl.run import registry
from seqrl.tasks.attention.data_config import DataConfig as AttentionDataConfig
from seqrl.tasks.attention.policy import GlimpsePolicyConfig
from seqrl.tasks.attention.task import AttentionConfig
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
COLUMNS = ("captions", "glimpses", "CartPole-v1", "FrozenLake-v1")
KINDS = {("dqn", "CartPole-v1"): "action_values", ("dqn", "FrozenLake-v1"): "action_values"}
KINDS |= {("q_table", "FrozenLake-v1"): "action_value_table", ("cem", "FrozenLake-v1"): "probability_table"}
SETTINGS: dict[str, dict[str, Any]] = {"dqn": {"learning_starts": 0, "batch_size": 4}}


def cells() -> dict[str, list[str]]:
    table = README.split("## What trains on what", 1)[1].split("\n\nWho cannot", 1)[0]
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\| `.*", table, re.MULTILINE):
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`(\w+)`", first):
            if name in registry.registered(registry.TRAINERS):
                found[name] = rest
    return found


def task(column: str, trainer: str) -> Any:
    if column == "captions":
        return CaptioningConfig(
            DataConfig(image_size=32, scenes=ScenesConfig(num_train=8, num_dev=2, num_test=0)),
            PolicyConfig(dim=16, num_layers=1, max_tokens=6, critic=True),
            images_per_batch=2,
        )
    if column == "glimpses":
        sizes: dict[str, int] = {"glimpse_size": 4, "num_glimpses": 2, "images_per_batch": 4}
        return AttentionConfig(AttentionDataConfig(image_size=8), GlimpsePolicyConfig(hidden_units=8), **sizes)
    policy = ControlPolicyConfig(kind=KINDS.get((trainer, column), "actor_critic"))  # type: ignore[arg-type]
    mode = "episodes" if trainer in ("reinforce", "self_critical", "cem") else "steps"
    return ControlConfig(column, mode=mode, num_envs=2, num_steps=8, max_episode_steps=10, policy=policy)  # type: ignore[arg-type]


def test_every_trainer_has_a_row() -> None:
    assert set(cells()) == set(registry.registered(registry.TRAINERS))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("trainer", sorted(registry.registered(registry.TRAINERS)))
def test_a_cell(trainer: str, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    cell, built = cells()[trainer][COLUMNS.index(column)], task(column, trainer).build(0)

    def update() -> None:
        config = registry.find(registry.TRAINERS, trainer)(**SETTINGS.get(trainer, {}))
        learner = config.build(built.build_policy(), seed=0, num_updates=2)
        learner.update(learner.collect(built))

    if re.match(r"no\b|has no", cell):
        with pytest.raises(ValueError, match=r"choose|set |expected"):
            update()
    else:
        update()
