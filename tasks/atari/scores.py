"""What a random player and a person score in the 57 games of the literature, and scores measured on that scale."""

from __future__ import annotations

from pathlib import Path

from seqrl.metrics.text_files import read_json

# By game a random player's score and a professional tester's; episodes of at most 30 minutes that begin with up to 30 no-ops.
PUBLISHED_SCORES: dict[str, tuple[float, float]] = read_json(Path(__file__).with_name("scores.json"))


def human_normalised(game: str, score: float) -> float | None:
    """Place a raw score between a random player and a person: (score - random) / (human - random).

    Args:
        game: ale-py's name.
        score: undiscounted sum of the raw rewards of a whole game.

    Returns:
        0 for a random player's score, 1 for a person's; None for a game outside the 57.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), extended data table 2; the 57 games:
    Wang et al. 2016 (Dueling network architectures for deep reinforcement learning), appendix.
    """
    if game not in PUBLISHED_SCORES:
        return None
    random, human = PUBLISHED_SCORES[game]
    return (score - random) / (human - random)
