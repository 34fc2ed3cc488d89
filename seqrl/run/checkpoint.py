"""Checkpoints: written beside and renamed into place, so that there is always a whole one."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from seqrl.protocols import ask
from seqrl.run import integrity
from seqrl.run.exchange import flush, hidden, replace_folder
from seqrl.run.json_text import read_json
from seqrl.run.shipped import find_shipped, names_shipped

WEIGHTS, STATE, META, PRETRAINED = "model.safetensors", "trainer.pt", "meta.json", "pretrained"
TABLE = ".safetensors"
FILES = (WEIGHTS, STATE, META)
LONGEST_SWAP_S = 0.2
Tables = Mapping[str, Mapping[str, Mapping[str, Tensor]]]


def step_folder(run_folder: Path, step: int) -> Path:
    """Give the folder of the checkpoint after that many updates."""
    return run_folder / "checkpoints" / f"step_{step:08d}"


def best_folder(run_folder: Path) -> Path:
    """Give the folder of the checkpoint with the best dev metric."""
    return run_folder / "checkpoints" / "best"


def save(
    folder: Path,
    policy: nn.Module,
    state: Mapping[str, Any],
    meta: Mapping[str, Any],
    *,
    other_processes: Sequence[Path] = (),
    tables: Tables | None = None,
) -> None:
    """Write a checkpoint; what was in `folder` before stays whole until the new one is.

    Args:
        folder: for instance `runs/demo/checkpoints/step_00000500`.
        policy: its weights and buffers are stored, tied ones once.
        state: all else that an exact resume needs; tensors, numbers, strings, lists, tuples and dicts only.
        meta: what a person or a check wants to read without loading tensors.
        other_processes: files with the state of the other processes, which are moved into the checkpoint.
        tables: weights of further policies, name of a file without its ending -> name of a policy -> weights by name.

    A policy with a `save_pretrained` also writes itself to `pretrained`, in the form of the library that it came from.

    Raises:
        OSError: when the disk is full or read-only; nothing is left behind.
    """
    partial = hidden(folder)
    try:
        partial.mkdir(parents=True)
        save_model(policy, str(partial / WEIGHTS))
        torch.save(dict(state), partial / STATE)
        (partial / META).write_text(json.dumps({**meta, "sums": integrity.SUMS}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for name, table in (tables or {}).items():
            rows = {f"{whose}/{key}": tensor.cpu().contiguous() for whose, weights in table.items() for key, tensor in weights.items()}
            save_file(rows, str(partial / f"{name}{TABLE}"))
        for path in partial.glob(f"*{TABLE}"):  # safetensors lets nobody but the owner read
            path.chmod((partial / META).stat().st_mode)
        for index, path in enumerate(other_processes, start=1):
            os.replace(path, partial / _state_name(index))
        ask(policy, "save_pretrained", partial / PRETRAINED)
        put_in_place(partial, folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors report a full disk or quota as errors of their own.
        failed_write = isinstance(error, OSError | SafetensorError) or "PytorchStreamWriter" in str(error)
        full = shutil.disk_usage(next(parent for parent in folder.parents if parent.exists())).free < 2**20
        shutil.rmtree(partial, ignore_errors=True)
        if full or failed_write:
            reason = f"no space left on the device ({error})" if full else str(error)
            raise OSError(f"could not write the checkpoint {folder}: {reason}; free some space or mend the folder, then resume") from error
        raise


def put_in_place(partial: Path, folder: Path) -> None:
    """Give a new checkpoint its sums and its name, and delete what had the name, once all of it is on the disk."""
    for path in partial.rglob("*"):
        flush(path)
    integrity.write_sums(partial)
    flush(partial)
    replace_folder(partial, folder)


def load_weights(folder: Path, policy: nn.Module) -> None:
    """Load a checkpoint's weights into a policy of the same architecture.

    Raises:
        ValueError: naming the first tensors that differ in name or shape, or saying that the file is damaged.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(str(path), framework="pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            stored |= {alias: stored[name] for alias, name in (file.metadata() or {}).items() if name in stored}
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); use another checkpoint of the run") from error
    expected = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    names = [name for name in dict.fromkeys([*expected, *stored]) if stored.get(name) != expected.get(name)]
    if names:
        differences = [_difference(name, stored.get(name), expected.get(name)) for name in names]
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise ValueError(f"{folder}: the policy has another architecture than the checkpoint: {shown}; use the settings it was made with")
    load_model(policy, str(path), strict=True)


def num_saved(folder: Path) -> int:
    """Count the processes that saved a checkpoint.

    Raises:
        ValueError: when the state of one is missing.
    """
    there = 1 + len(list(folder.glob(_state_name("*"))))
    said = read_meta(folder).get("num_processes", there)
    if said != there:
        raise ValueError(f"{folder}: damaged (saved by {said} processes, it holds the state of {there}); use another checkpoint of the run")
    return there


def load_state(folder: Path, process: int = 0) -> dict[str, Any]:
    """Load what `save` got as `state`, tensors on the CPU, without running code from the file.

    Args:
        folder: of the checkpoint.
        process: whose state.

    Raises:
        ValueError: when the file is damaged or holds something other than plain data.
    """
    path = folder / (_state_name(process) if process else STATE)
    try:
        integrity.refuse_packed(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged ({error}); use another checkpoint of the run") from error
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise ValueError(f"{path}: holds more than tensors and plain data, which is refused: {error}") from error
        raise


def load_tables(folder: Path, names: Sequence[str]) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Load what `save` got as `tables`, on the CPU.

    Args:
        folder: of the checkpoint.
        names: of the tables.

    Raises:
        ValueError: when a file is missing or damaged.
    """
    tables: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name in names:
        path = folder / f"{name}{TABLE}"
        try:
            rows = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: damaged ({error}); use another checkpoint of the run") from error
        table = tables.setdefault(name, {})
        for row, tensor in rows.items():
            whose, _, key = row.partition("/")
            table.setdefault(whose, {})[key] = tensor
    return tables


def read_meta(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's `meta.json`.

    Raises:
        ValueError: when the file is damaged.
    """
    path = folder / META
    try:
        meta = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; use another checkpoint of the run") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("step"), int):
        raise ValueError(f"{path}: damaged (it names no step); use another checkpoint of the run")
    return {name: value for name, value in meta.items() if name != "sums"}


def is_checkpoint(folder: Path) -> bool:
    """Say whether a folder holds a whole checkpoint."""
    return all((folder / name).is_file() for name in FILES)


def has_any_file(folder: Path) -> bool:
    """Say whether a folder holds a checkpoint or what is left of one."""
    return any((folder / name).is_file() for name in FILES)


def step_folders(run_folder: Path) -> list[Path]:
    """List a run's whole checkpoints, oldest first, the best one excluded."""
    return [folder for folder in reversed(newest_first(run_folder)) if is_checkpoint(folder)]


def newest_first(run_folder: Path) -> list[Path]:
    """List the folders of a run's checkpoints, whole or not, the best one excluded."""
    return sorted((run_folder / "checkpoints").glob("step_*"), reverse=True)


def find(path: Path, *, prefer_best: bool = False) -> Path:
    """Find the checkpoint that a path means.

    Args:
        path: a checkpoint folder, a run folder, of which the newest checkpoint is meant, or `shipped:NAME`.
        prefer_best: of a run folder, take the best one where there is one.

    One that lost a file is found all the same, so that whoever wants it hears of the damage, see `seqrl.run.recovery.check`.

    Raises:
        FileNotFoundError: when there is none.
    """
    path = find_shipped(path) if names_shipped(path) else with_name_back(Path(path))
    best, newest = with_name_back(best_folder(path)), newest_first(path)
    for folder in (path, best, *newest) if prefer_best else (path, *newest, best):
        if has_any_file(folder):
            return folder
    reason = "there is no such folder" if not path.exists() else "it holds no whole checkpoint"
    raise FileNotFoundError(f"{path}: {reason}; expected a run folder such as runs/demo, or runs/demo/checkpoints/best")


def with_name_back(folder: Path) -> Path:
    """Wait for a checkpoint that is just replaced where names cannot be exchanged, which takes a moment.

    Args:
        folder: of any checkpoint, or something else, which is given back.

    Returns:
        the folder; if a kill in that moment took its name for good, the newest of those that are left.
    """
    end = time.monotonic() + LONGEST_SWAP_S
    while not folder.exists() and (left := list(folder.parent.glob(hidden(folder, "*").name))):
        if time.monotonic() > end:
            whole = [path for path in left if integrity.damage(path, FILES, with_sums=True) is None]
            return max(whole, key=lambda path: int(read_meta(path)["step"]), default=folder)
        time.sleep(LONGEST_SWAP_S / 10)
    return folder


def put_back_best(run_folder: Path) -> None:
    """Give the best checkpoint its name again, if a kill took it; for whoever holds the run's folder."""
    best = best_folder(run_folder)
    found = with_name_back(best)
    if found != best:
        os.rename(found, best)


def prune(run_folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints (never the best one), and what broken-off writes left."""
    put_back_best(run_folder)
    for folder in step_folders(run_folder)[:-keep]:
        shutil.rmtree(folder)
    for leftover in (run_folder / "checkpoints").glob(".*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def check_fingerprints(saved: Mapping[str, Any], present: Mapping[str, Any], *, folder: Path) -> None:
    """Refuse weights that were trained with, say, another vocabulary.

    Args:
        saved: the task's fingerprints in the checkpoint.
        present: those of the task at hand.
        folder: the checkpoint, for the message.

    Raises:
        ValueError: naming each fingerprint that differs, with both values.
    """
    differing = [
        f"{name}: {saved[name]} in the checkpoint, {present[name]} now"
        for name in saved
        if name in present and saved[name] != present[name]
    ]
    if differing:
        raise ValueError(
            f"{folder}: belongs to other data: {'; '.join(differing)}; use that data, or start anyway with --allow_other_fingerprint=true"
        )


def _state_name(process: int | str) -> str:
    return f"trainer_process{process}.pt"


def _difference(name: str, stored: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> str:
    if stored is None:
        return f"{name} is missing in the checkpoint"
    if expected is None:
        return f"{name} is only in the checkpoint"
    return f"{name} is {list(stored)} in the checkpoint, {list(expected)} in the policy"
