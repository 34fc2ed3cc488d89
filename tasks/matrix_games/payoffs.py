"""Symmetric games of two as matrices, and what a best response to a strategy earns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Strategy = NDArray[np.float64]


@dataclass(frozen=True)
class MatrixGame:
    """A symmetric game of two whose payoffs add up to 0; its value is 0.

    Attributes:
        moves: names of the N moves.
        payoff: [N, N] what the player of the row's move earns against the column's move, A = -A^T.
    """

    moves: tuple[str, ...]
    payoff: NDArray[np.float64]

    def exploitability(self, strategy: Strategy) -> float:
        """Give what a best response earns against a strategy p, max_i (A p)_i; 0 at an equilibrium and nowhere else.

        Args:
            strategy: [N] probabilities of the moves.
        """
        return float((self.payoff @ strategy).max())

    def quantal_response(self, sharpness: float, to: Strategy | None = None) -> Strategy:
        """Give the strategy that plays a move the likelier the more it earns: softmax(sharpness A q).

        Args:
            sharpness: 0 plays all moves alike, large ones play the best response.
            to: [N] the strategy q that is responded to; all moves alike when None.

        Source: McKelvey & Palfrey 1995 (Quantal response equilibria for normal form games), eq. 4.
        """
        against = np.full(len(self.moves), 1 / len(self.moves)) if to is None else to
        logits = sharpness * (self.payoff @ against)
        weight = np.exp(logits - logits.max())
        return np.asarray(weight / weight.sum())


def rock_paper_scissors(stakes: Sequence[float] = (1.0, 1.0, 1.0)) -> MatrixGame:
    """Make rock-paper-scissors, where paper beats rock, scissors beat paper and rock beats scissors.

    Args:
        stakes: what a win by rock, by paper and by scissors earns, and costs the other one; with (a, b, c) the equilibrium plays
            rock, paper and scissors in the ratio c : a : b.

    Raises:
        ValueError: when these are not three positive numbers.
    """
    if len(stakes) != 3 or min(stakes) <= 0:
        raise ValueError(f"stakes: expected three positive numbers, of wins by rock, paper and scissors, got {list(stakes)}")
    payoff = np.zeros((3, 3))
    for winner, loser in ((0, 2), (1, 0), (2, 1)):
        payoff[winner, loser], payoff[loser, winner] = stakes[winner], -stakes[winner]
    return MatrixGame(("rock", "paper", "scissors"), payoff)


def blotto(soldiers: int, fields: int) -> MatrixGame:
    """Make Colonel Blotto: both share soldiers out over fields; who has more of them wins a field, who wins more fields earns 1.

    Args:
        soldiers: of each player.
        fields: that they are shared out over; (soldiers + fields - 1) over (fields - 1) moves.

    Raises:
        ValueError: when there are fewer than 2 fields, no soldiers, or more than 5000 moves.

    Source: Borel 1921 (La théorie du jeu et les équations intégrales à noyau symétrique).
    """
    if soldiers < 1 or fields < 2:
        raise ValueError(f"soldiers, fields: expected at least 1 soldier and 2 fields, got {soldiers} and {fields}")
    count = 1
    for number in range(1, fields):  # binomial, whole at each step
        count = count * (soldiers + number) // number
    if count > 5000:
        raise ValueError(f"soldiers, fields: expected at most 5000 ways to share out, got {count} for {soldiers} and {fields}; take fewer")
    shares = [(*first, soldiers - sum(first)) for first in product(range(soldiers + 1), repeat=fields - 1) if sum(first) <= soldiers]
    posted = np.array(shares)
    won = np.sign(posted[:, None] - posted[None]).sum(axis=2)
    return MatrixGame(tuple("-".join(map(str, share)) for share in shares), np.sign(won).astype(np.float64))
