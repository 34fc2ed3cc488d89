"""The name of the environment of tapes, apart so that to register it loads nothing."""

from __future__ import annotations

TAPES = "seqrl/Tapes-v0"
MOST_STEPS = 1000  # above what the rules allow
