"""A benchmark never counts a run that a signal ended, and goes on with it at the next start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.interrupt import Interrupted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def train_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "seqrl" / "run"))
    from competitors import train_once

    return train_once


def test_a_run_that_was_ended_is_not_done(tmp_path: Path, train_once: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.yaml"
    components = 'task: {type: "toy_for_runs:ToyTaskConfig"}\ntrainer: {type: "toy_for_runs:ToyTrainerConfig"}\n'
    path.write_text(f"name: toy\nnum_updates: 6\nruns_folder: {tmp_path}\n{components}")
    config: Any = read_config(path, [])
    monkeypatch.setenv("TOY_SIGNAL", str(int(signal.SIGTERM)))
    monkeypatch.setenv("TOY_SIGNAL_AT", "3")
    with pytest.raises(Interrupted):
        train_once(config)
    stopped_at = checkpoint.read_meta(checkpoint.find(tmp_path / "toy"))["step"]
    assert 2 <= stopped_at <= 3
    monkeypatch.delenv("TOY_SIGNAL_AT")
    assert checkpoint.read_meta(checkpoint.find(train_once(config)))["step"] == 6
    newest = checkpoint.find(tmp_path / "toy") / checkpoint.META
    written = newest.stat().st_mtime_ns
    train_once(config)
    assert newest.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "code", ["raise KeyboardInterrupt", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "raise SystemExit(143)"]
)
def test_a_competitor_that_a_signal_ended_ends_the_benchmark(tmp_path: Path, code: str, train_once: Any) -> None:
    from competitors import run_competitor

    script = tmp_path / "script.py"
    script.write_text(code)
    with pytest.raises(KeyboardInterrupt):
        run_competitor(str(script), "a", [])


def test_every_benchmark_ends_with_the_signals_code() -> None:
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "__main__" in text:
            assert f'sys.exit(run_command(main, name="{path.name}"))' in text or "sys.exit(run_benchmark(main))" in text, path.name
        for line in text.splitlines():
            if re.search(r"(?<![.\w])(fit|train|resume)\(", line) and not line.startswith("def "):
                assert "whole(" in line, f"{path.name}: {line.strip()}"


@pytest.mark.slow
def test_a_signal_leaves_no_result(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    runs = ["--runs", str(tmp_path / "runs"), "--output", str(output), "--seeds=0", "--updates=100000", "--rates=1e-3", "--allow-dirty"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "dqn_ablation.py"), *runs],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None and not list(tmp_path.rglob("metrics.jsonl")):
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 143, error
    assert "dqn_ablation.py: interrupted by SIGTERM; no result was written; the same command goes on" in error and "Traceback" not in error
    assert not output.exists() and not list(tmp_path.rglob("record.json"))
