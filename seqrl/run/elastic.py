"""A run that goes on with another number of processes than it was saved by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seqrl.distributed import num_processes, process_index
from seqrl.protocols import Task, Trainer, ask
from seqrl.run import checkpoint

# What of a trainer's state each process has for itself; the rest is the same in all.
OWN_STATE = ("generator",)


def is_new(folder: Path) -> bool:
    """Say whether a checkpoint knows nothing of this process."""
    return process_index() >= checkpoint.num_saved(folder)


def seed_from(folder: Path | None, seed: int) -> int:
    """Give the seed that this process begins with: the run's, and one of its own where it joins a run that goes on.

    Args:
        folder: the checkpoint that the run goes on from; None where it begins.
        seed: of the run.
    """
    if folder is None or not is_new(folder):
        return seed
    return int(np.random.SeedSequence([seed, checkpoint.read_meta(folder)["step"], process_index()]).generate_state(1)[0] >> 1)


def join(state: dict[str, Any], trainer: Trainer, task: Task) -> None:
    """Take over what all processes share from the main one's state, and keep generators and data of one's own.

    Args:
        state: the main one's, as in a checkpoint.
        trainer: `own_state` names what of its state each process has for itself, where this is more than a generator.
        task: with a `load_shared_state` where there is something to share.
    """
    own = trainer.state_dict()
    names = [name for name in getattr(trainer, "own_state", OWN_STATE) if name in own]
    trainer.load_state_dict({**state["trainer"], **{name: own[name] for name in names}})
    if state["task"] is not None:
        ask(task, "load_shared_state", state["task"])


def describe(folder: Path, trainer: Trainer) -> dict[str, str]:
    """Say in one line what another number of processes means for a run, as a warning; nothing where it is the same."""
    before, now = checkpoint.num_saved(folder), num_processes()
    if before == now:
        return {}
    held = ["place in the data", "random numbers", *(name for name in getattr(trainer, "own_state", OWN_STATE) if name != "generator")]
    if now > before:
        change = f"{_numbers(before, now)} start{'s' * (now - before == 1)} with new data and random numbers"
    else:
        change = f"what only {_numbers(now, before)} had ({', '.join(held)}) is gone"
    batch = f"an update now has {now / before:.3g} times the rows that it had, the learning rate stays"
    return {"other_processes": f"Saved by {_count(before)}, goes on with {_count(now)}, no longer to the bit: {change}; {batch}"}


def _numbers(first: int, end: int) -> str:
    return f"process {first}" if end - first == 1 else f"processes {first} to {end - 1}"


def _count(number: int) -> str:
    return f"{number} process{'es' if number > 1 else ''}"
