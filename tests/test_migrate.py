"""docs/migrate.md names settings that exist, with values that they take."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from seqrl import A2CConfig, PPOConfig, ReinforceConfig, SelfCriticalConfig, SupervisedConfig, TRPOConfig
from seqrl.metrics.by_name import METRICS
from seqrl.run.config import RunConfig
from seqrl.run.yaml_text import parse_yaml
from seqrl.tasks.captioning.task import CaptioningConfig
from seqrl.tasks.text.task import TextConfig

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "migrate.md").read_text(encoding="utf-8")
TASKS = {"captioning": CaptioningConfig, "text": TextConfig}
TRAINERS = {
    "a2c": A2CConfig,
    "ppo": PPOConfig,
    "reinforce": ReinforceConfig,
    "self_critical": SelfCriticalConfig,
    "supervised": SupervisedConfig,
    "trpo": TRPOConfig,
}
HEADINGS = ("TRL's PPO", "RL4LMs", "self-critical.pytorch")


def tables() -> dict[str, list[list[str]]]:
    """Rows of the tables whose first heading is another library's name, headings left out."""
    found: dict[str, list[list[str]]] = {}
    current: list[list[str]] | None = None
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            current = None
        elif not set(line) <= set("|-: "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if current is None:
                current = found.setdefault(cells[0], [])
            else:
                current.append(cells)
    return found


def settings() -> list[str]:
    """What the second column names, and the notes, as far as it is a setting."""
    cells = [text for name in HEADINGS for row in tables()[name] for text in re.findall(r"`([^`]+)`", row[1])]
    notes = [text for name in HEADINGS for row in tables()[name] for text in re.findall(r"`((?:task|trainer)\.[^`]+)`", row[2])]
    return sorted({text for text in [*cells, *notes] if not text.startswith("seqrl ")})


def configs_with(parts: list[str]) -> list[Any]:
    """Configurations that hold the field which dotted names lead to; a field that may be absent is as far as one can look."""
    if parts[0] not in ("task", "trainer"):
        return [RunConfig] if parts[0] in {field.name for field in dataclasses.fields(RunConfig)} else []
    found = []
    for config in (TASKS if parts[0] == "task" else TRAINERS).values():
        here: Any = config()
        for name in parts[1:-1]:
            here = getattr(here, name, None)
        if parts[-1] == "type" and len(parts) == 2 or dataclasses.is_dataclass(here) and hasattr(here, parts[-1]):
            found.append(here)
    return found


def test_the_tables_are_whole() -> None:
    assert set(HEADINGS) <= set(tables())
    for name in HEADINGS:
        assert len(tables()[name]) > 20 and all(len(row) == 3 and row[0] and row[1] for row in tables()[name])


@pytest.mark.parametrize("setting", settings())
def test_every_setting_exists_and_takes_its_value(setting: str) -> None:
    key, colon, value = setting.partition(": ")
    parts = key.split(".")
    found = configs_with(parts)
    if not found and parts[:2] == ["task", "policy"] and not hasattr(TextConfig().policy, "lora"):
        pytest.skip("this version has no pretrained models of texts")
    assert found, key
    if not colon:
        return
    given = parse_yaml(value)
    if key == "trainer.type":
        assert given in TRAINERS
    elif key == "task.reward.metrics":
        assert set(given) <= set(METRICS)
        dataclasses.replace(TextConfig().reward, metrics=given)
    elif key == "early_stop":
        assert set(given) == {"metric"}
    else:
        assert any(taken(config, parts[-1], given) for config in found), setting


def taken(config: Any, name: str, value: Any) -> bool:
    try:
        dataclasses.replace(config, **{name: value})
    except ValueError:
        return False
    return True
