"""Lets `python -m seqrl` be the `seqrl` command."""

from __future__ import annotations

import sys

from seqrl.run.cli import main

if __name__ == "__main__":
    sys.exit(main())
