"""Where the metrics of a run go: a file, the terminal, TensorBoard, other trackers."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seqrl.protocols import ask
from seqrl.run.exchange import is_at
from seqrl.run.json_text import brief, parse_json, read_text
from seqrl.run.renames import METRICS

Metrics = Mapping[str, float]


class Writer(Protocol):
    """Takes metrics; keys are `group/name`."""

    def write(self, step: int, metrics: Metrics) -> None:
        """Take the metrics after `step` updates."""

    def close(self) -> None:
        """Finish; nothing is written afterwards."""


class Log:
    """Hands metrics to every writer.

    Args:
        writers: in the order in which they are served.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = list(writers)

    def write(self, step: int, metrics: Metrics) -> None:
        """Write the metrics after `step` updates; values become plain floats."""
        plain = {key: float(value) for key, value in metrics.items()}
        for writer in self.writers:
            writer.write(step, plain)

    def say(self, step: int, text: str) -> None:
        """Hand a sentence to the writers that have a `say`, which are those that people look at."""
        for writer in self.writers:
            ask(writer, "say", step, text)

    def close(self) -> None:
        """Close every writer."""
        for writer in self.writers:
            writer.close()


class RunFolderGone(OSError):
    """A run's folder, or its metrics.jsonl, is not there any more, or not the run's alone, so that nothing of the run can be kept there."""


class JsonLines:
    """Appends one JSON object a call to a file, flushed at once; a metric that is not finite becomes null.

    Args:
        path: the file.
        num_bytes: cut the file to this length first, so that a resumed run goes on where its checkpoint was made.
        digest: SHA-256 of these bytes then; None when it is not known.

    Attributes:
        has_changed: whether they are others now.

    Raises:
        ValueError: when the file is shorter than `num_bytes`.
    """

    def __init__(self, path: Path, num_bytes: int = 0, digest: str | None = None) -> None:
        present = path.stat().st_size if path.exists() else 0
        if present < num_bytes:
            raise ValueError(
                f"{path}: expected at least {num_bytes} bytes, which the checkpoint was made after, got {present}; put the file back"
            )
        self._path = path
        # Unbuffered: what a full disk refuses must not be tried again when the file is closed.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(num_bytes)
        self._num_bytes = num_bytes
        self._sum = hashlib.sha256(path.read_bytes() if num_bytes else b"")
        self.has_changed = digest not in (None, self.digest())

    def write(self, step: int, metrics: Metrics) -> None:
        """Append a line.

        Raises:
            OSError: when it could not be written whole; none of it is kept.
            RunFolderGone: when the file is not where it was, or something else has written to it.
        """
        self._refuse_gone()
        values = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(self._num_bytes)
            raise OSError(f"{self._path}: could not be written ({error}); free some space or mend the folder, then resume") from error
        self._sum.update(line)
        self._num_bytes += len(line)

    def digest(self) -> str:
        """Give the SHA-256 of all that the file holds."""
        return self._sum.hexdigest()

    def num_bytes(self) -> int:
        """Give the length of the file, after making sure that it is on the disk, and where it was."""
        self._refuse_gone()
        os.fsync(self._file.fileno())
        return self._num_bytes

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refuse_gone(self) -> None:
        is_there, num_bytes = is_at(self._path, self._file.fileno()), os.fstat(self._file.fileno()).st_size
        if is_there and num_bytes == self._num_bytes:
            return
        if is_there:  # where no lock keeps it away
            raise RunFolderGone(
                f"{self._path}: expected {self._num_bytes} bytes, got {num_bytes}; something else writes to it, such as another run "
                "of this name, so this one stops; when nothing else runs there, resume it"
            )
        left = "what lay there is lost, and what was trained since the last checkpoint"
        with contextlib.suppress(OSError):  # only Linux tells
            now = Path(os.readlink(f"/proc/self/fd/{self._file.fileno()}"))
            if now.is_file():
                left = f"it is in {now.parent} now; `seqrl resume {now.parent}` goes on from the newest checkpoint there"
        raise RunFolderGone(f"{self._path}: was deleted, moved or replaced while the run went on, which stops here; {left}")


class Tracker:
    """Hands the metrics to one of accelerate's trackers, for instance tensorboard or wandb.

    Args:
        name: accelerate's name of the tracker.
        run_folder: its name is shown; trackers that write files write them there.
        config: the run's configuration, flat.
        start: metrics of an earlier run after this step are hidden in tensorboard.

    Raises:
        ValueError: when accelerate does not know the tracker or its package is not installed.
    """

    def __init__(self, name: str, *, run_folder: Path, config: Mapping[str, Any], start: int = 0) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

        from seqrl.run.registry import nearest

        if name not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"trackers: {name!r} is not known; {nearest(name, LOGGER_TYPE_TO_CLASS)}")
        if name not in {str(entry) for entry in get_available_trackers()}:
            raise ValueError(f"trackers: {name!r} is not installed; `pip install {name}`, or leave it out")
        tracker, place = LOGGER_TYPE_TO_CLASS[name], {"logging_dir": str(run_folder)}
        if name == "tensorboard":  # makes a folder of the first name
            self._tracker = tracker(name, **place, purge_step=start + 1 if start else None)
        else:
            self._tracker = tracker(run_folder.name, **(place if tracker.requires_logging_directory else {}))
        if hasattr(self._tracker, "start"):
            self._tracker.start()
        if name != "tensorboard":  # which would show the configuration as a run of its own
            plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in config.items()}
            self._tracker.store_init_configuration(plain)

    def write(self, step: int, metrics: Metrics) -> None:
        """Log the metrics."""
        self._tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the tracker's run."""
        self._tracker.finish()


def read_metrics(run_folder: Path) -> list[dict[str, float]]:
    """Read a run's `metrics.jsonl`; a last line that was broken off is left out.

    Raises:
        FileNotFoundError: when the folder has none.
        ValueError: naming a line that is not JSON.
    """
    path = Path(run_folder) / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; expected the folder of a run, such as runs/demo")
    rows: list[dict[str, float]] = []
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected an object of metrics, got {brief(row)}; remove the line")
        rows.append({METRICS.get(str(key), str(key)): value for key, value in row.items()})
    return rows
