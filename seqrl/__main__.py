"""Lets `python -m seqrl` be the `seqrl` command."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the current folder first on the path, where a folder of somebody else's could stand in for any package. A checkout
    # that is not installed is found there, and stays.
    if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd().resolve():
        del sys.path[0]
    from seqrl.run.cli import main

    sys.exit(main())
