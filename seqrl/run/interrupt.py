"""What SIGINT (Ctrl-C) and SIGTERM do: the first one ends a command or a run in good order, the second one ends it on the spot.

Nothing that takes time is imported here, so that a command can set its handlers before all else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from seqrl.failures import LAUNCHER

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `timeout` sends its signal to the command and then to the command's group, which is one request and not two; so does torchrun, later.
SAME_REQUEST_S, SAME_REQUEST_OF_SEVERAL_PROCESSES_S = 0.1, 2.0
# So long an update may go on after a signal, before it is broken off.
GRACE_S = 1.0
# So long after an exception that somebody swallowed another one is raised.
REPEAT_S = 5.0


class Interrupted(KeyboardInterrupt):  # an exception can only inherit
    """A signal has come.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {name_of(number)}")
        self.number = number


def resume_command(run_folder: object) -> str:
    """Give the command that goes on with a run exactly: with as many processes as it has."""
    number, command = int(os.environ.get("WORLD_SIZE", 1)), f"seqrl resume {run_folder}"
    if number == 1:
        return command
    return f"{command} --num_processes {number}" if LAUNCHER in os.environ else f"torchrun --nproc_per_node {number} -m {command}"


def exit_code(number: int) -> int:
    """Give the exit code that a shell expects of a program that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


def name_of(number: int) -> str:
    """Name a signal as people do."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Handlers:
    """The handlers of both signals, put back at the end, and what has come.

    Python allows handlers in the main thread only, so elsewhere none is set.
    """

    def __init__(self) -> None:
        self.previous: dict[int, Any] = {}
        self.number, self._first_s = 0, 0.0

    def set(self, handler: Callable[[int, FrameType | None], None]) -> None:
        """Let both signals call a function."""
        if threading.current_thread() is threading.main_thread():
            # Also where SIGINT was ignored, as shells do for what runs in the background: who sends one by hand means it.
            self.previous = {number: signal.signal(number, handler) for number in SIGNALS}

    def put_back(self) -> None:
        """Let them do what they did before."""
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.previous = {}

    def is_second(self, number: int) -> bool:
        """Take a signal; say whether it is a second request to end, and not the same one once more."""
        now = time.monotonic()
        if not self.number:
            self.number, self._first_s = int(number), now
            return False
        several = int(os.environ.get("WORLD_SIZE", 1)) > 1
        return now - self._first_s > (SAME_REQUEST_OF_SEVERAL_PROCESSES_S if several else SAME_REQUEST_S)


class Command:
    """While entered, the first SIGINT or SIGTERM raises `Interrupted` wherever the program is, the second one kills the process.

    A run inside of it (see `Interrupt`) takes the signals over for its time.

    Attributes:
        hint: what the message adds, for instance which command goes on.
    """

    def __init__(self, hint: str = "") -> None:
        self.hint, self._handlers = hint, Handlers()

    @property
    def asked(self) -> int:
        """Number of the signal that has come; 0 for none."""
        return self._handlers.number

    def __enter__(self) -> Command:
        self._handlers.set(self.handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handlers.put_back()
        outer = current_command()
        if outer is not None and self.asked and not outer.asked:
            outer.take(self.asked)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Act on a signal."""
        if self.take(number):
            raise Interrupted(number)

    def take(self, number: int) -> bool:
        """Note a signal that came to a run in this command; say whether it is the first."""
        first = not self.asked
        if self._handlers.is_second(number):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return first

    def check(self) -> None:
        """Raise `Interrupted` when a signal has come, for instance in the last update of a run."""
        if self.asked:
            raise Interrupted(self.asked)


def current_command() -> Command | None:
    """Give the command whose handlers are set, also from inside of a run; None in a library."""
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(owner, Interrupt):
        owner = owner.command
    return owner if isinstance(owner, Command) else None


def run_command(body: Callable[[], int | None], *, name: str, hint: str = "") -> int:
    """Call a program's main function; give its exit code, 130 or 143 with one line on stderr when a signal ended it.

    Args:
        body: the function; None counts as 0.
        name: stands before the message.
        hint: see `Command`.
    """
    with Command(hint) as command:
        try:
            code = int(body() or 0)
            return exit_code(command.asked) if command.asked else code
        except BaseException as error:
            # What breaks because of a signal, an import or a process that the same signal ended, is no fault of its own.
            if not command.asked and not isinstance(error, KeyboardInterrupt):
                raise
            number = command.asked or signal.SIGINT
            print(f"{name}: interrupted by {name_of(number)}{'; ' if command.hint else ''}{command.hint}", file=sys.stderr)
            return exit_code(number)


class Interrupt:
    """While entered, the first SIGINT or SIGTERM sets `asked` and breaks off what can be taken back; the second acts as it did before.

    Attributes:
        asked: number of the signal that has come; 0 for none.
        command: that this run is part of; None in a library.
        last_resort: is called before the second signal ends the process.
    """

    def __init__(self) -> None:
        self.command = current_command()
        # One that came while nobody could raise, in a callback of C code for instance, is not forgotten.
        self.asked = self.command.asked if self.command else 0
        self._handlers = Handlers()
        self._may_raise, self._grace_s, self._overdue = False, 0.0, False
        self._timer: threading.Timer | None = None
        self.last_resort: Callable[[], None] = lambda: None

    def __enter__(self) -> Interrupt:
        self._handlers.set(self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handlers.put_back()

    @contextmanager
    def abandonable(self, possible: bool = True, *, grace_s: float = 0.0) -> Iterator[None]:
        """Let a signal raise `Interrupted` inside.

        Args:
            possible: whether there is a way back to the state before; without one the signal waits.
            grace_s: time to come to an end by itself first.
        """
        self._may_raise, self._grace_s = possible, grace_s
        try:
            if possible and self.asked:
                raise Interrupted(self.asked)
            yield
        finally:
            self.no_way_back()

    def no_way_back(self) -> None:
        """Let signals wait from here on to the end of what was abandonable."""
        self._may_raise = False
        if self._timer is not None:
            self._timer.cancel()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._overdue:
            self._overdue = False
            self._raise()
            return
        second = self._handlers.is_second(number)
        if second:
            self.last_resort()
        if self.command is not None:
            self.command.take(number)
        if second:
            self._as_before(number, frame)
            return
        if self.asked:
            return
        self.asked = int(number)
        if int(os.environ.get("RANK", 0)) == 0:
            doing = "breaking off" if self._may_raise and not self._grace_s else "finishing the current update"
            with suppress(OSError):  # past the buffer of stderr, in which the program may just be writing
                os.write(2, f"\n{name_of(number)}: {doing}, then saving; once more to end at once\n".encode())
        if self._may_raise and self._grace_s:
            self._ring_in(self._grace_s)
        else:
            self._raise()

    def _raise(self) -> None:
        if self._may_raise:
            self._ring_in(REPEAT_S)
            raise Interrupted(self.asked)

    def _ring_in(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._ring, (self.asked,))
        self._timer.daemon = True
        self._timer.start()

    def _ring(self, number: int) -> None:
        # A signal, and not only a flag: it also ends what waits, for instance for an environment.
        self._overdue = True
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _as_before(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers.previous.get(number)
        self._handlers.put_back()
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            os.kill(os.getpid(), number)
        else:
            raise KeyboardInterrupt
