"""Shows a run: a live table with progress and time left, or plain lines where there is no terminal; and makes its trackers."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from seqrl.run.config import RunConfig, flatten
from seqrl.run.decode import encode
from seqrl.run.log import Metrics, Tracker, Writer
from seqrl.run.metric_accumulator import MetricAccumulator

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

# A line that wraps is not read; everything is in metrics.jsonl.
LINE_KEYS = (
    *("dev/", "episode/return_mean", "progress/num_env_steps", "train/", "reward/mean", "reward/max", "loss/", "policy/entropy"),
    *("optimiser/grad_norm", "time/samples_per_second"),
)
SHOWN_GROUPS = ("dev", "episode", "reward", "train", "loss", "policy", "progress", "time")
MIN_PERIOD_S, MAX_PERIOD_S, PERIOD_SHARE = 1.0, 30.0, 0.1
BARS, CURVE_WIDTH = "▁▂▃▄▅▆▇█", 40


def make_writers(config: RunConfig, start: int, *, display: bool) -> list[Writer]:
    """Make the trackers that a run's configuration names, and what shows it.

    Args:
        config: of the run.
        start: updates done already.
        display: show progress on the terminal.
    """
    plain = flatten(encode(config))
    writers: list[Writer] = [Tracker(name, run_folder=config.run_folder, config=plain, start=start) for name in config.trackers]
    if display:
        writers.append(make_display(config.name, num_updates=config.num_updates, start=start, stream=sys.stdout))
    return writers


def make_display(name: str, *, num_updates: int, start: int = 0, stream: TextIO) -> Writer:
    """Make the display that suits the stream.

    Args:
        name: of the run.
        num_updates: updates in all.
        start: updates done already.
        stream: usually standard output.
    """
    display = LiveDisplay if stream.isatty() else PlainDisplay
    return display(name, num_updates=num_updates, start=start, stream=stream)


class TimeLeft:
    """Estimates the time to the last step from the pace since the start.

    Args:
        num_updates: updates in all.
        start: updates done already.
        clock: gives seconds.
    """

    def __init__(self, num_updates: int, start: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._num_updates, self._start, self._clock, self._begin = num_updates, start, clock, clock()

    def seconds(self, step: int) -> float | None:
        """Seconds left after `step` updates; None before the first one."""
        if step <= self._start:
            return None
        return (self._clock() - self._begin) / (step - self._start) * (self._num_updates - step)

    def text(self, step: int) -> str:
        """Say it; nothing before the first one."""
        left = self.seconds(step)
        return "" if left is None else f"{format_seconds(left)} left"


class PlainDisplay:
    """Prints every evaluation, and training metrics every few seconds, less often in a long run.

    Args:
        name: of the run.
        num_updates: updates in all.
        start: updates done already.
        stream: where to print.
        clock: gives seconds.
    """

    def __init__(self, name: str, *, num_updates: int, start: int = 0, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._num_updates, self._stream, self._clock = name, num_updates, stream, clock
        self._left = TimeLeft(num_updates, start, clock)
        self._begin = self._next = clock()
        self._episodes = MetricAccumulator()

    def write(self, step: int, metrics: Metrics) -> None:
        """Print a line when it is time."""
        now = self._clock()
        evaluated = any(key.startswith("dev/") for key in metrics)
        if not evaluated:
            self._episodes.add_popped({key: value for key, value in metrics.items() if key.startswith("episode/")})
            if now < self._next and step < self._num_updates:
                return
            # Often at first, when one wonders whether it learns at all.
            self._next = now + min(MAX_PERIOD_S, max(MIN_PERIOD_S, (now - self._begin) * PERIOD_SHARE))
            metrics = {**metrics, **self._episodes.pop()}
        shown = [f"{key} {format_metric(value)}" for key, value in metrics.items() if key.startswith(LINE_KEYS)]
        shown = [f"{self._name} {step}/{self._num_updates}", self._left.text(step), *shown]
        print("  ".join(filter(None, shown)), file=self._stream, flush=True)

    def say(self, step: int, text: str) -> None:
        """Print a warning."""
        print(f"{self._name} {step}/{self._num_updates}  warning: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to do."""


class LiveDisplay:
    """Keeps a progress bar and the latest metrics, grouped, in place on a terminal.

    Args:
        name: of the run.
        num_updates: updates in all.
        start: updates done already.
        stream: the terminal.
    """

    def __init__(self, name: str, *, num_updates: int, start: int = 0, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name, self._num_updates, self._step = name, num_updates, start
        self._left = TimeLeft(num_updates, start)
        self._metrics: dict[str, float] = {}
        self._returns: list[float] = []
        self._live = Live(console=Console(file=stream), refresh_per_second=4, get_renderable=self.render)

    def write(self, step: int, metrics: Metrics) -> None:
        """Take the newest metrics."""
        self._step = step
        self._metrics.update(metrics)
        if math.isfinite(metrics.get("episode/return_mean", math.nan)):
            self._returns.append(metrics["episode/return_mean"])
        # Not before the first metrics: what fails until then finds the terminal as it was.
        if not self._live.is_started:
            self._live.start()

    def say(self, step: int, text: str) -> None:
        """Print a warning above the metrics, where it stays."""
        from rich.text import Text

        self._live.console.print(Text.assemble((f"after update {step:,}: ", "bold yellow"), text))

    def render(self) -> ConsoleRenderable:
        """Draw the bar and one table row a group."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self._num_updates, 1), completed=self._step, width=40)
        head.add_row(f"[bold]{self._name}[/]", bar, f"{self._step}/{self._num_updates}", self._left.text(self._step))
        table = Table.grid(padding=(0, 2))
        groups: dict[str, list[str]] = {}
        for key, value in self._metrics.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, []).append(f"{name} [bold]{format_metric(value)}[/]")
        for group in sorted(groups, key=lambda group: (*SHOWN_GROUPS, group).index(group)):
            table.add_row(f"[cyan]{group}[/]", "   ".join(groups[group]))
        if len(self._returns) > 1 and not self._live.console.options.ascii_only:
            table.add_row("[cyan]return[/]", f"{curve(self._returns)} [bold]{format_metric(self._returns[-1])}[/]")
        return Group(head, table)

    def close(self) -> None:
        """Draw once more and leave the terminal as it was."""
        self._live.stop()


def curve(values: Sequence[float], width: int = CURVE_WIDTH, *, bounds: tuple[float, float] | None = None) -> str:
    """Draw numbers as a line of bars, from the smallest to the largest; neighbours share a bar where there are too many.

    Args:
        values: at least one, finite.
        width: most characters.
        bounds: what the smallest and the largest bar stand for, where several lines are to be compared; this line's own by default.
    """
    num_bars = min(width, len(values))
    edges = [index * len(values) // num_bars for index in range(num_bars + 1)]
    heights = [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    low, high = bounds or (min(heights), max(heights))
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((height - low) * scale)] for height in heights)


def format_metric(value: float) -> str:
    """Write a number shortly: 4 significant digits, integers whole."""
    if math.isfinite(value) and abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}"


def format_seconds(seconds: float) -> str:
    """Write a duration as 12 s, 3:04 min or 5:06 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
