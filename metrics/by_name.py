"""Find a metric by the name that configurations and result tables use."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

# name -> module, class or function in it, settings. A module is imported when its metric is first made.
HOMES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "cider_d": ("seqrl.metrics.cider", "CiderD", {}),
    "cider": ("seqrl.metrics.cider", "Cider", {}),
    "bleu1": ("seqrl.metrics.bleu", "Bleu", {"max_n": 1}),
    "bleu2": ("seqrl.metrics.bleu", "Bleu", {"max_n": 2}),
    "bleu3": ("seqrl.metrics.bleu", "Bleu", {"max_n": 3}),
    "bleu4": ("seqrl.metrics.bleu", "Bleu", {"max_n": 4}),
    "bleu4_smoothed": ("seqrl.metrics.bleu", "Bleu", {"max_n": 4, "smoothing": "add_one"}),
    "rouge_l": ("seqrl.metrics.rouge", "RougeL", {}),
    "sacrebleu": ("seqrl.metrics.bleu", "SacreBleu", {}),
    "spice": ("seqrl.metrics.spice", "Spice", {}),
    "spider": ("seqrl.metrics.spider", "Spider", {}),
    "meteor": ("seqrl.metrics.meteor", "Meteor", {}),
}
METRICS = tuple(HOMES)


def metric_by_name(name: str, **settings: Any) -> Any:
    """Make the metric called `name` with `settings` of its constructor, for instance `metric_by_name("bleu4")`.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    return _home(name)(**{**HOMES[name][2], **settings})


def scores_words(name: str) -> bool:
    """Tell whether a metric scores words, and not text as it was written."""
    return not getattr(_home(name), "reads_raw_text", False)


def takes_words(name: str) -> bool:
    """Tell whether a metric can score words, as evaluations of captioners need it, though text as it was written may suit it better."""
    home = _home(name)
    return scores_words(name) or (hasattr(home, "prepare_words") and not hasattr(home, "needs_images"))


def higher_is_better(name: str) -> bool:
    """Tell whether a larger value of a metric is the better one."""
    return bool(getattr(_home(name), "higher_is_better", True))


def needs_model(name: str) -> bool:
    """Tell whether a metric loads a model, which takes longer than all metrics that load none."""
    return "model" in getattr(_home(name), "__dataclass_fields__", {})


def require_rewardable(name: str) -> None:
    """Refuse a metric that has no score for a single sentence of words.

    Raises:
        ValueError: for such a metric, or an unknown name.
    """
    home = _home(name)
    if getattr(home, "scores_corpus_only", False):
        raise ValueError(
            f"{name} has one figure for all sentences together and none for each, so nothing can be rewarded with it; reward another, "
            f"and report this one with task.evaluation.metrics or `seqrl score --metrics {name}`"
        )
    if not (hasattr(home, "score_rows") or hasattr(home, "prepare_words")):
        raise ValueError(
            f"{name} scores strings only, as they were written, and sampled words have lost case and punctuation; reward bleu4 or "
            f"bleu4_smoothed instead, and score written captions with `seqrl score --metrics {name}`"
        )


def _home(name: str) -> Any:
    if name not in HOMES:
        nearest = difflib.get_close_matches(name, HOMES, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown metric {name!r}: did you mean {nearest!r}? Known are {', '.join(sorted(HOMES))}")
    module, attribute, _ = HOMES[name]
    return getattr(import_module(module), attribute)
