"""Functions of one's own as metrics of an evaluation: those that the setting names, and the one that is rewarded."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics import by_name
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.own_rewards import OwnRewards, metric_of
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.reward_function import import_function


@dataclass(frozen=True)
class OwnMetric:
    """A function of one's own, and what it is called: `module:name`; a score is NaN where it leaves a text out."""

    name: str
    score: Callable[[Asked], NDArray[np.float64]]


def own_metrics(names: Sequence[str], reward: TextReward, timeout_s: float, *, taken: Container[str]) -> dict[str, OwnMetric]:
    """Give each function with the name of its metric: that of the function, without its module.

    Args:
        names: `module:name` of the functions to report.
        reward: of the task; functions that it pays for are reported as they are called in training, in its processes, too, without their
            weights. One that is called as a metric that there is already goes by `reward_` and its name.
        timeout_s: seconds after which a function that does not answer is given up.
        taken: names of other metrics.

    Raises:
        ValueError: when a function cannot be imported, or is called as another metric.
    """
    found: dict[str, OwnMetric] = {}
    rewarded = [] if reward.own is None else reward.own.names
    for name in names:
        if name not in rewarded:
            function, metric = import_function(name, field="evaluation.metrics"), metric_of(name)
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


def functions_among(names: Sequence[str]) -> list[str]:
    """Give the names that are functions of one's own, `module:name`, each once."""
    return [name for name in dict.fromkeys(names) if ":" in name]


def refuse_two_metrics(functions: Sequence[str], taken: Container[str]) -> None:
    """Refuse functions whose metrics have one name, or that of another metric.

    Raises:
        ValueError: naming it.
    """
    values = [metric_of(name) for name in functions]
    for name in values:
        if name in by_name.METRICS or name in taken or values.count(name) > 1:
            raise ValueError(f"metrics: {name!r} names two metrics; give the function another name")
