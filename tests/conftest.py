"""What every test relies on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqrl  # noqa: F401  before PyTorch, as the command does: it tells PyTorch's threads how to wait
from seqrl.run.timed_updates import Bench

sys.path.append(str(Path(__file__).resolve().parent))  # for launched.py
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # for what a benchmark and a test need


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also where a background shell started the tests with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test whose run would choose by a measurement, which ends otherwise on another machine."""

    def refuse(*arguments: object) -> None:
        pytest.fail("this run measures dtypes or threads; name precision and num_threads in the test")

    monkeypatch.setattr(Bench, "shorten", refuse)
