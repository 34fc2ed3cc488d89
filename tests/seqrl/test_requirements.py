"""What trainers ask of tasks and policies: the core names no task's settings, the task's hints do."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from seqrl import requirements

CORE = Path(requirements.__file__).parent


class Bare(nn.Module):
    """Has neither critic nor distribution."""

    has_distribution = False

    def __init__(self, hints: dict[str, str] | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        if hints is not None:
            vars(self)["hints"] = hints


@pytest.mark.parametrize(
    ("hints", "begins"), [(None, "without one; do without"), ({"critic": "set kritik=yes"}, "without one; set kritik=yes, or do without")]
)
def test_a_hint_stands_before_the_advice(hints: dict[str, str] | None, begins: str) -> None:
    with pytest.raises(ValueError, match=begins):
        requirements.require_critic(Bare(hints), "ppo")


def test_a_task_says_which_settings_help() -> None:
    task: Any = SimpleNamespace(whole_rows=False, reward_unit_moves=True, reward_ahead=1, hints={"whole_rows": "set mode=all"})
    with pytest.raises(ValueError, match="; set mode=all, or choose ppo"):
        requirements.require_whole_rows(task, "self_critical")
    with pytest.raises(ValueError, match="; choose another trainer"):
        requirements.require_constant_rewards(task, "q_table", "values")
    with pytest.raises(ValueError, match="; choose self_critical"):
        requirements.require_weights_of_older_rows(task, Bare())  # type: ignore[arg-type]


def test_the_core_names_no_settings_of_a_policy_or_a_mode() -> None:
    files = [path for path in CORE.rglob("*.py") if not {"tasks", "metrics"} & set(path.relative_to(CORE).parts)]
    assert len(files) > 50
    named = re.compile(r"[\"'].*task\.(policy\.(kind|type|critic)|mode|reward|reward_scale|reward_clip|num_steps|action_masks)\b *[=:(]")
    found = [
        f"{path.name}: {line.strip()}" for path in files for line in path.read_text(encoding="utf-8").split("\n") if named.search(line)
    ]
    assert not [line for line in found if '"set task.mode=episodes"' not in line]
