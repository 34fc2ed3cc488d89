"""A process that calls a reward function: lines of JSON come in, lines of JSON go out; it ends when nobody listens any more."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, BinaryIO

from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward_function import Named, ask, checked_answers, import_function
from seqrl.tasks.writing.trl_form import Notes, TrainerState


def main(names: str) -> None:
    """Answer requests.

    A request has `asked`, the fields of `seqrl.tasks.writing.asked.Asked`, `which` of the functions are called, and `global_step`; the
    answer has `scores` and `counts`, a row for each function, and what they logged, or `refused` where they are no numbers, or `raised`
    and `traceback` where a function failed.

    Args:
        names: of the functions, a JSON list of `module:name`.
    """
    # What the function, or a program that it starts, prints or reads must not get between the lines.
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, requests), daemon=True).start()
    functions: list[Named] = []
    while True:
        request = json.loads(requests.get())
        try:
            functions = functions or [(name, import_function(name)) for name in json.loads(names)]
            answer = _answer([functions[place] for place in request["which"]], Asked(**request["asked"]), request["global_step"])
        except BaseException as error:  # whatever it is, it is told; the process that asked decides
            answer = {"raised": f"{type(error).__name__}: {error}"[:500], "traceback": traceback.format_exc()[-3000:]}
        outbox.write(json.dumps(answer).encode() + b"\n")
        outbox.flush()


def _answer(functions: list[Named], asked: Asked, global_step: int) -> dict[str, Any]:
    notes = Notes()
    given = ask(functions, asked, TrainerState(global_step), notes)
    try:
        scores, counts = checked_answers(functions, given, len(asked))
    except ValueError as error:
        return {"refused": str(error)}
    return {"scores": scores.tolist(), "counts": counts.tolist(), "metrics": notes.metrics, "extra": notes.extra}


def _listen(inbox: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Hand lines on; when the process that sends them is gone, end at once, with all that the function has started."""
    for line in inbox:
        requests.put(line)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
