"""A stage of the demonstration: the `seqrl` command, which saves and ends when the demonstration itself is gone.

python -m seqrl.tasks.captioning.demo.child train CONFIG --quiet
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from seqrl.__main__ import main


def end_with_parent() -> None:
    """Ask this process to save and end as soon as nobody holds the other end of its standard input."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
