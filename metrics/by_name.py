"""Find a metric by the name that configurations and result tables use."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from seqrl.metrics.bleu import Bleu, SacreBleu
from seqrl.metrics.cider import Cider, CiderD
from seqrl.metrics.rouge import RougeL

METRICS: dict[str, Callable[..., Any]] = {
    "cider_d": CiderD,
    "cider": Cider,
    "bleu1": partial(Bleu, max_n=1),
    "bleu2": partial(Bleu, max_n=2),
    "bleu3": partial(Bleu, max_n=3),
    "bleu4": partial(Bleu, max_n=4),
    "bleu4_smoothed": partial(Bleu, max_n=4, smoothing="add_one"),
    "rouge_l": RougeL,
    "sacrebleu": SacreBleu,
    "meteor": lambda **settings: _meteor(**settings),
}


def _meteor(**settings: Any) -> Any:
    """Make METEOR; its word lists are imported when it is first asked for."""
    from seqrl.metrics.meteor import Meteor

    return Meteor(**settings)


def metric_by_name(name: str, **settings: Any) -> Any:
    """Make the metric called `name` with `settings` of its constructor, for instance `metric_by_name("bleu4")`.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if name not in METRICS:
        nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown metric {name!r}: did you mean {nearest!r}? Known are {', '.join(sorted(METRICS))}")
    return METRICS[name](**settings)


def scores_words(name: str) -> bool:
    """Tell whether a metric scores words, as rewards and evaluations of captioners need it, and not text as it was written."""
    return not getattr(metric_by_name(name), "reads_raw_text", False)
