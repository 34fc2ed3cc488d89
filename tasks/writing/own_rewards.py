"""Functions of one's own that are rewarded together: their weighted sum, over those that have a score for a text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward_function import Named, RewardFunction, ask, checked_answers
from seqrl.tasks.writing.reward_workers import RewardWorkers
from seqrl.tasks.writing.trl_form import Notes, TrainerState, has_trl_form
from seqrl.tasks.writing.vocabulary import AnyVocabulary
from seqrl.time_limit import time_limit

# What a library call may reward: one function, several, or weights by function.
OwnRewardLike = RewardFunction | Sequence[RewardFunction] | Mapping[RewardFunction, float]


class OwnRewards:
    """Scores texts by sum_k weight_k f_k(text), over the functions f_k that have a score for the text.

    Args:
        functions: names, which say `module:name` where there are workers, and functions.
        weights: of each.
        vocabulary: what token ids stand for.
        workers: processes that call the functions, each with a part of the texts; 0 calls them in this one.
        timeout_s: seconds after which they are given up; 0 for never.

    Raises:
        ValueError: when two functions are called the same.
    """

    def __init__(
        self, functions: Sequence[Named], weights: Sequence[float], vocabulary: AnyVocabulary, *, workers: int, timeout_s: float
    ) -> None:
        self.functions, self.weights = list(functions), list(weights)
        self.metrics = [metric_of(name) for name, _ in functions]
        twice = next((metric for metric in self.metrics if self.metrics.count(metric) > 1), None)
        if twice:
            raise ValueError(f"reward.functions: two functions are called {twice!r}, so their metrics could not be told apart; rename one")
        self.vocabulary, self.timeout_s = vocabulary, timeout_s
        self.may_leave_out = any(has_trl_form(function) for _, function in functions)
        self._lock = threading.Lock()
        self._workers = RewardWorkers([name for name, _ in functions], workers, timeout_s) if workers else None

    @property
    def names(self) -> list[str]:
        """Names of the functions."""
        return [name for name, _ in self.functions]

    def parts(
        self, asked: Asked, state: TrainerState, notes: Notes, which: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Score texts with each function by itself; see `seqrl.tasks.writing.reward_function.checked_answers` for what comes back.

        Args:
            asked: the texts.
            state: how far the training is.
            notes: what functions log.
            which: of the functions; all when None.

        Raises:
            ValueError: when one does not give one number a text.
            RewardFailed: when one raises in a process of `workers`, or that process ends.
            TimeoutError: when they do not answer.
        """
        which = range(len(self.functions)) if which is None else which
        if asked.ids is None and self.may_leave_out:
            asked = replace(asked, ids=[self._ids(text) for text in asked.texts])
        if self._workers is not None:
            return self._workers.score(asked, state, notes, which)
        functions = [self.functions[place] for place in which]
        what = "the reward function " + ", ".join(name for name, _ in functions) + " (task.reward.timeout_s)"
        # With `ahead`, an evaluation may want them while a batch is being scored.
        with time_limit(self.timeout_s, what), self._lock:
            given = ask(functions, asked, state, notes)
        return checked_answers(functions, given, len(asked))

    def score(self, asked: Asked, state: TrainerState | None = None, notes: Notes | None = None) -> NDArray[np.float64]:
        """Give the weighted sums, [N]; NaN for a text that no function has a score for."""
        return self.total(*self.parts(asked, state or TrainerState(), notes or Notes()))

    def score_first(self, texts: Sequence[str], split: Any, notes: Notes) -> list[float]:
        """Score texts about the first items of a split; NaN for one that no function has a score for."""
        return [float(score) for score in self.score(Asked.about(split, range(len(texts)), texts), notes=notes)]

    def total(self, scores: NDArray[np.float64], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sum scores [K, N] up where they count, [N]; NaN where none does."""
        total = np.asarray(self.weights) @ np.where(counts, scores, 0.0)
        return np.where(counts.any(axis=0), total, np.nan)

    def alone(self, place: int) -> Callable[[Asked], NDArray[np.float64]]:
        """Give what one function scores, unweighted, [N]; NaN for a text that it leaves out."""

        def score(asked: Asked) -> NDArray[np.float64]:
            scores, counts = self.parts(asked, TrainerState(), Notes(), [place])
            return np.where(counts[0], scores[0], np.nan)

        return score

    def _ids(self, text: str) -> list[int]:
        return [*self.vocabulary.encode(self.vocabulary.tokenisation.split(text)), self.vocabulary.end]


def mean_score(function: Callable[[Asked], NDArray[np.float64]], texts: Sequence[str], split: Any, size: int) -> float:
    """Average scores over the texts that have one; NaN where none has.

    Args:
        function: gives [N], NaN for a text that it leaves out.
        texts: about the first items of the split.
        split: see `seqrl.tasks.writing.asked.Asked.about`.
        size: no more of them a call, or a time limit that is ample in training would be short here.
    """
    asked = Asked.about(split, range(len(texts)), texts)
    scores = np.concatenate([function(asked.part(slice(start, start + size))) for start in range(0, len(asked), size)])
    counted = scores[~np.isnan(scores)]
    return float(counted.mean()) if len(counted) else float("nan")


def named_functions(given: Any) -> tuple[list[Named], list[float]] | None:
    """Give names, functions and weights of what a library call rewards; None where it is no function.

    Args:
        given: a function, a list of functions, or weights by function.

    Raises:
        ValueError: when a weight is no finite number.
    """
    weights = {given: 1.0} if callable(given) else dict.fromkeys(given, 1.0) if isinstance(given, list | tuple) else given
    if not isinstance(weights, Mapping) or not weights or not all(callable(function) for function in weights):
        return None
    for function, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not np.isfinite(weight):
            raise ValueError(f"reward: expected a finite number as the weight of {name_of(function)}, got {weight!r}")
    return [(name_of(function), function) for function in weights], [float(weight) for weight in weights.values()]


def name_of(function: RewardFunction) -> str:
    """Give the module and the name of a function."""
    function = getattr(function, "func", function)  # of functools.partial
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__qualname__)}"


def metric_of(name: str) -> str:
    """Give the name of a function's metric: the part behind the last dot."""
    metric = name.rpartition(":")[2].rpartition(".")[2]
    return metric if metric.isidentifier() else "reward"  # a lambda has no name
