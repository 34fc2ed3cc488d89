"""What the processes of a run share out among them: the items of an evaluation, and of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from seqrl.batch_share import SharedGenerator, share_batches
from seqrl.distributed import from_all, from_main, is_main, num_processes, process_index, wait_for_main
from seqrl.protocols import Task, Trainer
from seqrl.run.running import Running, broken_off
from seqrl.sharding import whole
from seqrl.weight_average import averaged_weights


def divide_batches(trainer: Trainer, task: Task) -> SharedGenerator | None:
    """Let all processes work on one batch, see `seqrl.batch_share.share_batches`; None where there is one. Every process must call it."""
    if num_processes() == 1:
        return None
    generator = getattr(trainer, "generator", None)
    state = from_main(None if generator is None else generator.get_state())
    return share_batches(trainer, task, process_index(), num_processes(), state)


def dev_figures(loop: Running) -> dict[str, float] | None:
    """Give the figures of an evaluation, None when a signal broke it off; every process must call it."""

    def look(function: Callable[[], Any]) -> Any:
        try:
            with loop.interrupt.abandonable():
                return function()
        except BaseException as error:
            if broken_off(loop, error):
                return None
            raise

    task, policy, number = loop.task, loop.policy, num_processes()
    share, figures_of = getattr(task, "evaluation_share", None), getattr(task, "evaluation_figures", None)
    # Outside of what a signal breaks off: weights that were exchanged by half would be saved, and processes would wait for each other.
    with averaged_weights(loop.trainer), whole(policy):
        evaluate: Callable[[], Mapping[str, float]] = partial(task.evaluate, policy, split="dev")
        if number > 1 and callable(share) and callable(figures_of):
            own = look(lambda: (share(policy, split="dev", part=process_index(), parts=number),))
            wait_for_main("for the evaluation", lambda: loop.interrupt.asked)
            shares = from_all(own)
            if None in shares:
                return None
            evaluate = partial(figures_of, [each for (each,) in shares], split="dev")
        found = look(lambda: {name: float(value) for name, value in evaluate().items()}) if is_main() else None
        wait_for_main("for the evaluation", lambda: loop.interrupt.asked)
        figures: dict[str, float] | None = from_main(found)
        return figures
