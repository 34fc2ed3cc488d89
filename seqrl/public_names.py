"""Imports a package's public names when they are first asked for, so that to import the package costs next to nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def imported_when_used(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Give a package's `__all__`, `__getattr__` and `__dir__`; its public names are those it imports for type checkers alone.

    Args:
        package: its name. In its file stands `if TYPE_CHECKING:` with `from module import Name as Name`, a line for each name, which type
            checkers read as they stand; a second list would only repeat them.
    """
    module = sys.modules[package]
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imports = [line for block in tree.body if isinstance(block, ast.If) for line in block.body if isinstance(line, ast.ImportFrom)]
    homes = {alias.name: str(line.module) for line in imports for alias in line.names}
    public, namespace = sorted(homes), module.__dict__

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(public)}")
        value = namespace[name] = getattr(import_module(homes[name]), name)
        return value

    return public, get, lambda: sorted({*namespace, *public})
