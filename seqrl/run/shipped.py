"""Weights that ship with the package: `shipped:NAME` is the folder `shipped/NAME` of one of its tasks."""

from __future__ import annotations

from pathlib import Path

_PREFIX = "shipped:"
_PACKAGE = Path(__file__).resolve().parents[1]


def names_shipped(path: Path | str) -> bool:
    """Say whether a path is of the form `shipped:NAME`."""
    return str(path).startswith(_PREFIX)


def is_shipped(folder: Path) -> bool:
    """Say whether a folder is one that `shipped:NAME` stands for."""
    return folder.resolve() in {shipped.resolve() for shipped in _folders().values()}


def find_shipped(path: Path | str) -> Path:
    """Find the folder that `shipped:NAME` stands for, from any current folder.

    Raises:
        FileNotFoundError: when nothing of that name ships; those at hand are named.
    """
    name = str(path).removeprefix(_PREFIX)
    folders = _folders()
    if name not in folders:
        raise FileNotFoundError(f"{path}: nothing of this name ships with the package; there is {', '.join(folders) or 'nothing'}")
    return folders[name]


def _folders() -> dict[str, Path]:
    return {meta.parent.name: meta.parent for meta in sorted(_PACKAGE.glob("tasks/*/shipped/*/meta.json"))}
