from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def toy_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make `toy_for_runs` importable, and put back what a run sets for the whole process."""
    monkeypatch.syspath_prepend(str(HERE))
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def toy_yaml(tmp_path: Path) -> Path:
    """A configuration of the toy whose runs go to a folder of the test's own."""
    path = tmp_path / "toy.yaml"
    path.write_text(
        f"""# a toy
name: toy
steps: 12
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
