"""Shows stages that train beside each other: bars and the rising curves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from seqrl.run.display import TimeLeft, format_seconds
from seqrl.run.log import read_metrics

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable
    from rich.text import Text

LABELS = {"cross_entropy": "cross-entropy", "self_critical": "self-critical", "more_cross_entropy": "control"}
STYLES, MARKS, PLAIN_MARKS = ("bold green", "yellow", "cyan"), "●○◆", "*o+"
PLOT_WIDTH, PLOT_HEIGHT = 56, 9
LINE_PERIOD_S = 15.0


@dataclass
class Track:
    """What is known of a stage, read from the files of its run.

    Attributes:
        name: of the stage.
        run_folder: where its metrics.jsonl will be.
        steps: updates in all.
        step: updates done, as far as logged.
        points: (share of the updates done, dev CIDEr-D) of each evaluation.
        sampled: mean CIDEr-D of the newest samples; None where the stage samples nothing.
    """

    name: str
    run_folder: Path
    steps: int
    step: int = 0
    points: list[tuple[float, float]] = field(default_factory=list)
    sampled: float | None = None
    _left: TimeLeft | None = None

    def read(self) -> None:
        """Read what has been logged since."""
        if not (self.run_folder / "metrics.jsonl").is_file():
            return
        lines = read_metrics(self.run_folder)
        self.step = int(max((line["step"] for line in lines), default=0))
        self.points = [(line["step"] / self.steps, line["dev/cider_d"]) for line in lines if "dev/cider_d" in line]
        self.sampled = next((line["reward/mean"] for line in reversed(lines) if "reward/mean" in line), None)
        if self._left is None and self.points:
            self._left = TimeLeft(self.steps, self.step)  # not from the start, whose imports say nothing of the pace

    @property
    def label(self) -> str:
        """The name as people write it."""
        return LABELS.get(self.name, self.name)

    def time_left(self) -> str:
        """Say how long it takes from here, as far as that is known."""
        seconds = None if self._left is None else self._left.seconds(self.step)
        if self.step >= self.steps:
            return "done"
        return "starting" if not self.points else "" if seconds is None else f"{format_seconds(seconds)} left"

    def score(self) -> str:
        """Give the newest dev metric and its gain over the first."""
        if not self.points:
            return ""
        first, last = self.points[0][1], self.points[-1][1]
        # Over an untrained captioner, which has next to nothing, a gain in percent says nothing.
        gain = f" ({100 * (last / first - 1):+.0f}%)" if len(self.points) > 1 and first > 0.1 else ""
        return f"dev CIDEr-D {last:.3f}{gain}"


@contextmanager
def watching(tracks: Sequence[Track], stream: TextIO | None = None) -> Iterator[Callable[[], None]]:
    """Give a function that reads the tracks and shows them; on a terminal in place.

    Args:
        tracks: at least one.
        stream: standard output unless given.
    """
    stream = stream or sys.stdout
    if not stream.isatty():
        yield _Lines(tracks, stream).show
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(_picture(tracks, console.options.ascii_only), console=console, auto_refresh=False) as live:

        def show() -> None:
            for track in tracks:
                track.read()
            live.update(_picture(tracks, console.options.ascii_only), refresh=True)

        yield show


class _Lines:
    """Prints a line for each evaluation, and one when nothing was printed for a while."""

    def __init__(self, tracks: Sequence[Track], stream: TextIO) -> None:
        self._tracks, self._stream, self._seen = tracks, stream, [0] * len(tracks)
        self._last_s = [time.monotonic()] * len(tracks)

    def show(self) -> None:
        now = time.monotonic()
        for index, track in enumerate(self._tracks):
            track.read()
            silent = 0 < track.step < track.steps and now - self._last_s[index] > LINE_PERIOD_S
            if len(track.points) > self._seen[index] or silent:
                parts = [f"{track.label} {track.step}/{track.steps}", track.time_left(), track.score(), _samples(track)]
                print("  ".join(part for part in parts if part), file=self._stream, flush=True)
                self._seen[index], self._last_s[index] = len(track.points), now


def _samples(track: Track) -> str:
    return "" if track.sampled is None else f"samples' CIDEr-D {track.sampled:.3f}"


def _picture(tracks: Sequence[Track], ascii_only: bool) -> ConsoleRenderable:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    marks = PLAIN_MARKS if ascii_only else MARKS
    for index, track in enumerate(tracks):
        table.add_row(
            Text(f"{marks[index]} {track.label}", style=STYLES[index]),
            ProgressBar(total=track.steps, completed=track.step, width=24),
            f"{track.step}/{track.steps}",
            track.time_left(),
            Text(track.score()),
        )
    return Group(table, *plot([track.points for track in tracks], ascii_only=ascii_only))


def plot(
    curves: Sequence[Sequence[tuple[float, float]]], *, width: int = PLOT_WIDTH, height: int = PLOT_HEIGHT, ascii_only: bool = False
) -> list[Text]:
    """Draw curves with letters, the first one above the others.

    Args:
        curves: of each its points (x from 0 to 1, y), x rising; at most three.
        width: characters from x = 0 to x = 1.
        height: lines from the smallest y to the largest.
        ascii_only: leave out what a simple terminal lacks.

    Returns:
        lines, the axis last; none while there is no point.
    """
    from rich.text import Text

    values = [y for curve in curves for _, y in curve]
    if not values:
        return []
    low, high = min(values), max(values)
    span = max(high - low, 0.05 * abs(high), 1e-3)
    cells: list[list[int | None]] = [[None] * width for _ in range(height)]
    for index in reversed(range(len(curves))):
        for column, value in enumerate(_columns(curves[index], width)):
            if value is not None:
                cells[height - 1 - round((value - low) / span * (height - 1))][column] = index
    marks = PLAIN_MARKS if ascii_only else MARKS
    bar, corner, line = ("|", "+", "-") if ascii_only else ("│", "└", "─")
    lines = [Text("dev CIDEr-D", style="dim")]
    for row, row_cells in enumerate(cells):
        label = f"{low + span:6.2f} " if row == 0 else f"{low:6.2f} " if row == height - 1 else " " * 7
        text = Text.assemble((label + bar, "dim"))
        for cell in row_cells:
            text.append(" " if cell is None else marks[cell], style=None if cell is None else STYLES[cell])
        lines.append(text)
    return [
        *lines,
        Text(" " * 7 + corner + line * width, style="dim"),
        Text(" " * 8 + "0%" + "updates".center(width - 6) + "100%", style="dim"),
    ]


def _columns(curve: Sequence[tuple[float, float]], width: int) -> list[float | None]:
    """Give a curve's value at each column, between its points along straight lines."""
    import numpy as np

    if not curve:
        return [None] * width
    places, values = zip(*curve, strict=True)
    columns = np.linspace(0, 1, width)
    between = np.interp(columns, places, values)
    return [float(value) if column <= places[-1] + 0.5 / width else None for column, value in zip(columns, between, strict=True)]
