"""Shows stages that train beside each other: bars and the rising curves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqrl.run.display import TimeLeft, curve, format_seconds
from seqrl.run.log import read_metrics

LABELS = {"cross_entropy": "cross-entropy", "self_critical": "self-critical", "more_cross_entropy": "control"}
STYLES = ("bold green", "yellow")
LINE_PERIOD_S = 15.0


@dataclass
class Track:
    """What is known of a stage, read from the files of its run.

    Attributes:
        name: of the stage.
        run_folder: where its metrics.jsonl will be.
        num_updates: updates in all.
        step: updates done, as far as logged.
        scores: dev CIDEr-D of each evaluation.
        sampled: mean CIDEr-D of the newest samples; None where the stage samples nothing.
    """

    name: str
    run_folder: Path
    num_updates: int
    step: int = 0
    scores: list[float] = field(default_factory=list)
    sampled: float | None = None
    _left: TimeLeft | None = None

    def read(self) -> None:
        """Read what has been logged since."""
        if not (self.run_folder / "metrics.jsonl").is_file():
            return
        lines = read_metrics(self.run_folder)
        self.step = int(max((line["step"] for line in lines), default=0))
        self.scores = [line["dev/cider_d"] for line in lines if "dev/cider_d" in line]
        self.sampled = next((line["reward/mean"] for line in reversed(lines) if "reward/mean" in line), None)
        if self._left is None and self.scores:
            self._left = TimeLeft(self.num_updates, self.step)  # not from the start, whose imports say nothing of the pace

    @property
    def label(self) -> str:
        """The name as people write it."""
        return LABELS.get(self.name, self.name)

    def time_left(self) -> str:
        """Say how long it takes from here, as far as that is known."""
        seconds = None if self._left is None else self._left.seconds(self.step)
        if self.step >= self.num_updates:
            return "done"
        return "starting" if not self.scores else "" if seconds is None else f"{format_seconds(seconds)} left"

    def score(self) -> str:
        """Give the newest dev metric and its gain over the first."""
        if not self.scores:
            return ""
        first, last = self.scores[0], self.scores[-1]
        # Over an untrained captioner, which has next to nothing, a gain in percent says nothing.
        gain = f" ({100 * (last / first - 1):+.0f}%)" if len(self.scores) > 1 and first > 0.1 else ""
        return f"dev CIDEr-D {last:.3f}{gain}"


@contextmanager
def watching(tracks: Sequence[Track]) -> Iterator[Callable[[], None]]:
    """Give a function that reads the tracks and shows them; on a terminal in place.

    Args:
        tracks: at least one.
    """
    if not sys.stdout.isatty():
        yield _lines(tracks)
        return
    console = Console()
    with Live(picture(tracks, console.options.ascii_only), console=console, auto_refresh=False) as live:

        def show() -> None:
            for track in tracks:
                track.read()
            live.update(picture(tracks, console.options.ascii_only), refresh=True)

        yield show


def _lines(tracks: Sequence[Track]) -> Callable[[], None]:
    """Give a function that prints a line for each evaluation, and one when nothing was printed for a while."""
    seen, last_s = [0] * len(tracks), [time.monotonic()] * len(tracks)

    def show() -> None:
        now = time.monotonic()
        for index, track in enumerate(tracks):
            track.read()
            silent = 0 < track.step < track.num_updates and now - last_s[index] > LINE_PERIOD_S
            if len(track.scores) > seen[index] or silent:
                sampled = "" if track.sampled is None else f"samples' CIDEr-D {track.sampled:.3f}"
                parts = [f"{track.label} {track.step}/{track.num_updates}", track.time_left(), track.score(), sampled]
                print("  ".join(filter(None, parts)), flush=True)
                seen[index], last_s[index] = len(track.scores), now

    return show


def picture(tracks: Sequence[Track], ascii_only: bool) -> ConsoleRenderable:
    """Draw a bar for each stage, and below them their curves."""
    table, curves = Table.grid(padding=(0, 2, 0, 0)), Table.grid(padding=(0, 2, 0, 0))
    every = [score for track in tracks for score in track.scores]
    for track, style in zip(tracks, STYLES, strict=False):
        progress = ProgressBar(total=track.num_updates, completed=track.step, width=24)
        table.add_row(Text(track.label, style=style), progress, f"{track.step}/{track.num_updates}", track.time_left(), Text(track.score()))
        if track.scores and not ascii_only:
            curves.add_row(Text(track.label, style=style), Text(curve(track.scores, bounds=(min(every), max(every))), style=style))
    return Group(table, curves)
