"""The blocks of figures in README.md and docs/results.md: one function each, from the files of results to Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blocks import agents, attention, captions, front, tables

BLOCKS: dict[str, Callable[[Any], str]] = {
    function.__name__: function for module in (agents, attention, captions, front, tables) for function in module.BLOCKS
}
