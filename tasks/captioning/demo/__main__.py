"""The command of the demonstration; a signal ends it in good order from the first line on, also while its modules are imported."""

from __future__ import annotations

import argparse
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from seqrl.run.interrupt import run_command
from seqrl.tasks.captioning.demo.processes import StageFailed, check_signal

EXIT_BAD_INPUT, EXIT_FAILED = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; give its exit code: 0 well, 2 bad input, 130 after SIGINT, 143 after SIGTERM, 1 anything else."""
    return run_command(lambda: _main(arguments), name="demo", hint="nothing had been trained yet")


def _main(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    parsed, overrides = parser.parse_known_args(arguments)
    for name in ("minutes", "updates", "cross_entropy_updates"):
        value = getattr(parsed, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"argument --{name.replace('_', '-')}: expected a positive number, got {value}")
    # Two processes beside each other: a thread each.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    print("Loading ...", flush=True)
    try:
        from seqrl.run.lock import hold
        from seqrl.tasks.captioning.demo.demonstration import Demonstration

        check_signal()
        with hold(parsed.folder):
            Demonstration.of(parsed, overrides).run()
    except Exception as error:
        check_signal()  # what broke because of a signal is no fault
        return _say_failed(error)
    return 0


def _say_failed(error: Exception) -> int:
    if not isinstance(error, ValueError | OSError | StageFailed):
        traceback.print_exception(error)
        return EXIT_FAILED
    print(f"demo: {error}", file=sys.stderr)
    return EXIT_FAILED if isinstance(error, StageFailed) else EXIT_BAD_INPUT


def make_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Optimise a converged captioner for CIDEr-D, beside a control, and show what became better; "
        "--field.field=value changes the configurations. `make demo ARGS='...'` hands the arguments on.",
        allow_abbrev=False,
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="where runs and pictures go; %(default)s by default")
    parser.add_argument("--seed", type=int, default=0, help="of everything; 0 by default")
    parser.add_argument("--from-scratch", action="store_true", help="train the captioner, too, instead of loading the one that ships")
    parser.add_argument("--checkpoint", type=Path, help="optimise this run's or checkpoint's weights instead of the ones that ship")
    parser.add_argument("--resume", action="store_true", help="go on with the demonstration in the folder, as it was begun")
    parser.add_argument("--minutes", type=float, help="how long it may take; 4 by default, and as long as it takes from scratch")
    parser.add_argument("--updates", type=int, help="of self-critical training, instead of 200 or as many as fit")
    parser.add_argument("--cross-entropy-updates", type=int, help="of the first stage with --from-scratch, instead of its config's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
