from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.run import checkpoint
from seqrl.run.log import read_metrics

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # so that the tests beside this file can import what they share


@pytest.fixture(autouse=True)
def toy_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make `toy_for_runs` importable, and put back what a run sets for the whole process."""
    monkeypatch.syspath_prepend(str(HERE))
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def a_copy_before_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's updates are over before a second copy may be made."""
    monkeypatch.setattr("seqrl.run.saving.LARGEST_SHARE", 1e9)


@pytest.fixture
def whole() -> torch.Tensor:
    """The toy's weights after 8 updates without any trouble."""
    from rescued import undisturbed

    return undisturbed()


@pytest.fixture
def toy_yaml(tmp_path: Path) -> Path:
    """A configuration of the toy whose runs go to a folder of the test's own."""
    path = tmp_path / "toy.yaml"
    path.write_text(
        f"""# a toy
name: toy
num_updates: 12
eval_every: 4
save_every: 4
runs_folder: {tmp_path / "runs"}
task: {{type: "toy_for_runs:ToyTaskConfig"}}
trainer: {{type: "toy_for_runs:ToyTrainerConfig", optimiser: {{learning_rate: 1e-2}}}}
"""
    )
    return path


@pytest.fixture
def toy_environment() -> Callable[..., dict[str, str]]:
    """Give the environment of a subprocess that finds the project and the toy."""

    def make(**extra: str) -> dict[str, str]:
        path = os.pathsep.join([str(HERE.parents[2]), str(HERE)])
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra}

    return make


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_metrics(folder)]


def assert_same_state(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_state(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same_state(*pair, f"{where}/{index}")
    elif not where.endswith("_s"):
        assert one == other, where


@pytest.fixture
def same_run() -> Callable[..., None]:
    """Compare two runs to the bit."""
    return assert_same_run


def assert_same_run(whole: Path, parts: Path) -> None:
    """Compare weights, metrics, and all else that a run goes on from, to the bit."""
    ends = [checkpoint.find(folder) for folder in (whole, parts)]
    weights = [(folder / checkpoint.WEIGHTS).read_bytes() for folder in ends]
    assert weights[0] == weights[1]
    assert without_times(whole) == without_times(parts)
    states = [checkpoint.load_state(folder) for folder in ends]
    for name in ("trainer", "task", "random", "progress"):
        assert_same_state(states[0][name], states[1][name], name)
