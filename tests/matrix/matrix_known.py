"""Cells that are known to be wrong: a pattern of the test's name, and what is wrong; when a cell is right again its line has to go."""

from __future__ import annotations

KNOWN: dict[str, str] = {}
