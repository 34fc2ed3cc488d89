"""Which checkpoint a run goes on from, or is looked at, when one is damaged or somebody names one."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from seqrl.distributed import is_main
from seqrl.run import checkpoint, integrity
from seqrl.run.shipped import is_shipped

Result = TypeVar("Result")
# A run that goes on may replace a checkpoint while it is read, not again and again.
MAX_TRIES, PAUSE_S = 20, 0.005
# Stands before the names of checkpoints that a run went back behind; they are not looked at again.
ASIDE = "aside_"


def damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint's files, None when nothing is."""
    if is_shipped(folder):  # what ships has weights to start from, and no state to go on with
        return integrity.damage(folder, (checkpoint.WEIGHTS, checkpoint.META), with_sums=True)
    with_sums = (folder / checkpoint.META).is_file() and b'"sums"' in (folder / checkpoint.META).read_bytes()
    return integrity.damage(folder, checkpoint.FILES, with_sums=with_sums)


def check(folder: Path) -> Path:
    """Give the folder back when it is whole.

    Raises:
        ValueError: naming the damage, and the other checkpoints of the run.
    """
    found = damage(folder)
    if found is None:
        return folder
    if is_shipped(folder):
        raise ValueError(f"{folder}: damaged: {found}; install the package anew")
    run_folder = folder.parent.parent
    others = [other for other in [*checkpoint.step_folders(run_folder), checkpoint.best_folder(run_folder)] if other != folder]
    sound = [other.name for other in others if checkpoint.is_checkpoint(other) and damage(other) is None]
    whole = [name.removeprefix("step_").lstrip("0") or "0" for name in sound]
    ways = f"choose another one with --checkpoint={whole[-1]} (whole are: {', '.join(whole)})" if whole else "the run has no other one"
    raise ValueError(f"{folder}: damaged: {found}; {ways}")


def steadily(find: Callable[[], Path], read: Callable[[Path], Result]) -> Result:
    """Read a checkpoint that its run may replace or delete meanwhile; once more when it did, so that all is of one checkpoint.

    Args:
        find: gives its folder.
        read: reads from there; may be called several times.

    Raises:
        ValueError: when it is replaced all the time; and whatever the two raise of a checkpoint that stays as it is.
    """
    for number in range(1, MAX_TRIES + 1):
        folder = before = None
        try:
            folder = find()
            before = identity(folder)
            result = read(folder)
        except (OSError, ValueError, RuntimeError, SafetensorError):  # torch's error for a missing file is a RuntimeError
            if number == MAX_TRIES or (folder is not None and before is not None and identity(folder) == before):
                raise
            time.sleep(PAUSE_S)
        else:
            if identity(folder) == before:
                return result
    raise ValueError(f"{folder}: its run replaced it {MAX_TRIES} times while it was read; copy it, or stop the run first")


def identity(path: Path) -> tuple[int, int, int] | None:
    """Tell one writing of a file or folder from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def named(run_folder: Path, which: str) -> Path:
    """Find the checkpoint that somebody names.

    Args:
        run_folder: of the run.
        which: number of its step, name, such as best, or path.

    Raises:
        FileNotFoundError: listing those that there are.
    """
    places = [checkpoint.step_folder(run_folder, int(which))] if which.isdecimal() else [run_folder / "checkpoints" / which, Path(which)]
    for place in places:
        if checkpoint.with_name_back(place).is_dir():
            return place
    there = ", ".join(path.name for path in sorted((run_folder / "checkpoints").glob("*")) if path.is_dir()) or "none"
    raise FileNotFoundError(f"--checkpoint={which}: {run_folder} has no such checkpoint; there are: {there}")


def newest_whole(run_folder: Path) -> tuple[Path, list[str]]:
    """Find the newest checkpoint of a run that is not damaged, the best one last; and say what is wrong with those before it.

    Raises:
        FileNotFoundError: when there is none at all.
        ValueError: when all are damaged.
    """
    troubles = list[str]()
    for folder in filter(checkpoint.has_any_file, [*checkpoint.newest_first(run_folder), checkpoint.best_folder(run_folder)]):
        found = damage(folder)
        if found is None:
            return folder, troubles
        troubles.append(f"{folder} is damaged: {found}")
    if troubles:
        raise ValueError(f"{run_folder}: no checkpoint is whole: {'; '.join(troubles)}")
    return checkpoint.find(run_folder), []


def going_on_from(run_folder: Path, resume: bool, which: str | None) -> tuple[Path | None, list[str]]:
    """Give the checkpoint that a run goes on from, None where it begins, and what is wrong with newer ones.

    Only the main process looks: it may give a checkpoint its name back under the eyes of others, and all have to go on from the same one.

    Args:
        run_folder: of the run.
        resume: whether to look for the newest one.
        which: somebody's choice instead, see `named`.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is damaged, or of another run.
    """
    if not is_main():
        return None, []
    checkpoint.put_back_best(run_folder)
    if which is None:
        return newest_whole(run_folder) if resume else (None, [])
    folder = check(named(run_folder, which))
    if folder.resolve().parent.parent != run_folder.resolve():
        raise ValueError(f"--checkpoint={which}: is of another run; for its weights start a new one with init_from: {folder}")
    return folder, []


def leave_newer(run_folder: Path, newest: Path, troubles: list[str]) -> None:
    """Say from where a run goes on, when that is not its newest checkpoint, and rename what is newer, whose lines of the log go.

    Args:
        run_folder: of the run.
        newest: that it goes on from.
        troubles: of newer ones.
    """
    step, kept = checkpoint.read_meta(newest)["step"], list[str]()
    for folder in reversed(checkpoint.newest_first(run_folder)):
        number = folder.name.removeprefix("step_")
        if number.isdecimal() and int(number) > step:
            aside = folder.with_name(ASIDE + folder.name)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder, aside)
            kept.append(aside.name)
    if troubles or kept:
        moved = f"; kept aside: {', '.join(kept)}" if kept else ""
        said = f"going on from {newest}, and with metrics.jsonl as it was then{moved}"
        print("\n".join(f"seqrl: {line}" for line in [*troubles, said]), file=sys.stderr)
