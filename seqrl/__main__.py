"""The `seqrl` command; a signal ends it in good order from the first line on, also while its modules are imported."""

from __future__ import annotations

import signal
import sys

from seqrl.run.interrupt import SIGNALS, exit_code, run_command


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
