"""Monte-Carlo tree search by a network's priors and values (PUCT), over many games of two players at once; trees are arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from seqrl.settings import Fraction, NotNegative, Positive, check_settings

Floats = NDArray[np.float32]
Steps = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # of some trees: rows, nodes, actions
Evaluate = Callable[[Any], tuple[Floats, Floats]]


class GameState(Protocol):
    """N games: a NamedTuple of arrays [N, ...], which are never written into. Rows of it are the same of some games.

    Attributes:
        player: [N] int, 1 or -1, who is to move.
        num_moves: [N] int, moves so far.
        ended: [N] bool.
        winner: [N] int, 1 or -1; 0 for a draw, and before the end.
    """

    @property
    def player(self) -> NDArray[Any]:
        """[N], who is to move."""

    @property
    def num_moves(self) -> NDArray[Any]:
        """[N], moves so far."""

    @property
    def ended(self) -> NDArray[np.bool_]:
        """[N]."""

    @property
    def winner(self) -> NDArray[Any]:
        """[N]."""

    def rows(self, index: Any) -> Self:
        """Give some of the games."""


class Game(Protocol):
    """Rules of a game of two players who move in turn; what one wins the other loses. Everything can be seen, nothing is left to chance.

    Attributes:
        num_actions: A.
        cell_orders: [K, cells] symmetries of the board, `plane.ravel()[cell_orders[k]]`.
        action_orders: [K, A] the same of actions.
    """

    num_actions: int
    cell_orders: NDArray[np.int64]
    action_orders: NDArray[np.int64]

    def legal(self, state: Any) -> NDArray[np.bool_]:
        """Say which actions are legal, [N, A]; none in a game that has ended."""

    def play(self, state: Any, action: NDArray[Any]) -> Any:
        """Take an action [N] in each game that goes on; give the states after it."""

    def planes(self, state: Any) -> Floats:
        """Give what a network sees, [N, C, H, W], from the view of who is to move."""


@dataclass
class TreeSearchConfig:
    """How a tree is searched, and how a move is chosen by it.

    Attributes:
        num_simulations: positions looked at for each move; 0: none, the network's own probabilities choose.
        exploration: c of PUCT: how much a move's prior counts beside what it has won so far.
        noise_share: eps of the noise on the root's priors in self-play, p = (1 - eps) p + eps Dirichlet(alpha).
        noise_alpha: alpha of that noise; about 10 over the number of legal moves.
        temperature_moves: first moves of a self-play game that are drawn by their share of the visits; later ones are the most visited.
    """

    num_simulations: NotNegative[int] = 50
    exploration: Positive = 1.5
    noise_share: Fraction = 0.25
    noise_alpha: Positive = 1.0
    temperature_moves: NotNegative[int] = 10

    def __post_init__(self) -> None:
        check_settings(self)


class Searched(NamedTuple):
    """What a search has found about N games.

    Attributes:
        visits: [N, A] how often each action was tried.
        value: [N] mean of what simulations came to, from the view of who is to move.
    """

    visits: Floats
    value: Floats


def search(
    game: Game,
    state: Any,
    evaluate: Evaluate,
    *,
    num_simulations: int,
    exploration: float,
    change_root: Callable[[Floats], Floats] | None = None,
) -> Searched:
    """Search the trees of N games together: each simulation adds one position to each tree, and asks `evaluate` once for all of them.

    A simulation goes down from the root by the action with the largest Q(s, a) + U(s, a),

        U(s, a) = c P(s, a) √(1 + Σ_b N(s, b)) / (1 + N(s, a)),    Q = W / N, 0 for what was never tried,

    until it leaves the tree or a game ends. The new position's value v, from the view of who is to move there, or the outcome of a
    game that has ended, goes up the path: N += 1, and W += v or -v, as that player or the other one moves.

    Args:
        game: its rules.
        state: of N games that have not ended.
        evaluate: gives P [M, A] and v [M] of M states that have not ended; P counts where an action is legal.
        num_simulations: at least 1.
        exploration: c.
        change_root: gives the roots' priors [N, A] in the place of P, for instance by `with_noise`.

    Source: Silver et al. 2017 (Mastering the game of Go without human knowledge), methods (search algorithm); Rosin 2011 (Multi-armed
    bandits with episode context) for PUCT.
    Differs from: the paper, whose trees go on from one move to the next; here each move begins a new one. The square root counts
    the visit in which a position was found.
    """
    trees = _Trees(game, state, num_simulations + 1)
    everyone = np.arange(len(state.player))
    trees.fill(everyone, 0, state, evaluate)
    if change_root is not None:
        trees.prior[:, 0] = change_root(trees.prior[:, 0])
    for node in range(1, num_simulations + 1):
        path, parent, action = trees.descend(exploration)
        found = trees.children[everyone, parent, action]
        new = np.flatnonzero(found < 0)
        if len(new):
            after = game.play(trees.states(new, parent[new]), action[new])
            trees.children[new, parent[new], action[new]] = node
            trees.fill(new, node, after, evaluate)
        leaf = np.where(found < 0, node, found)
        trees.back_up(path, trees.value[everyone, leaf])
    visits, total = trees.visits[:, 0], trees.total[:, 0]
    return Searched(visits, total.sum(axis=1) / num_simulations)


def with_noise(prior: Floats, legal: NDArray[np.bool_], share: float, alpha: float, random: np.random.Generator) -> Floats:
    """Give (1 - eps) p + eps η with η ~ Dirichlet(alpha) over the legal actions of each row, [N, A]."""
    drawn = np.where(legal, random.standard_gamma(alpha, legal.shape), 0.0)
    total = drawn.sum(axis=1, keepdims=True)
    noise = np.where(total > 0, drawn / np.maximum(total, 1e-300), legal / np.maximum(legal.sum(axis=1, keepdims=True), 1))
    return ((1 - share) * prior + share * noise).astype(np.float32)


class _Trees:
    """N trees of up to S nodes. Node 0 is the root; the children of a node are numbers of nodes, -1 where there is none yet."""

    def __init__(self, game: Game, state: Any, num_nodes: int) -> None:
        N, A = len(state.player), game.num_actions
        self._game, self._kind = game, type(state)
        self._leaves = [np.empty((N, num_nodes, *leaf.shape[1:]), leaf.dtype) for leaf in state]
        self.children = np.full((N, num_nodes, A), -1, dtype=np.int32)
        self.prior, self.visits, self.total, self.barred = (np.zeros((N, num_nodes, A), dtype=np.float32) for _ in range(4))
        self.value, self.ended = np.zeros((N, num_nodes), dtype=np.float32), np.zeros((N, num_nodes), dtype=bool)

    def states(self, rows: NDArray[Any], nodes: NDArray[Any]) -> Any:
        """Give the positions of some trees' nodes."""
        return self._kind(*(leaf[rows, nodes] for leaf in self._leaves))

    def fill(self, rows: NDArray[Any], node: int, state: Any, evaluate: Evaluate) -> None:
        """Put positions into a node of some trees, with their priors and values; the outcome where the game has ended."""
        for leaf, part in zip(self._leaves, state, strict=True):
            leaf[rows, node] = part
        self.ended[rows, node] = state.ended
        self.value[rows, node] = state.winner * state.player
        going_on = ~state.ended
        if going_on.any():
            live = rows[going_on]
            open_states = state.rows(going_on)
            self.prior[live, node], self.value[live, node] = evaluate(open_states)
            self.barred[live, node] = np.where(self._game.legal(open_states), 0.0, -np.inf)

    def descend(self, exploration: float) -> tuple[list[Steps], NDArray[Any], NDArray[Any]]:
        """Go down each tree; give the steps, (rows, nodes, actions) each, and the last node [N] with the action [N] that leads out."""
        rows = np.arange(len(self.children))
        node, parent, last = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
        path: list[Steps] = []
        while len(rows):
            tried = self.visits[rows, node]
            q = self.total[rows, node] / np.maximum(tried, 1)
            u = exploration * self.prior[rows, node] * np.sqrt(1 + tried.sum(axis=1, keepdims=True)) / (1 + tried)
            action = (q + u + self.barred[rows, node]).argmax(axis=1)
            path.append((rows, node, action))
            parent[rows], last[rows] = node, action
            child = self.children[rows, node, action]
            goes_on = (child >= 0) & ~self.ended[rows, child]
            rows, node = rows[goes_on], child[goes_on]
        return path, parent, last

    def back_up(self, path: list[Steps], value: Floats) -> None:
        """Take values [N] of the nodes at the ends of the paths up to the roots; who moves changes with every step."""
        value = value.copy()
        for rows, node, action in reversed(path):
            value[rows] = -value[rows]
            self.visits[rows, node, action] += 1
            self.total[rows, node, action] += value[rows]
