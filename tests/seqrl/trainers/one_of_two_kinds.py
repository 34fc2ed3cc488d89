"""One of two processes that train on every kind of task with half of the rows; `test_two_processes` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from toy_tokens import flat_weights  # noqa: E402
from two_process_cells import UNEVEN, trainer_of, uneven_rows  # noqa: E402

from seqrl.trajectory import Trajectory  # noqa: E402


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    given = torch.load(folder / "rows.pt", weights_only=True)
    weights = {}
    for cell, parts in given.items():
        for precision in ("fp32", "bf16"):
            # Cut in other parts than the other process.
            trainer = trainer_of(cell, accumulation=2 - rank, precision=precision)
            for _ in range(3):
                trainer.update(Trajectory(**parts[rank]))
            weights[cell, precision] = flat_weights(trainer.policy)
    for cell in UNEVEN:
        print(rank, cell, flush=True)
        trainer = trainer_of(cell)
        for update in range(3):
            trainer.update(uneven_rows(cell, rank, update))
        weights[cell, "uneven"] = flat_weights(trainer.policy)
    torch.save(weights, folder / f"weights_{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
