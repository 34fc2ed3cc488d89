"""Imports a package's public names when they are first asked for, so that to import the package costs next to nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def imported_when_used(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Give a package's `__getattr__` and `__dir__`.

    Args:
        package: its name; it has an `__all__`.
        modules: named from the package on, or from `seqrl.` on where they stand elsewhere, with the public names that come from each.
    """
    homes = {name: module if module.startswith("seqrl.") else f"{package}.{module}" for module, names in modules.items() for name in names}
    namespace = sys.modules[package].__dict__

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(namespace['__all__'])}")
        value = namespace[name] = getattr(import_module(homes[name]), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *namespace["__all__"]})

    return get, names
