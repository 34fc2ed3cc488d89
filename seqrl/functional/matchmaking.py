"""Whom to play next: prioritised fictitious self-play, and which of one's past players one has forgotten to beat."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["hard", "variance"]


def pfsp(win_rate: Tensor, weighting: Weighting, power: float = 2.0) -> Tensor:
    """Give the probability of each opponent, f(x) / sum f(x), with x the chance of winning against it.

    "hard" is f(x) = (1 - x)^power, most for those that win against us; "variance" is f(x) = x (1 - x), most for those of one's own
    level. Where every f is 0 all are as likely.

    Args:
        win_rate: [N] in 0..1, N >= 1.
        weighting: which f.
        power: p of "hard".

    Returns:
        [N] float64, sum 1.

    Source: Vinyals et al. 2019 (Grandmaster level in StarCraft II using multi-agent reinforcement learning), methods, prioritised
    fictitious self-play.
    """
    x = win_rate.double()
    weight = (1 - x) ** power if weighting == "hard" else x * (1 - x)
    total = weight.sum()
    return weight / total if total > 1e-10 else torch.full_like(weight, 1 / len(weight))


def forgotten(win_rate: Tensor) -> int:
    """Say how many of one's past players, oldest first, may have been forgotten: all up to the last one that is beaten more than an older.

    Whoever learns beats older players more than newer ones. The newest ones against which the chances only fall are therefore left out.

    Args:
        win_rate: [N] against the past players, oldest first.

    Returns:
        how many of the first ones stay; 0 where the chances never rise.

    Source: Vinyals et al. 2019, pseudocode of the league (`remove_monotonic_suffix`).
    """
    rises = (win_rate[1:] > win_rate[:-1]).nonzero()
    return int(rises[-1]) + 2 if len(rises) else 0


def decayed_sums(games: Tensor, wins: Tensor, results: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Take results into the number of games and of wins, g <- decay g + 1 and w <- decay w + r, one after the other.

    Args:
        games: [] so far, decayed.
        wins: [] likewise.
        results: [K] 1 for a win, 1/2 for a draw, 0 for a loss, oldest first.
        decay: of each game.

    Returns:
        both afterwards; their ratio is the chance of winning.

    Source: Vinyals et al. 2019, pseudocode of the league, payoffs.
    """
    count = len(results)
    share = decay ** torch.arange(count - 1, -1, -1, dtype=torch.float64)
    return games * decay**count + share.sum(), wins * decay**count + (share * results.double().cpu()).sum()
