"""Rewrite the configuration and the checkpoints of runs that an earlier version made: seqrl migrate RUN ..."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from seqrl.run import checkpoint, integrity, recovery
from seqrl.run.config import leaves, read_tree
from seqrl.run.exchange import hidden, replace_text
from seqrl.run.lock import hold
from seqrl.run.renames import Name, rename_fields, rename_tensor
from seqrl.run.trust import refuse_links

CONFIG, BEFORE = "config.yaml", "config.yaml.before"


def migrate(run: Path) -> list[str]:
    """Give a run the names that this version has for fields and weights; say what was changed, a line each.

    Each file is written beside the old one and renamed, checkpoints first, so that a migration that was broken off is finished by another
    one. The configuration as it was is kept as `config.yaml.before`. What was logged stays, and its old keys are understood.

    Args:
        run: its folder, or a checkpoint's that stands by itself.

    Raises:
        FileNotFoundError: when there is neither.
        ValueError: when a file is damaged, or the configuration has a field whose work nothing does any more.
        BlockingIOError: when the run is at work.
    """
    alone = (run / checkpoint.WEIGHTS).is_file()
    if not alone and not (run / CONFIG).is_file():
        raise FileNotFoundError(f"{run}: expected the folder of a run, with a config.yaml, or of a checkpoint; `seqrl list` names runs")
    refuse_links(run)
    owner = run if not alone else run.parent.parent if run.parent.name == "checkpoints" else run.parent
    with hold(owner):
        tree = None if alone else _read_config(run / CONFIG)  # what cannot be migrated changes nothing
        folders = [run] if alone else sorted(path for path in (run / "checkpoints").glob("*") if checkpoint.has_any_file(path))
        for folder in folders:
            recovery.check(folder)
        changes = [f"{folder.name}: {line}" for folder in folders for line in _migrate_checkpoint(folder)]
        if tree is not None and tree[1]:
            if not (run / BEFORE).exists():
                shutil.copy2(run / CONFIG, run / BEFORE)
            replace_text(run / CONFIG, tree[0])
            changes += [f"{CONFIG}: {line}" for line in tree[1]]
        return changes


def _read_config(path: Path) -> tuple[str, list[str]]:
    """Give a configuration's text as it is written now, and the changes."""
    integrity.check_seal(path)
    renamed, changes = rename_fields(leaves(read_tree(path)))
    return integrity.sealed(yaml.safe_dump(_tree(renamed), sort_keys=False, allow_unicode=True)), changes


def _migrate_checkpoint(folder: Path) -> list[str]:
    """Rewrite what has old names in a checkpoint; give the changes."""
    writes: dict[str, Callable[[Path], object]] = {}
    changes = list[str]()
    meta = checkpoint.read_meta(folder)
    named, lines = rename_fields({tuple(name.split(".")): value for name, value in meta.get("config", {}).items()})
    if lines:
        meta["config"] = {".".join(name): value for name, value in named.items()}
        meta["fingerprint"] = hashlib.sha256(json.dumps(meta["config"], sort_keys=True).encode()).hexdigest()[:16]
        text = json.dumps({**meta, "sums": integrity.SUMS}, indent=1, sort_keys=True) + "\n"
        writes[checkpoint.META] = lambda path: path.write_text(text, encoding="utf-8")
        changes += lines
    with safe_open(str(folder / checkpoint.WEIGHTS), framework="pt") as file:
        tensors, aliases = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    renamed, lines = _renamed_keys(tensors, folder)
    if lines:
        metadata = {rename_tensor(alias): rename_tensor(name) for alias, name in aliases.items()}
        writes[checkpoint.WEIGHTS] = lambda path: save_file(renamed, path, metadata)
        changes += lines
    for path in sorted(folder.glob("trainer*.pt")):
        state = checkpoint.load_state(folder, int("0" + path.stem.removeprefix("trainer").removeprefix("_process")))
        trainer, lines = _renamed_keys(state["trainer"], path)
        if lines:
            writes[path.name] = partial(torch.save, {**state, "trainer": trainer})
            changes += [f"{path.name}: {line}" for line in lines]
    if (folder / CONFIG).is_file():
        config, lines = _read_config(folder / CONFIG)
        if lines:
            writes[CONFIG] = lambda path: path.write_text(config, encoding="utf-8", newline="\n")
            changes += lines if checkpoint.META not in writes else []
    if writes:
        _rewrite(folder, writes)
    return changes


def _rewrite(folder: Path, writes: Mapping[str, Callable[[Path], object]]) -> None:
    """Replace some files of a checkpoint at once, and its sums."""
    beside = hidden(folder)
    try:
        shutil.copytree(folder, beside, ignore=shutil.ignore_patterns(integrity.SUMS, *writes))
        for name, write in writes.items():
            write(beside / name)
            shutil.copymode(folder / name, beside / name)
        checkpoint.put_in_place(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _renamed_keys(value: Any, where: Path) -> tuple[Any, list[str]]:
    """Give plain data with tensors in it, with the names that its mappings' keys have now, and a line about each change.

    Raises:
        ValueError: when two names become one.
    """
    if isinstance(value, list | tuple):
        items = [_renamed_keys(item, where) for item in value]
        return type(value)(item for item, _ in items), [line for _, lines in items for line in lines]
    if not isinstance(value, Mapping):
        return value, []
    found: dict[Any, Any] = {}
    changes = list[str]()
    for key, item in value.items():
        new = rename_tensor(key) if isinstance(key, str) else key
        if new in found:
            raise ValueError(f"{where}: two names would become {new}; mend the table in seqrl/run/renames.yaml")
        found[new], lines = _renamed_keys(item, where)
        changes += [f"{key} -> {new}"] * (new != key) + lines
    return found, changes


def _tree(named: Mapping[Name, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*parents, last), value in named.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree
