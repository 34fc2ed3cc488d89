"""Captioners that ship with the package; each folder says how it was made."""

from __future__ import annotations

from pathlib import Path

from seqrl.run.shipped import find_shipped


def checkpoint(name: str = "scenes_xe") -> Path:
    """Give the folder of a shipped captioner, as `init_from: shipped:NAME` means it.

    Raises:
        FileNotFoundError: when there is none of that name; those at hand are named.
    """
    return find_shipped(f"shipped:{name}")
