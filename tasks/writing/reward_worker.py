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

from seqrl.tasks.writing.reward_function import RewardFunction, checked_scores, columns_for, import_function


def main(name: str) -> None:
    """Answer requests.

    A request is [captions, references, prompts or null]; the answer has `scores`, or `refused` where they are no numbers, or `raised` and
    `traceback` where the function failed.

    Args:
        name: of the function, `module:name`.
    """
    # What the function, or a program that it starts, prints or reads must not get between the lines.
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, requests), daemon=True).start()
    function: RewardFunction | None = None
    while True:
        captions, references, prompts = json.loads(requests.get())
        try:
            function = function or import_function(name)
            answer = _answer(function, captions, references, prompts)
        except BaseException as error:  # whatever it is, it is told; the process that asked decides
            answer = {"raised": f"{type(error).__name__}: {error}"[:500], "traceback": traceback.format_exc()[-3000:]}
        outbox.write(json.dumps(answer).encode() + b"\n")
        outbox.flush()


def _answer(function: RewardFunction, captions: list[str], references: list[list[str]], prompts: list[str] | None) -> dict[str, Any]:
    given = function(*columns_for(function, captions, references, prompts))
    try:
        return {"scores": checked_scores(given, len(captions)).tolist()}
    except ValueError as error:
        return {"refused": str(error)}


def _listen(inbox: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Hand lines on; when the process that sends them is gone, end at once, with all that the function has started."""
    for line in inbox:
        requests.put(line)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
