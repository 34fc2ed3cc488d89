"""The benchmark of V-trace's correction: its exact return beside the textbook's, and a small run from training to its file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.policies.tables import ProbabilityTable
from seqrl.tasks.gridworld.room import CELLS, solve_room

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import vtrace_lags

        yield vtrace_lags
        for name in ("vtrace_lags", "provenance"):
            sys.modules.pop(name, None)


def test_exact_return_of_the_best_policy_is_the_textbooks(benchmark: Any) -> None:
    policy = ProbabilityTable(len(CELLS), 4)
    with torch.no_grad():
        policy.logits.copy_(100.0 * torch.as_tensor(solve_room(-0.04, 1.0).best).float())
    assert benchmark.room_return(policy) == pytest.approx(0.705, abs=5e-4)  # Russell & Norvig 2010, figure 17.3


@pytest.mark.slow
def test_corrections_differ_where_actors_lag(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "GRIDS", {"room": ((0.3,), (0, 3), 8, 4)})
    output = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["vtrace_lags.py", "--seeds=0", "--allow-dirty", f"--output={output}"])
    benchmark.main()
    rows = json.loads(output.read_text())["room"]["rows"]
    assert [(row["lag"], row["correction"]) for row in rows] == [(0, "none"), *((3, name) for name in benchmark.CORRECTIONS)]
    shares = [row["runs"][0]["effective_share"] for row in rows]
    assert shares[:2] == [pytest.approx(1)] * 2 and max(shares[2:]) < 0.999  # without a correction every ratio counts as 1
    assert len({tuple(row["runs"][0]["curve"]) for row in rows}) == 4
