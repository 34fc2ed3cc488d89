"""Who plays against a policy: chance, plain tree search, every reply there is, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.policies.tree_search import Floats, search
from seqrl.tasks.boards.rules import BoardGame, Boards, check_actions, joined

Player = Callable[[Boards], NDArray[np.int64]]
EVEN_EXPLORATION = 1.0


def random_moves(game: BoardGame, state: Boards, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw a legal move in each game that goes on, [N]; 0 in the others."""
    legal = game.legal(state)
    chance = np.where(legal, random.random(legal.shape), -1.0)
    return chance.argmax(axis=1)


def plain_search(
    game: BoardGame, state: Boards, random: np.random.Generator, *, num_simulations: int, exploration: float = EVEN_EXPLORATION
) -> NDArray[np.int64]:
    """Choose the most visited move of a tree search without a network: even priors, and the outcome of one random game as the value.

    Args:
        game: rules.
        state: games that have not ended.
        random: plays them to their ends.
        num_simulations: positions looked at for each move.
        exploration: c, see `seqrl.policies.tree_search.search`; the priors are 1 for each legal move, so that it is in the unit of Q.

    Source: Browne et al. 2012 (A survey of Monte Carlo tree search methods); random games: Coulom 2006 (Efficient selectivity and
    backup operators in Monte-Carlo tree search).
    Differs from: the survey's UCT, whose bonus is c √(2 ln N / n); that of PUCT is c √(1 + N) / (1 + n), as beside a network.
    """

    def evaluate(reached: Boards) -> tuple[Floats, Floats]:
        played = reached
        while not played.ended.all():
            played = game.play(played, random_moves(game, played, random))
        return game.legal(reached).astype(np.float32), (played.winner * reached.player).astype(np.float32)

    return search(game, state, evaluate, num_simulations=num_simulations, exploration=exploration).visits.argmax(axis=1)


def play_out(game: BoardGame, state: Boards, first: Player, second: Player) -> Boards:
    """Let two players end games in which all have made equally many moves; `first` moves for player 1.

    A player is given the games that go on, and gives a move for each.
    """
    while not state.ended.all():
        live = np.flatnonzero(~state.ended)
        open_games = state.rows(live)
        action = np.zeros(len(state.ended), dtype=np.int64)
        action[live] = (first if open_games.player[0] == 1 else second)(open_games)
        state = game.play(state, action)
    return state


def every_reply(game: BoardGame, state: Boards, player: Player, colour: int) -> tuple[int, int, int]:
    """Play a player against every line of replies; count the ends that are won, drawn and lost for it.

    Lines that meet in a position go on as one.

    Args:
        game: small enough; tic-tac-toe is.
        state: games to begin with, in which all have made equally many moves.
        player: chooses one move a game; games are given as in `play_out`.
        colour: 1 or -1, of `player`.
    """
    counts = np.zeros(3, dtype=np.int64)
    while len(state.player):
        live = state.rows(~state.ended)
        counts += [(state.winner[state.ended] * colour == result).sum() for result in (1, 0, -1)]
        if not len(live.player):
            break
        rows, action = np.nonzero(game.legal(live))
        if live.player[0] == colour:
            rows, action = np.arange(len(live.player)), player(live)
        state = distinct(game.play(live.rows(rows), action))
    won, drawn, lost = counts.tolist()
    return won, drawn, lost


def distinct(state: Boards) -> Boards:
    """Keep one of the games that look alike, with the same player to move."""
    keys = np.concatenate([state.flat, state.player[:, None], state.ko[:, None]], axis=1)
    return state.rows(np.unique(keys, axis=0, return_index=True)[1])


def checked(name: str, game: BoardGame, player: Any) -> Player:
    """Say whose fault it is where a player of somebody's own fails, or does what is not legal.

    Raises:
        ValueError: naming the setting, and what happened.
    """
    if not callable(player):
        raise ValueError(f"task.opponent: expected {name} to give a function from games to moves, got a {type(player).__name__}")

    def move(state: Boards) -> NDArray[np.int64]:
        try:
            return check_actions(game, state, player(state), game.legal(state))
        except Exception as error:
            raise ValueError(
                f"task.opponent: {name} failed in its move ({type(error).__name__}: {error}); mend it, or set another task.opponent"
            ) from error

    return move


def random_openings(game: BoardGame, count: int, num_moves: int, random: np.random.Generator) -> Boards:
    """Draw games after so many moves at random that have not ended."""
    found = game.start(0)
    while len(found.player) < count:
        state = game.start(count)
        for _ in range(num_moves):
            state = game.play(state, random_moves(game, state, random))
        found = joined([found, state.rows(~state.ended)])
    return found.rows(slice(0, count))


def every_opening(game: BoardGame, num_moves: int) -> Boards:
    """Give every game after so many moves that has not ended; games that look alike once."""
    state = game.start(1)
    for _ in range(num_moves):
        rows, action = np.nonzero(game.legal(state))
        state = distinct(game.play(state.rows(rows), action))
        state = state.rows(~state.ended)
    return state
