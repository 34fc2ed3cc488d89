"""One of two processes that train on every kind of task with half of the rows; `test_two_processes` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

from toy_tokens import flat_weights  # noqa: E402
from two_process_cells import UNEVEN, trainer_of, uneven_rows  # noqa: E402

from seqrl.sharding import written_out  # noqa: E402
from seqrl.trajectory import Trajectory  # noqa: E402


def check_parts(trainer: Any) -> None:
    """Share the weights out, and see that about half of each is here, and of what AdamW keeps of it."""
    whole = {name: parameter.detach().clone() for name, parameter in trainer.policy.named_parameters()}
    trainer.optimiser.shard()
    rank, adamw = int(os.environ["RANK"]), trainer.optimiser.weights.adamw
    assert sum(p.numel() for p in adamw.parameters) <= sum(-(-len(w) // 2) * w[0].numel() for w in whole.values())
    assert all(m.exp_avg.shape == p.shape for m, p in zip(adamw._moments, adamw.parameters, strict=True))
    for name, parameter in trainer.policy.named_parameters():
        assert isinstance(parameter, DTensor) and parameter.shape == whole[name].shape, name
        first = -(-len(whole[name]) // 2)
        assert torch.equal(parameter.to_local(), whole[name][:first] if rank == 0 else whole[name][first:]), name


def all_of(trainer: Any) -> torch.Tensor:
    with written_out(trainer.policy):
        return flat_weights(trainer.policy)


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
        trainer = trainer_of(cell, accumulation=2 - rank, sharding="full")
        if getattr(trainer, "can_be_sharded", False):
            check_parts(trainer)
            for _ in range(3):
                trainer.update(Trajectory(**parts[rank]))
            weights[cell, "sharded"] = all_of(trainer)
    for cell in UNEVEN:
        print(rank, cell, flush=True)
        for sharding in ("none", "full"):
            trainer = trainer_of(cell, sharding=sharding)
            if sharding == "full" and not getattr(trainer, "can_be_sharded", False):
                continue
            trainer.optimiser.shard()
            for update in range(3):
                trainer.update(uneven_rows(cell, rank, update))
            weights[cell, f"uneven {sharding}"] = all_of(trainer)
    torch.save(weights, folder / f"weights_{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
