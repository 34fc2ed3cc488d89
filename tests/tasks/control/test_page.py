"""The script of docs/control.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

(SCRIPT,) = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs" / "control.md").read_text(encoding="utf-8"), flags=re.DOTALL
)


def run(script: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(script, "docs/control.md", "exec"), names)  # noqa: S102
    return names


def test_ten_lines_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert len([line for line in SCRIPT.splitlines() if line.strip()]) <= 10
    assert SCRIPT.count("=100") == 1
    run(SCRIPT.replace("=100", "=1"))
    assert "return_mean" in capsys.readouterr().out


@pytest.mark.slow
def test_it_learns_to_hold_the_pole() -> None:
    names = run(SCRIPT)
    # Ten times what a random policy earns is 200; single runs of this length had 249 to 500.
    assert names["task"].evaluate(names["policy"], split="test")["return_mean"] > 100
