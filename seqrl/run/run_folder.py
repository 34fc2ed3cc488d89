"""What lies in a run's folder, and whether a run may begin there."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from seqrl.distributed import is_main
from seqrl.run import checkpoint
from seqrl.run.trust import FILES_OF_A_RUN, refuse_links

PLAIN_FILES, FOLDERS = ("config.yaml", "env.json", "metrics.jsonl", "warnings.jsonl"), ("checkpoints",)
RUN_FILES = (*PLAIN_FILES, *FOLDERS, "figures", "samples", "tensorboard")


def check_folder(run_folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse a folder in which a run cannot begin, or go on, before any work.

    Args:
        run_folder: made when it is missing.
        overwrite: whether an earlier run is to be deleted.
        resume: whether it is to go on.

    Raises:
        FileExistsError: when there is an earlier run, or something that is none, such as a file in the place of its checkpoints.
        ValueError: when links lead out of the folder.
        OSError: when it cannot be written.
    """
    if is_main() and not resume:
        _refuse_what_is_there(run_folder, overwrite)
    if resume or not overwrite:
        refuse_links(run_folder)
        if is_main():
            _refuse_other_kinds(run_folder)
    check_writable(run_folder)


def check_writable(folder: Path, num_bytes: int = 0, *, way: str = "--runs_folder=FOLDER") -> None:
    """Refuse to start where nothing could be saved.

    Args:
        folder: made when it is missing.
        num_bytes: that will be written, such as those of the checkpoints.
        way: how another place is chosen.

    Raises:
        OSError: when the folder cannot be written or has too little space.
    """
    probe = folder / f".probe.{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(b"\0" * 65536)
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise cannot_write(folder, error, way) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    if free < num_bytes:
        raise OSError(f"{folder}: {free / 2**20:.1f} MiB are free, the checkpoints need about {num_bytes / 2**20:.1f}; use {way}")


def check_place(file: Path, *, way: str) -> None:
    """Refuse a place where a file could not be written, before the work whose result goes there.

    Args:
        file: to be written, or to be replaced.
        way: how another place is chosen.

    Raises:
        OSError: when it could not.
    """
    if file.is_dir():
        raise OSError(f"{file}: is a folder; expected a file, or nothing yet; choose another place with {way}")
    check_writable(file.parent, way=way)


def cannot_write(folder: Path, error: OSError, way: str = "--runs_folder=FOLDER") -> OSError:
    """Make the error that says that a folder cannot be written, and how to choose another one."""
    return OSError(f"{folder}: cannot be written ({error}); choose another place with {way}, or free some space")


def delete_earlier_run(run_folder: Path) -> None:
    """Delete a run's files, and nothing else that lies there."""
    for name in RUN_FILES:
        path = run_folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_what_is_there(run_folder: Path, overwrite: bool) -> None:
    """Refuse an earlier run, or, where that is to be deleted, what is called like a run's files in a folder that holds no run."""
    present = [name for name in RUN_FILES if (run_folder / name).exists()]
    shown, metrics, steps = ", ".join(present), run_folder / "metrics.jsonl", checkpoint.step_folders(run_folder)
    if overwrite:
        if present and not set(present) & set(FILES_OF_A_RUN):
            raise FileExistsError(f"{run_folder}: holds {shown}, but no run, so --overwrite deletes nothing; choose another --name")
    elif steps or (metrics.is_file() and metrics.stat().st_size):
        way = f"`seqrl resume {run_folder}` goes on with it, " if steps else ""
        raise FileExistsError(f"{run_folder}: already holds a run ({shown}); {way}--overwrite deletes it, --name=OTHER keeps both")


def _refuse_other_kinds(run_folder: Path) -> None:
    """Refuse what could not be written at the end of the work, or be waited for, such as a pipe."""
    for name in (*PLAIN_FILES, *FOLDERS):
        path, kind = run_folder / name, "folder" if name in FOLDERS else "file"
        if path.exists() and not (path.is_dir() if name in FOLDERS else path.is_file()):
            raise FileExistsError(f"{path}: expected a {kind}, or nothing yet, got something else; move it away, or choose another --name")
