"""A stage of the demonstration: the `seqrl` command, which saves and ends when the demonstration itself is gone.

python -m seqrl.tasks.captioning.demo.child train CONFIG --quiet
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from seqrl.__main__ import main
from seqrl.run.interrupt import current_command, exit_code


def end_with_parent() -> None:
    """Ask this process to save and end as soon as nobody holds the other end of its standard input."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        command = current_command()
        if command is not None and command.asked:
            os._exit(exit_code(command.asked))  # asked twice: once by a signal, once by the end of who sent it
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
