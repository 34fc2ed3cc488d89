"""What a run's folder is not trusted with, since it may be somebody else's: to name code, and to lead out of itself."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqrl.run import registry
from seqrl.run.decode import CommandLineText

# The key of a field's metadata that says that a value `module:name` is imported; under it stand the modules that need no permission.
NAMES_CODE = "names_code"
# A component of this package; one attribute, so that nothing that a module imports can be reached through it.
OURS = re.compile(r"seqrl(\.[A-Za-z_]\w*)+:[A-Za-z_]\w*")
FILES_OF_A_RUN = ("checkpoints", "env.json", "metrics.jsonl")


@dataclass(frozen=True)
class NamedCode:
    """A `module:name` in a configuration that no installed package has registered.

    Attributes:
        field: dotted name of the field.
        name: the value.
        typed: whether the user typed it, so that it does not come from the file.
    """

    field: str
    name: str
    typed: bool


def code_of_types(tree: Any, path: str = "") -> list[NamedCode]:
    """List the components that a configuration names by `type: module:name`, however deep: one of ours may hold others.

    Args:
        tree: the configuration as read; what the user typed is `CommandLineText`.
        path: where it stands.
    """
    if isinstance(tree, CommandLineText):
        return [NamedCode(path, str(tree), typed=True)] if ":" in tree and "type" in tree else []
    if isinstance(tree, list):
        return [code for index, item in enumerate(tree) for code in code_of_types(item, f"{path}[{index}]")]
    if not isinstance(tree, Mapping):
        return []
    found = []
    for key, item in tree.items():
        name = f"{path}.{key}" if path else str(key)
        if key == "type" and ":" in str(item) and not OURS.fullmatch(str(item)) and str(item) not in _installed():
            found.append(NamedCode(name, str(item), isinstance(item, CommandLineText)))
        else:
            found += code_of_types(item, name)
    return found


def _installed() -> set[str]:
    return {point.value for group in (registry.TASKS, registry.TRAINERS) for point in registry.registered(group).values()}


def code_of_fields(config: Any, tree: Any, path: str = "") -> list[NamedCode]:
    """List the values `module:name` of fields marked with `NAMES_CODE`, of lists of them or mappings from them; unset ones are left out.

    Args:
        config: a dataclass, decoded from the tree.
        tree: see `code_of_types`.
        path: where it stands, for instance `task.reward`.
    """
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        given = tree if isinstance(tree, CommandLineText) else tree.get(field.name) if isinstance(tree, Mapping) else None
        name = f"{path}.{field.name}" if path else field.name
        if given is None:
            continue
        if dataclasses.is_dataclass(value):
            found += code_of_fields(value, given, name)
        elif NAMES_CODE in field.metadata:
            values = list(value) if isinstance(value, list | dict) else [value]
            sources = list(given) if isinstance(given, list | dict) and len(given) == len(values) else [given] * len(values)
            for each, source in zip(values, sources, strict=True):
                if ":" in str(each) and str(each).partition(":")[0] not in field.metadata[NAMES_CODE]:
                    found.append(NamedCode(name, str(each), isinstance(source, CommandLineText)))
    return found


def admit(named: Sequence[NamedCode], file: Path, *, allow_code: bool) -> None:
    """Let what a configuration names be imported, from the current folder as well, or refuse to.

    Args:
        named: what it names.
        file: the configuration.
        allow_code: whether names that stand in the file are admitted, too.

    Raises:
        ValueError: saying which files would be run, and how to allow it.
    """
    refused = [] if allow_code else [code for code in named if not code.typed]
    if refused:
        shown = "; ".join(f"{code.field} names {code.name!r}, which would run {_where(code.name.partition(':')[0])}" for code in refused)
        raise ValueError(
            f"{file}: {shown}. A run may be somebody else's, so what it names and no installed package has registered is not imported "
            "unasked; read that code, and add --allow-code if you trust it"
        )
    # The command's own folder is the first on the path, not the user's.
    if named and "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def _where(module: str) -> str:
    return " and ".join(files_of(module)) or f"a module {module}, which is not found here"


def files_of(module: str) -> Iterator[str]:
    """Give the files that importing a module would run, its parents' first, without running any."""
    path: list[str] | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = _find(".".join(parts[: depth + 1]), path)
        if spec is None:
            return
        if spec.origin:
            yield spec.origin
        # A namespace package within another looks its parent up among the modules that are imported, where it is not.
        places = spec.submodule_search_locations
        path = list(getattr(places, "_path", None) or places or ())


def _find(name: str, path: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        found = finder.find_spec(name, path)
        if found is not None:
            return found
    return importlib.machinery.PathFinder.find_spec(name, [str(Path.cwd())]) if path is None else None


def run_around(file: Path) -> Path | None:
    """Give the folder of the run to which a file belongs; None for a file outside of all runs."""
    for path in (Path(os.path.abspath(file)), file.resolve()):
        for folder in path.parents:
            if (folder / "config.yaml").is_file() and any((folder / name).exists() for name in FILES_OF_A_RUN):
                return folder
    return None


def refuse_other_place(runs_folder: Path, file: Path, overrides: Sequence[str]) -> None:
    """Refuse a run's own configuration that would put the new run somewhere else than below the current folder.

    Args:
        runs_folder: what the configuration names.
        file: the configuration.
        overrides: what the user typed.

    Raises:
        ValueError: saying how to allow it.
    """
    typed = any(override.startswith("--runs_folder=") for override in overrides)
    if not typed and run_around(file) is not None and not runs_folder.resolve().is_relative_to(Path.cwd().resolve()):
        raise ValueError(
            f"{file}: the configuration of a run, which may be somebody else's, puts new runs into {runs_folder}, outside the current "
            f"folder; say so yourself with --runs_folder={runs_folder}, or name another folder"
        )


def refuse_links(folder: Path, *, itself: bool = False) -> None:
    """Refuse a folder with links that lead out of it, through which something else would be overwritten.

    Args:
        folder: may be missing.
        itself: whether it must not be a link, either.

    Raises:
        ValueError: naming the first such link.
    """
    if itself and folder.is_symlink():
        raise ValueError(f"{folder}: is a link to {folder.resolve()}; expected a folder of its own; remove the link")
    inside = folder.resolve()
    for link in (Path(place) / name for place, folders, files in os.walk(folder) for name in [*folders, *files]):
        target = Path(os.path.realpath(link))
        if link.is_symlink() and not target.is_relative_to(inside):
            raise ValueError(
                f"{link}: is a link to {target}, outside the folder, and would let that be overwritten; replace it by a copy, or remove it"
            )
