"""The `seqrl` command; a signal ends it in good order from the first line on, also while its modules are imported."""

from __future__ import annotations

import os
import sys

# `python -m` puts the current folder first on the path, where somebody else's files could stand in for any package. A checkout that is not
# installed is found there, and stays.
if __name__ == "__main__" and sys.path[:1] in ([""], [os.getcwd()]) and os.path.dirname(os.path.dirname(__file__)) != os.getcwd():
    del sys.path[0]

# Where a process of several has ended, torch's C++ would fill the screens of the others with its stack.
if os.environ.get("WORLD_SIZE", "1") != "1":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import signal  # noqa: E402

from seqrl.run.interrupt import SIGNALS, exit_code, run_command  # noqa: E402


def main() -> int:
    """Run the command and give its exit code, see `seqrl.run.cli.main`."""
    code = run_command(_run, name="seqrl")
    if code > exit_code(0):
        # From here on nothing is left to be said: a second signal ends the process without a traceback.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
    return code


def _run() -> int:
    from seqrl.run.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
