"""The recorder refuses a wrong order, and saves nothing of a run whose state nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rescued import make

from seqrl.run import checkpoint
from seqrl.run.log import Log
from seqrl.run.progress import Intervals, Progress
from seqrl.run.recorder import Recorder
from seqrl.run.saving import Saver


def begun(folder: Path) -> tuple[Recorder, Any, Any]:
    trainer, task = make()
    saver = Saver(trainer, task, trainer.policy, folder, None, {}, 2)
    intervals = Intervals(num_updates=8, eval_every=0, save_every=0, save_minutes=0.0, log_every=1)
    return Recorder(saver, Log([]), Progress(), intervals), trainer, task


def update_without_attempt(recorder: Recorder, trainer: Any, task: Any) -> None:
    recorder.update(trainer.update(trainer.collect(task)))


def never_collected(recorder: Recorder, trainer: Any, task: Any) -> None:
    with recorder.attempt():
        trainer.update(trainer.collect(task))


def never_told(recorder: Recorder, trainer: Any, task: Any) -> None:
    for _ in range(2):
        with recorder.attempt():
            trajectory = trainer.collect(task)
            recorder.collected(trajectory)
            trainer.update(trajectory)


def saved_within(recorder: Recorder, trainer: Any, task: Any) -> None:
    with recorder.attempt():
        trajectory = trainer.collect(task)
        recorder.collected(trajectory)
        recorder.checkpoint()


def logged_before_it_is_told(recorder: Recorder, trainer: Any, task: Any) -> None:
    with recorder.attempt():
        trajectory = trainer.collect(task)
        recorder.collected(trajectory)
        trainer.update(trajectory)
    recorder.log()


@pytest.mark.parametrize(
    ("wrong", "phase"),
    [
        (update_without_attempt, "between updates, expected after an update"),
        (never_collected, "while collecting, expected while updating"),
        (never_told, "after an update, expected between updates"),
        (saved_within, "while updating, expected between updates"),
        (logged_before_it_is_told, "after an update, expected between updates"),
    ],
)
def test_a_wrong_order_is_refused_and_nothing_saved(tmp_path: Path, wrong: Callable[..., None], phase: str) -> None:
    recorder, trainer, task = begun(tmp_path)
    with pytest.raises(RuntimeError, match=f"called {phase}; the order is: with attempt"), recorder.running():
        wrong(recorder, trainer, task)
    assert not checkpoint.step_folders(tmp_path)
