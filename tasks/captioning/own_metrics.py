"""Functions of one's own as figures of an evaluation: those that the setting names, and the one that is rewarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from seqrl.metrics import by_name
from seqrl.tasks.captioning.evaluation import FIGURES, Function, figure_of
from seqrl.tasks.captioning.facts import FIGURES as FACT_FIGURES
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.reward_function import call_function, import_function


@dataclass(frozen=True)
class OwnMetric:
    """A function, and what it is called: `module:name`."""

    name: str
    score: Function


def own_metrics(names: Sequence[str], reward: TextReward, timeout_s: float, *, drawn: bool) -> dict[str, OwnMetric]:
    """Give each function with the name of its figure: that of the function, without its module.

    Args:
        names: `module:name` of the functions to report.
        reward: of the task; where it is a function, it is reported as it is called in training, in its processes, too. One that is called
            as a figure that there is already goes by `reward_` and its name.
        timeout_s: seconds after which a function that does not answer is given up.
        drawn: the images are drawn scenes, whose captions have figures of their own.

    Raises:
        ValueError: when a function cannot be imported, or is called as another figure.
    """
    found: dict[str, OwnMetric] = {}
    facts = FACT_FIGURES if drawn else ()
    for name in names:
        if not (reward.has_function and name == reward.function_name):
            function, figure = import_function(name, field="evaluation.metrics"), figure_of(name)
            if figure in facts:
                raise ValueError(
                    f"evaluation.metrics: {name!r} is called as a figure of drawn scenes, {figure}; give the function another name"
                )
            found[figure] = OwnMetric(name, partial(call_function, function, name=name, timeout_s=timeout_s))
    if reward.has_function:
        figure = figure_of(reward.function_name)
        if figure in by_name.METRICS or figure in FIGURES or figure in facts or figure in found:
            figure = f"reward_{figure}"
        if figure in found:
            raise ValueError(
                f"evaluation.metrics: {figure!r} names the figure of the reward {reward.function_name}, too; give the function another name"
            )
        found[figure] = OwnMetric(reward.function_name, reward.score_texts)
    return found
