"""Two processes with half of the rows each end with the weights of one, whatever the trainer and the kind of task."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launch
from toy_tokens import flat_weights
from two_process_cells import CELLS, rows_of, trainer_of

from seqrl.trajectory import Trajectory

HERE = Path(__file__).resolve().parent


def halves(rows: Trajectory) -> tuple[torch.Tensor, torch.Tensor]:
    """Share out the rows, those of a group together, and not evenly."""
    group = torch.arange(rows.batch_size) if rows.group is None else rows.group
    first = group % 3 == 0
    return first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)


def plain(rows: Trajectory) -> dict[str, Any]:
    return {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}


@pytest.mark.slow
def test_each_kind_of_task_by_each_trainer(tmp_path: Path) -> None:
    rows = {cell: rows_of(cell) for cell in CELLS}
    expected = {}
    for cell in CELLS:
        trainer = trainer_of(cell)
        before = flat_weights(trainer.policy)
        for _ in range(3):
            trainer.update(rows[cell])
        expected[cell] = flat_weights(trainer.policy)
        assert (expected[cell] - before).abs().max() > 1e-3, cell
    torch.save({cell: [plain(rows[cell].select_rows(part)) for part in halves(rows[cell])] for cell in CELLS}, tmp_path / "rows.pt")
    launch(HERE / "one_of_two_kinds.py", str(tmp_path))
    first, second = (torch.load(tmp_path / f"weights_{rank}.pt", weights_only=True) for rank in (0, 1))
    apart = {" ".join(cell): float((first[cell] - second[cell]).abs().max()) for cell in first}
    assert not {cell: by for cell, by in apart.items() if by}
    off = {(cell, "fp32"): float((first[cell, "fp32"] - expected[cell]).abs().max()) for cell in CELLS}
    sharded = [cell for cell, kind in first if kind == "sharded"]
    assert len(sharded) > 20
    off |= {(cell, "sharded"): float((first[cell, "sharded"] - expected[cell]).abs().max()) for cell in sharded}
    uneven = [cell for cell, kind in first if kind == "uneven full"]
    assert len(uneven) > 5
    off |= {(cell, "uneven"): float((first[cell, "uneven full"] - first[cell, "uneven none"]).abs().max()) for cell in uneven}
    # Conjugate gradients and a line search after them make more of rounding.
    wrong = {cell: by for cell, by in off.items() if not by < (2e-5 if cell[0].endswith("trpo") else 2e-6)}
    assert not wrong, "\n".join(f"{cell}: {by:.2g}" for cell, by in wrong.items())
