"""Lets `python -m seqrl.tasks.captioning.demo` be what `make demo` does."""

from __future__ import annotations

import sys

from seqrl.tasks.captioning.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
