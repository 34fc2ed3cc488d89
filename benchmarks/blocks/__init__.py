"""The blocks of figures in README.md and docs/results.md: each module names its own in `BLOCKS`, from files of results to Markdown."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any


def find_blocks() -> dict[str, Callable[[Any], str]]:
    """Name the functions of all modules of this folder."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {function.__name__: function for module in modules for function in getattr(module, "BLOCKS", ())}
