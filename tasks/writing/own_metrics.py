"""Functions of one's own as metrics of an evaluation: those that the setting names, and the one that is rewarded."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import by_name
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.decoded import Decoded, Share, in_order
from seqrl.tasks.writing.own_rewards import OwnRewards, mean_score, metric_of
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.reward_config import require_metric
from seqrl.tasks.writing.reward_function import Named, import_function


@dataclass(frozen=True)
class OwnMetric:
    """A function of one's own, and what it is called: `module:name`; a score is NaN where it leaves a text out."""

    name: str
    score: Callable[[Asked], NDArray[np.float64]]


class Reported:
    """What evaluations report of texts: the usual metrics, those that the setting names and those of the reward, each once.

    Args:
        usual: names of metrics that are always reported.
        named: what the setting names, see `own_metrics`.
        reward: of the task.
        figures: names of what else is reported.
        smaller: those of them of which the smallest is the best.
        refuse: raises where a metric cannot be reported here.

    Attributes:
        metrics: names of those to report.
        own: functions of one's own by the names of their metrics.
    """

    def __init__(
        self,
        usual: Sequence[str],
        named: Sequence[str],
        reward: TextReward,
        figures: Container[str],
        *,
        smaller: Container[str] = (),
        refuse: Callable[[Sequence[str]], None] = lambda names: None,
    ) -> None:
        self.own = own_metrics(named, reward, reward.config.timeout_s, taken=figures)
        self.metrics = list(dict.fromkeys([*usual, *registered_among(named), *reward.weights]))
        self._smaller, self._refuse, self._join = smaller, refuse, reward.vocabulary.tokenisation.join

    def watch(self, metric: str) -> None:
        """Report a metric in evaluations from now on; names of other metrics change nothing."""
        name = metric.removeprefix("beam/")
        if name in by_name.METRICS and name not in self.metrics:
            self._refuse([name])
            self.metrics.append(name)

    def less_is_better(self, metric: str) -> bool:
        """Tell whether the smallest value of a metric of evaluations is the best."""
        name = metric.removeprefix("beam/")
        return name in self._smaller or (name in by_name.METRICS and not by_name.higher_is_better(name))

    def values(
        self, shares: Sequence[Share], split: Any, size: int, score: Callable[[list[Decoded]], dict[str, float]]
    ) -> dict[str, float]:
        """Score the texts of all processes.

        Args:
            shares: what `share_of` gave to each process.
            split: what the texts are about.
            size: at most so many texts a call of a function of one's own.
            score: gives all but what functions of one's own find.

        Returns:
            What `score` and the functions give for greedy texts, and the same under `beam/` for those of beam search.
        """
        values: dict[str, float] = {}
        for kind in shares[0]:
            texts = in_order([share[kind] for share in shares])
            joined = [self._join(words) for words, _ in texts]
            scores = score(texts) | {name: mean_score(each.score, joined, split, size) for name, each in self.own.items()}
            values |= {f"{kind}{name}": number for name, number in scores.items()}
        return values


def own_metrics(names: Sequence[str], reward: TextReward, timeout_s: float, *, taken: Container[str]) -> dict[str, OwnMetric]:
    """Give each function with the name of its metric: that of the function, without its module.

    Args:
        names: what to report; the functions among it, `module:name`.
        reward: of the task; functions that it pays for are reported as they are called in training, in its processes, too, without their
            weights. One that is called as a metric that there is already goes by `reward_` and its name.
        timeout_s: seconds after which a function that does not answer is given up.
        taken: names of other metrics.

    Raises:
        ValueError: when a function cannot be imported, or is called as another metric.
    """
    found: dict[str, OwnMetric] = {}
    rewarded = [] if reward.own is None else reward.own.names
    for name, function in imported_among(names):
        if name not in rewarded:
            metric = metric_of(name)
            if metric in taken:
                raise ValueError(
                    f"evaluation.metrics: {name!r} is called as another metric of evaluations, {metric}; give the function another name"
                )
            own = OwnRewards([(name, function)], [1.0], reward.vocabulary, workers=0, timeout_s=timeout_s)
            found[metric] = OwnMetric(name, own.alone(0))
    for place, name in enumerate(rewarded):
        assert reward.own is not None
        metric = metric_of(name)
        if metric in by_name.METRICS or metric in taken or metric in found:
            metric = f"reward_{metric}"
        if metric in found:
            raise ValueError(f"evaluation.metrics: {metric!r} names the metric of the reward {name}, too; give the function another name")
        found[metric] = OwnMetric(name, reward.own.alone(place))
    return found


def check_metrics(names: Sequence[str], taken: Container[str]) -> None:
    """Refuse what `evaluation.metrics` cannot report: a metric that there is not, and two metrics of one name.

    Raises:
        ValueError: naming it.
    """
    for name in registered_among(names):
        require_metric("metrics", name)
    values = [metric_of(name) for name in dict.fromkeys(names) if ":" in name]
    for name in values:
        if name in by_name.METRICS or name in taken or values.count(name) > 1:
            raise ValueError(f"metrics: {name!r} names two metrics; give the function another name")


def registered_among(names: Sequence[str]) -> list[str]:
    """Give the names that are those of metrics."""
    return [name for name in names if ":" not in name]


def imported_among(names: Sequence[str]) -> list[Named]:
    """Import the functions of one's own among names, each once.

    Raises:
        ValueError: when there is no such function.
    """
    return [(name, import_function(name, field="evaluation.metrics")) for name in dict.fromkeys(names) if ":" in name]
