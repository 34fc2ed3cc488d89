"""Known troubles of captioners that are optimised for a metric, found in the metrics of the dev evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqrl.metrics.text_files import read_json

# What is said of each trouble, with numbers of the first evaluation and of the newest one.
_TEXTS: dict[str, str] = read_json(Path(__file__).with_name("diagnostics.json"))
# Below it, a captioner cannot yet be told to have got worse.
_TRAINED = 0.05


def warnings_for(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Say in plain words what of a run's evaluations is known to go wrong, and what to try.

    The newest evaluation is compared with the first one, where that was of a trained captioner (CIDEr-D of 0.05 or more),
    as it is when reinforcement learning starts from a cross-entropy model.

    Args:
        history: what `evaluate_captions` gave, oldest first.

    Returns:
        For each trouble its kind and a sentence or two; empty where nothing stands out.
    """
    if not history:
        return {}
    start, now = history[0], history[-1]
    found: dict[str, bool] = {}
    if now["cider_d"] == 0 and now["bleu1"] > 0.3:
        found["cider_zero"] = True
    elif len(history) > 1 and start["cider_d"] >= _TRAINED:
        found["cider_fell"] = now["cider_d"] < 0.95 * start["cider_d"]
        found["bad_endings"] = now["bad_endings"] > start["bad_endings"] + 0.05
        found["length_drift"] = now["length"] > 1.3 * start["length"] or now["length"] < 0.7 * start["length"]
        found["few_distinct"] = now["distinct"] < 0.5 * start["distinct"]
    return {kind: _TEXTS[kind].format(start=start, now=now) for kind, is_so in found.items() if is_so}
