"""Known troubles of captioners that are optimised for a metric, found in the metrics of the dev evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    now = history[-1]
    if now["cider_d"] == 0 and now["bleu1"] > 0.3:
        return {
            "cider_zero": f"CIDEr-D is 0 though the words are right (BLEU-1 {now['bleu1']:.2f}). Captions without any n-gram that tells "
            "images apart score 0; so do document frequencies over one image, or over images with the same captions."
        }
    start = history[0]
    if len(history) < 2 or start["cider_d"] < _TRAINED:
        return {}
    troubles = [
        (
            now["cider_d"] < 0.95 * start["cider_d"],
            "cider_fell",
            f"CIDEr-D on dev fell from {start['cider_d']:.3f} to {now['cider_d']:.3f}. If reward/mean rises meanwhile, the reward is not "
            "what dev measures (other document frequencies, other metrics); if it falls, too, try a lower learning rate, a "
            "warm-up, more samples an image, or some cross-entropy (trainer.imitation.weight).",
        ),
        (
            now["bad_endings"] > start["bad_endings"] + 0.05,
            "bad_endings",
            f"{now['bad_endings']:.0%} of the captions break off, at first it was {start['bad_endings']:.0%}. Score the end token as a "
            "word (task.reward.score_end: true), or allow longer captions (task.policy.max_tokens).",
        ),
        (
            now["length"] > 1.3 * start["length"] or now["length"] < 0.7 * start["length"],
            "length_drift",
            f"Captions went from {start['length']:.1f} to {now['length']:.1f} words, a sign that length alone pays. Reward CIDEr-D rather "
            "than CIDEr, BLEU besides, or mix in some cross-entropy (trainer.imitation.weight).",
        ),
        (
            now["distinct"] < 0.5 * start["distinct"],
            "few_distinct",
            f"Only {now['distinct']:.0%} of the captions differ, at first it was {start['distinct']:.0%}: many images get the same one. "
            "Try a lower learning rate, an entropy bonus, or an earlier checkpoint.",
        ),
    ]
    return {kind: text for found, kind, text in troubles if found}
