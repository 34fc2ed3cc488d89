"""A slow reward function of one's own, called in several processes at once."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from seqrl.failures import RewardFailed
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward_function import Answers
from seqrl.tasks.writing.trl_form import Notes, TrainerState

# Modules are found where this process finds them, and nowhere else: -P leaves the current folder out.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from seqrl.tasks.writing.reward_worker import main; main(sys.argv[2])"
_SHOWN = 60  # characters of a caption in an error


class RewardWorkers:
    """Processes that share the captions of a call; they start at the first call and end with this object or this process.

    Each gets a stretch of the captions with their references, so that a function has to score each caption by itself. Lines of
    JSON go through the pipes: strings one way, numbers the other. A call that fails in any way, by a signal, too, ends all of
    them; the next one starts new ones.

    Args:
        functions: `module:name` each, see `seqrl.tasks.writing.reward_function.import_function`.
        number: of processes.
        timeout_s: seconds after which a call is given up; 0 for never.
    """

    def __init__(self, functions: Sequence[str], number: int, timeout_s: float) -> None:
        self.functions, self.number, self.timeout_s = list(functions), number, timeout_s
        self._named = ", ".join(functions)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self._processes)

    def score(self, asked: Asked, state: TrainerState, notes: Notes, which: Sequence[int] = (0,)) -> Answers:
        """Score captions in their order; see `seqrl.tasks.writing.reward_function.checked_answers` for what comes back.

        Args:
            asked: N captions and what belongs to them.
            state: how far the training is.
            notes: what functions log.
            which: of the functions.

        Raises:
            RewardFailed: when a function raises or its process ends, naming the captions.
            ValueError: when one does not give one number a caption.
            TimeoutError: when it does not answer.
        """
        with self._lock:
            try:
                return self._score(asked, state, notes, list(which))
            except BaseException:  # half of an answer may still be on its way
                self.close()
                raise

    def close(self) -> None:
        """End the processes."""
        _end_all(self._processes)

    def _score(self, asked: Asked, state: TrainerState, notes: Notes, which: list[int]) -> Answers:
        deadline = time.monotonic() + self.timeout_s if self.timeout_s else None
        self._start()
        bounds = np.linspace(0, len(asked), min(self.number, len(asked)) + 1).astype(int).tolist()
        parts = [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]
        answers: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as waiting:
            for process, part in zip(self._processes, parts, strict=False):
                assert process.stdin is not None and process.stdout is not None
                request = _request({"asked": vars(asked.part(part)), "which": which, "global_step": state.global_step})
                with suppress(BrokenPipeError):  # it has ended, which its empty answer will say
                    process.stdin.write(request)
                    process.stdin.flush()
                waiting.register(process.stdout, selectors.EVENT_READ, (process, part, bytearray()))
            while waiting.get_map():
                for key, _ in self._ready(waiting, deadline):
                    process, part, received = key.data
                    received += (some := os.read(key.fd, 1 << 16))
                    if some and not received.endswith(b"\n"):
                        continue
                    answers[part.start] = self._read(process, bytes(received), part, asked.texts)
                    waiting.unregister(key.fileobj)
        scores, counts = np.zeros((len(which), len(asked))), np.ones((len(which), len(asked)), np.bool_)
        for part in parts:
            answer = answers[part.start]
            scores[:, part], counts[:, part] = answer["scores"], answer["counts"]
            for name, values in answer["metrics"].items():
                notes.metrics.setdefault(name, []).extend(values)
            for name, values in answer["extra"].items():
                notes.log_extra(name, values)
        return scores, counts

    def _start(self) -> None:
        if self._processes:
            return
        command = [sys.executable, "-P", "-c", _START, json.dumps([path for path in sys.path if isinstance(path, str)])]
        command.append(json.dumps(self.functions))
        for _ in range(self.number):
            # A session of its own, so that Ctrl-C reaches this process alone, and what the function starts ends with it.
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._processes.append(subprocess.Popen(command, start_new_session=True, **pipes))

    def _ready(self, waiting: selectors.BaseSelector, deadline: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = waiting.select(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not ready and deadline is not None and time.monotonic() >= deadline:
            what = f"the reward function {self._named} (task.reward.timeout_s)"
            raise TimeoutError(f"{what} did not answer for {self.timeout_s:g} seconds")
        return ready

    def _read(self, process: subprocess.Popen[bytes], received: bytes, part: slice, captions: Sequence[str]) -> dict[str, Any]:
        """Give a worker's answer, or raise what it says."""
        first = captions[part.start]
        where = f"for captions {part.start} to {part.stop - 1} of {len(captions)}, the first of them {first[:_SHOWN]!r}"
        if not received.endswith(b"\n"):
            raise RewardFailed(f"a process of the reward function {self._named} ended ({_how(process)}) {where}")
        answer = json.loads(received)
        if "raised" in answer:
            raise RewardFailed(f"the reward function {self._named} raised {answer['raised']} {where}\n{answer['traceback']}".rstrip())
        if "refused" in answer:
            raise ValueError(f"{answer['refused']}; {where}")
        return dict(answer)


def _request(content: dict[str, Any]) -> bytes:
    """Write a line of JSON.

    Raises:
        ValueError: when a column holds what JSON cannot.
    """
    try:
        return json.dumps(content).encode() + b"\n"
    except TypeError as error:
        raise ValueError(f"reward.workers: the data's columns go to other processes as JSON, and {error}; set workers=0") from error


def _how(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(timeout=5)
        return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return "it closed its pipe"


def _end_all(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()
    processes.clear()
