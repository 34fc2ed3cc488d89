"""What tests of a run's end share: the toy, its weights, and things that happen at the n-th call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqrl.run import checkpoint
from seqrl.run.loop import fit
from seqrl.run.seeding import seed_everything


def make() -> tuple[Any, Any]:
    import toy_for_runs

    seed_everything(0)
    task = toy_for_runs.ToyTaskConfig().build(0)
    return toy_for_runs.ToyTrainerConfig().build(task.build_policy(), seed=0, num_updates=10), task


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in trainer.policy.parameters()])


def undisturbed() -> torch.Tensor:
    """The weights after 8 updates without any trouble."""
    trainer, task = make()
    fit(trainer, task, num_updates=8)
    return weights(trainer)


def newest(folder: Path) -> int:
    return int(checkpoint.read_meta(checkpoint.find(folder))["step"])


def assert_goes_on(folder: Path, expected: torch.Tensor) -> None:
    trainer, task = make()
    seed_everything(9)
    fit(trainer, task, num_updates=8, run_folder=folder, resume_from=checkpoint.find(folder))
    assert torch.equal(weights(trainer), expected)


def at(number: int, action: Callable[[], Any], function: Callable[..., Any], *, first: bool = False) -> Callable[..., Any]:
    """Do something before or after the n-th call of a function."""
    calls = []

    def called(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if first and len(calls) == number:
            action()
        result = function(*arguments, **settings)
        if not first and len(calls) == number:
            action()
        return result

    return called


def raising(kind: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise kind("trouble")

    return fail
