"""The tables of `seqrl score`: corpus scores of one system with their intervals, or of two that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.corpus import Corpus
from seqrl.metrics.resampling import Statistics, bootstrap, interval, p_value
from seqrl.metrics.score_files import Pairs

_SIGNIFICANT = 0.05


class Scored:
    """The scores of one system.

    Args:
        pairs: its texts and their references as they were written.
        words: the same split into words; None where no metric wants words.
        sentences: keep the scores of sentences, too.

    Attributes:
        scores: corpus score by metric.
        statistics: what resampled corpora are scored from; none for a metric that has no scores of sentences.
        resampled: [resamples] scores by metric, after `resample`.
        scores: of each sentence by metric.
    """

    def __init__(self, pairs: Pairs, words: tuple[list[list[str]], list[list[list[str]]]] | None, *, sentences: bool) -> None:
        self._raw = Corpus(pairs.hypotheses, pairs.references)
        self._words = None if words is None else Corpus(*words)
        self._sentences = sentences
        self.corpus_scores: dict[str, float] = {}
        self.statistics: dict[str, Statistics] = {}
        self.resampled: dict[str, NDArray[np.float64]] = {}
        self.scores: dict[str, list[float]] = {}

    def add(self, name: str, metric: Any, *, words: bool, statistics: bool) -> None:
        """Score with one more metric; `words` where it scores words, not text as it was written."""
        corpus = self._words if words else self._raw
        assert corpus is not None
        single = not getattr(metric, "scores_corpus_only", False)
        if statistics and single:
            self.statistics[name] = found = corpus.statistics(metric)
            self.corpus_scores[name] = corpus.corpus_score(metric) if found.what else found.of_all()
        else:
            self.corpus_scores[name] = corpus.corpus_score(metric)
        if self._sentences and single:
            self.scores[name] = corpus.scores(metric).tolist()

    def keep(self, names: Mapping[str, Any]) -> None:
        """Forget metrics that another system could not be scored with."""
        for found in (self.corpus_scores, self.statistics, self.scores):
            for name in set(found) - set(names):
                found.pop(name)  # type: ignore[attr-defined]

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The middle 95% of the resampled scores."""
        return {name: interval(corpus_scores) for name, corpus_scores in self.resampled.items()}

    def p_values(self, other: Scored) -> dict[str, float]:
        """Give how often chance alone makes the two systems differ by more, by metric."""
        return {
            name: p_value(corpus_scores, other.resampled[name], other.statistics[name].of_all() - self.statistics[name].of_all())
            for name, corpus_scores in self.resampled.items()
        }


def resample(systems: Sequence[Scored], samples: int, seed: int) -> None:
    """Draw sentences, the same ones for all metrics and systems, and keep the scores of what was drawn."""
    names = list(systems[0].statistics)
    if not samples or not names:
        return
    drawn = iter(bootstrap([system.statistics[name] for system in systems for name in names], samples=samples, seed=seed))
    for system in systems:
        system.resampled = {name: next(drawn) for name in names}


def print_table(scored: Scored, metrics: Mapping[str, Any]) -> None:
    """Print each score with the interval of the resampled ones."""
    rows = [
        [name, f"{corpus_score:.4f}", _interval(scored.resampled.get(name)), _scale(metrics[name])]
        for name, corpus_score in scored.corpus_scores.items()
    ]
    _print(rows, ["", "", "95% interval" if scored.resampled else "", "scale"])
    _print_notes(scored)


def print_comparison(first: Scored, second: Scored, metrics: Mapping[str, Any], *, names: tuple[str, str]) -> None:
    """Print the scores of two systems, the difference with its interval, and p."""
    print(f"A: {names[0]}\nB: {names[1]}")
    p_values = first.p_values(second)
    rows = []
    for name, corpus_score in first.corpus_scores.items():
        cells = [name, f"{corpus_score:.4f}", f"{second.corpus_scores[name]:.4f}", f"{second.corpus_scores[name] - corpus_score:+.4f}"]
        if name in p_values:
            mark = " *" if p_values[name] < _SIGNIFICANT else ""
            cells += [_interval(second.resampled[name] - first.resampled[name]), f"{p_values[name]:.4f}{mark}"]
        else:
            cells += ["", ""]
        rows.append([*cells, _scale(metrics[name])])
    _print(rows, ["", "A", "B", "B - A", *(["95% interval", "p"] if p_values else ["", ""]), "scale"])
    if p_values:
        print("p: paired bootstrap; * below 0.05")
    _print_notes(first)


def _print(rows: Sequence[Sequence[str]], heading: Sequence[str]) -> None:
    shown = [heading, *rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(heading))]
    for row in shown:
        print("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_notes(scored: Scored) -> None:
    for name, statistics in scored.statistics.items():
        if statistics.what and scored.resampled:
            print(f"{name}: the interval is that of {statistics.what}, {statistics.of_all():.4f}")


def _interval(corpus_scores: NDArray[np.float64] | None) -> str:
    if corpus_scores is None:
        return ""
    low, high = interval(corpus_scores)
    return f"{low:.4f} to {high:.4f}"


def _scale(metric: Any) -> str:
    """Say the range of a metric, 0 to 1 beside 0 to 100, and where less is better."""
    least, most = getattr(metric, "least", 0.0), getattr(metric, "bound", None)
    scale = "" if most is None else f"{least:g} to {most:g}" if most < float("inf") else f"{least:g} and more"
    return ", ".join(filter(None, [scale, "" if getattr(metric, "higher_is_better", True) else "less is better"]))
