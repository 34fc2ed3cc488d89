"""Find a metric by the name that configurations and result tables use."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# name -> module, class or function in it, settings. A module is imported when its metric is first made.
HOMES: Mapping[str, tuple[str, str, dict[str, Any]]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
METRICS = tuple(HOMES)


def metric_by_name(name: str, **settings: Any) -> Any:
    """Make the metric called `name` with `settings` of its constructor, for instance `metric_by_name("bleu4")`.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    return _home(name)(**{**HOMES[name][2], **settings})


def scores_words(name: str) -> bool:
    """Tell whether a metric is given words, and not text as it was written."""
    return not getattr(_home(name), "reads_raw_text", False)


def takes_words(name: str) -> bool:
    """Tell whether a metric can score the words of a captioner: it scores words, or makes a text of them."""
    home = _home(name)
    apart = needs_images(name) or scores_corpus_only(name)
    return scores_words(name) or (hasattr(home, "prepare_words") and not apart)


def scores_corpus_only(name: str) -> bool:
    """Tell whether a metric has one score for all texts together and none for each."""
    return bool(getattr(_home(name), "scores_corpus_only", False))


def needs_images(name: str) -> bool:
    """Tell whether a metric looks at images."""
    return hasattr(_home(name), "needs_images")


def higher_is_better(name: str) -> bool:
    """Tell whether a larger value of a metric is the better one."""
    return bool(getattr(_home(name), "higher_is_better", True))


def scores_together(name: str) -> bool:
    """Tell whether a metric's scores depend on what else is scored in the same call."""
    return bool(getattr(_home(name), "scores_together", False))


def reads_document_frequency(name: str) -> bool:
    """Tell whether a metric of token ids weighs n-grams by document frequencies; what scores words counts its own."""
    home = _home(name)
    return hasattr(home, "score_rows") and "document_frequency" in getattr(home, "__dataclass_fields__", {})


def needs_model(name: str) -> bool:
    """Tell whether a metric loads a model, which takes longer than all metrics that load none."""
    return "model" in getattr(_home(name), "__dataclass_fields__", {})


def require_weight(name: str, weight: Any) -> None:
    """Refuse what is no weight of a metric in a sum.

    Raises:
        ValueError: for what is no finite number, and for one above 0 where less is better.
    """
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not math.isfinite(weight):
        raise ValueError(f"metrics.{name}: expected a finite number as its weight, got {weight!r}")
    if weight > 0 and not higher_is_better(name):
        raise ValueError(
            f"metrics.{name}: expected a weight below 0, since less is better there, got {weight}; write {{{name}: {-weight}}}"
        )


def require_rewardable(name: str) -> None:
    """Refuse a metric that has no score for a single sentence of words.

    Raises:
        ValueError: for such a metric, or an unknown name.
    """
    home = _home(name)
    if scores_corpus_only(name):
        raise ValueError(
            f"{name} has one score for all sentences together and none for each, so nothing can be rewarded with it; reward another, "
            f"and report this one with task.evaluation.metrics or `seqrl score --metrics {name}`"
        )
    if needs_images(name):
        raise ValueError(
            f"{name} looks at images, which no reward by name has; call its prepare(images, references).score(captions, items) in a "
            "function of your own, and name that: reward.function=module:name"
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
