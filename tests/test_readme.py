"""The README's library example runs as it stands, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.run.cli import make_parser
from seqrl.run.config import read_config

README = Path(__file__).resolve().parents[1] / "README.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines() if line.startswith("seqrl ")]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_command_is_understood(command: list[str]) -> None:
    parsed, changes = make_parser(command).parse_known_args(command)
    if command[0] == "train":
        (config,) = (README.parent / "configs").glob(f"*/{parsed.config}.yaml")
        read_config(config, changes)
    else:
        assert command[0] in ("evaluate", "gridworld") or changes == []


@pytest.mark.slow
def test_library_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    torch.manual_seed(2)  # or the initial weights would depend on the tests before
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102
    assert "cider_d" in capsys.readouterr().out
    # What was rewarded is being learned: about a third of the captions name one of the colours before, most of them after.
    captions = names["task"].rollout(names["policy"], num_samples=8)
    assert float(captions.score.mean()) > 0.45


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
