"""A dev evaluation that the processes of a run share out among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from seqrl.distributed import from_all, from_main, is_main, num_processes, process_index, wait_for_main
from seqrl.protocols import Task, Trainer
from seqrl.run.way_back import WayBack
from seqrl.sharding import whole
from seqrl.weight_average import averaged_weights


def dev_metrics(trainer: Trainer, task: Task, policy: nn.Module, way_back: WayBack) -> dict[str, float] | None:
    """Give the metrics of an evaluation, None when a signal broke it off; every process must call it.

    Args:
        trainer: its averaged weights are evaluated, where it keeps them.
        task: evaluates; with `evaluation_share` and `evaluation_metrics` each process evaluates a part.
        policy: is evaluated.
        way_back: lets a signal break it off.
    """
    number, unless_broken_off = num_processes(), way_back.unless_broken_off
    share, metrics_of = getattr(task, "evaluation_share", None), getattr(task, "evaluation_metrics", None)
    # Outside of what a signal breaks off: weights that were exchanged by half would be saved, and processes would wait for each other.
    with averaged_weights(trainer), whole(policy):
        evaluate: Callable[[], Mapping[str, float]] = partial(task.evaluate, policy, split="dev")
        if number > 1 and callable(share) and callable(metrics_of):
            own = unless_broken_off(lambda: (share(policy, split="dev", part=process_index(), parts=number),))
            wait_for_main("for the evaluation", lambda: way_back.interrupt.asked)
            shares = from_all(own)
            if None in shares:
                return None
            evaluate = partial(metrics_of, [each for (each,) in shares], split="dev")
        found = unless_broken_off(lambda: {name: float(value) for name, value in evaluate().items()}) if is_main() else None
        wait_for_main("for the evaluation", lambda: way_back.interrupt.asked)
        return from_main(found)
