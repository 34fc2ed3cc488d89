"""The whole state that a run can go back to, and what is saved of it when a signal or a failure comes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from seqrl.distributed import num_processes
from seqrl.failures import NoStepTaken
from seqrl.run.interrupt import GRACE_S, Interrupt, Interrupted, resume_command
from seqrl.run.log import RunFolderGone
from seqrl.run.memory import explained
from seqrl.run.progress import Progress
from seqrl.run.saving import Saver, Snapshot


class WayBack:
    """Knows the newest state that is whole, and saves it.

    Args:
        saver: copies and writes.
        progress: how far the run is.
        keep: puts what was gathered since the last line of the log where copies and checkpoints find it; given True, it asks the task
            first what it has to tell of its rollouts, which every process must do.
    """

    def __init__(self, saver: Saver, progress: Progress, keep: Callable[[bool], None]) -> None:
        self.interrupt = Interrupt()
        self.interrupt.last_resort = self._rescue_at_once
        self._saver, self._progress, self._keep = saver, progress, keep
        # The newest copy of the state before an update; and what a signal goes back to, while something can be broken off.
        self._copied: Snapshot | None = None
        self._snapshot: Snapshot | None = None
        # Whether the weights are those of the last whole update, and what tells; and whether they were saved after a failure.
        self._whole, self._rescued, self._version = True, False, 0
        self._tensors = [*saver.policy.parameters(), *saver.policy.buffers()]

    @contextmanager
    def before_update(self) -> Iterator[None]:
        """Copy what an update changes, as far as that is cheap; a signal may break off what is done inside."""
        if self._saver.is_copy_due(self._copied):
            self._keep(False)
            self._copied = self._saver.snapshot_for_update(self._progress)
        self._snapshot = self._copied or self._saver.snapshot_for_collecting(self._progress)
        with self.interrupt.abandonable(self._snapshot is not None, grace_s=GRACE_S):
            yield

    def before_weights_change(self) -> None:
        """Give up a copy without weights; a failure from here on may leave them half changed."""
        if self._snapshot is not None and self._snapshot.weights is None:
            self.interrupt.no_way_back()
            self._snapshot = None
        self._version, self._whole = self._versions(), False

    def after_update(self) -> None:
        """Take the present state for whole."""
        self._whole = True

    def before_evaluation(self) -> None:
        """Copy what an evaluation changes."""
        self._keep(True)
        self._snapshot = self._saver.snapshot_for_evaluation(self._progress)

    def forget(self, *, copies: bool = False) -> None:
        """Go back no more to the state before what has come to its end.

        Args:
            copies: after a failure, either.
        """
        self._snapshot = None
        if copies:
            self._copied = None

    def broke_off(self, error: BaseException) -> bool:
        """Say whether a signal ended what was done, and not a fault; what failed after a signal may have failed because of it."""
        return self._snapshot is not None and bool(self.interrupt.asked) and isinstance(error, Interrupted | Exception)

    def unless_broken_off(self, function: Callable[[], Any]) -> Any:
        """Give what a function gives, None when a signal broke it off."""
        try:
            with self.interrupt.abandonable():
                return function()
        except BaseException as error:
            if self.broke_off(error):
                return None
            raise

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        self._keep(True)
        self._saver.save(self._progress)
        self._copied = None

    def stop(self) -> int:
        """Save, where something was broken off the state before it; give the signal's number."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None:
            self.save()
        else:
            self._write(snapshot, self._saver.save)
        return self.interrupt.asked or signal.SIGTERM  # which may have come to another process

    @contextmanager
    def rescuing(self, doing: str) -> Iterator[None]:
        """Save after whatever ends a run; see `fail`."""
        try:
            yield
        except BaseException as error:
            self.fail(error, doing)

    def fail(self, error: BaseException, doing: str) -> NoReturn:
        """Save after whatever ends a run, `KeyboardInterrupt` included; the error says what was done, and which checkpoint there is."""
        self._whole = self._whole or self._versions() == self._version
        task, trainer = (getattr(part, "config", None) for part in (self._saver.task, self._saver.trainer))
        known = explained(error, doing, task=task, trainer=trainer)
        self._rescue(known, doing)
        if known is not error:
            raise known from error
        raise error

    def refuse(self, text: str) -> NoReturn:
        """End a run of which nobody knows the state any more, so that nothing is saved.

        Raises:
            RuntimeError: with the text.
        """
        self._rescued = True
        raise RuntimeError(text)

    def _rescue(self, error: BaseException, doing: str) -> None:
        """Save the newest state that is whole, unless a signal broke off what was done, or that was done for the same error before.

        A copy of this very step goes before the present state, in which more than the weights may have changed.
        """
        if self._rescued or self.broke_off(error) or isinstance(error, RunFolderGone):
            return
        self._rescued = True
        step, copied = self._progress.step, self._copied
        exact = [each for each in (self._snapshot, copied) if each is not None and each.progress.step == step]
        states: list[Snapshot | None] = [each for each in exact[:1] if self._whole or each.weights is not None]
        if self._whole:
            if not states and num_processes() == 1:  # what is told of an update that is done again would be told twice
                with suppress(Exception):  # the task may be what failed, and the error that is on its way matters more
                    self._keep(True)
            self._keep(False)
            states.append(None)
        if copied is not None and copied.progress.step != step:
            states.append(copied)
        left = self._saver.rescue(self._progress, states, together=isinstance(error, NoStepTaken))
        error.add_note(f"{doing}; {left}")
        if self.interrupt.command is not None and self._saver.newest is not None:
            self.interrupt.command.hint = f"{left}; `{resume_command(self._saver.run_folder)}` goes on"

    def _rescue_at_once(self) -> None:
        """Save what a first signal would have gone back to, before a second one ends the process."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None and not self._rescued:
            self._rescued = True
            self._write(snapshot, lambda progress, state: self._saver.rescue(progress, [state]))

    def _write(self, snapshot: Snapshot, write: Callable[[Progress, Snapshot], object]) -> None:
        if snapshot.progress is self._progress:  # not copied, so that what was told since has to be in it
            self._keep(False)
        write(self._progress, snapshot)

    def _versions(self) -> int:
        """Give a number that is another one when a weight has changed."""
        return sum(tensor._version for tensor in self._tensors)
