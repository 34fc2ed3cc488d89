"""Duels on boards against games replayed by hand, and players by rules in positions where the right move is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seqrl.tasks.boards.duels import Anything, BoardDuelConfig, Duels, Tactician, chance, seen
from seqrl.tasks.boards.games import make_game
from seqrl.trajectory import Step


class Script(nn.Module):
    """Plays the legal move with the smallest, or the largest, number."""

    def __init__(self, *, last: bool = False, illegal: bool = False) -> None:
        super().__init__()
        self.last, self.illegal = last, illegal

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any = None, **_: Any) -> Step:
        legal = obs["action_mask"].int()
        action = legal.shape[1] - 1 - legal.flip(1).argmax(dim=1) if self.last else legal.argmax(dim=1)
        none = torch.zeros(len(legal))
        return Step(action + 100 * self.illegal, none, none)


def by_hand(first: bool) -> tuple[int, int]:
    """Play tic-tac-toe with the smallest free cell against the largest one; give the outcome for the former and its number of moves."""
    cells, player, moves = [0] * 9, 1, 0
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    while True:
        mine = (player == 1) == first
        free = [cell for cell in range(9) if not cells[cell]]
        cells[free[0] if mine else free[-1]] = player
        moves += mine
        if any(all(cells[cell] == player for cell in line) for line in lines):
            return (1 if mine else -1), moves
        if len(free) == 1:
            return 0, moves
        player = -player


def test_games_as_played_by_hand() -> None:
    task = BoardDuelConfig(game="tic_tac_toe").build(0)
    rows = task.duel(Script(), Script(last=True), num_games=4)
    for game in range(4):
        outcome, moves = by_hand(first=game % 2 == 0)
        assert float(rows.score[game]) == outcome and int(rows.mask[game].sum()) == moves
        assert rows.terminated[game].nonzero()[:, 0].tolist() == [moves - 1]
        assert not bool(rows.reward[game][: moves - 1].any())


def test_what_is_seen_is_the_movers_side() -> None:
    game = make_game("tic_tac_toe")
    source = Duels(game, Script(last=True), 2, None)
    stones = source.obs["observation"].view(2, 2, 9)
    assert stones[0].sum() == 0 and stones[1, 0].sum() == 0 and stones[1, 1].nonzero()[:, 0].tolist() == [8]
    assert source.obs["action_mask"].sum(dim=1).tolist() == [9, 8]
    source.step(torch.tensor([4, 4]))
    stones = source.obs["observation"].view(2, 2, 9)
    assert stones[:, 0].nonzero().tolist() == [[0, 4], [1, 4]]  # its own stones
    assert stones[:, 1].nonzero().tolist() == [[0, 8], [1, 7], [1, 8]]


def test_a_tactician_wins_and_prevents() -> None:
    game = make_game("connect4")
    state = game.start(3)
    # In the first game the mover has the bottom of columns 0, 1, 2, so that column 3 wins, and the other one three in column 6.
    for moves in ([0, 6, 0], [6, 0, 6], [1, 6, 1], [6, 1, 5], [2, 6, 3], [6, 3, 2]):
        state = game.play(state, np.array(moves))
    obs = seen(game, state)
    weight = Tactician(game).weights(obs)
    assert weight[0].nonzero()[:, 0].tolist() == [3]
    for row in range(3):
        wins, prevented = threats(game, state, row, 1), threats(game, state, row, -1)
        expected = wins or prevented or list(range(7))
        assert weight[row].nonzero()[:, 0].tolist() == expected, row


def threats(game: Any, state: Any, row: int, whose: int) -> list[int]:
    """Columns in which a stone of whose (1: the mover) makes four, by looking at every four cells."""
    cells, found = state.cells[row] * int(state.player[row]) * whose, []
    for column in range(7):
        if cells[0, column]:
            continue
        depth = max(r for r in range(6) if cells[r, column] == 0)
        board = cells.copy()
        board[depth, column] = 1
        lines = [
            [(r + k * dr, c + k * dc) for k in range(4)] for r in range(6) for c in range(7) for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1))
        ]
        inside = [line for line in lines if all(0 <= r < 6 and 0 <= c < 7 for r, c in line)]
        if any(all(board[r, c] == 1 for r, c in line) for line in inside):
            found.append(column)
    return found


def test_players_by_rules_are_in_order() -> None:
    task = BoardDuelConfig(num_eval_games=60).build(0)
    generator = torch.Generator().manual_seed(0)
    assert chance(task.duel(Tactician(task.game), Anything(), num_games=60, generator=generator)) > 0.8
    found = task.evaluate(task.build_policy())
    assert 0.2 < found["chance_anything"] < 0.8 and found["chance_tactician"] < 0.4


def test_demonstrations_are_the_tacticians_moves() -> None:
    task = BoardDuelConfig(num_games=6).build(0)
    shown = task.demonstrations()
    assert shown.imitate is not None and not bool(shown.mask.any()) and bool(shown.imitate[:, 0].all())
    obs: Any = shown.obs
    for row, step in shown.imitate.nonzero().tolist():
        weight = Tactician(task.game).weights({name: leaf[row, step][None] for name, leaf in obs.items()})
        assert float(weight[0, shown.action[row, step]]) > 0


def test_illegal_moves_are_refused_by_whose_they_are() -> None:
    task = BoardDuelConfig(game="tic_tac_toe").build(0)
    with pytest.raises(ValueError, match=r"the opponent: chose 10\d in game 0, which is illegal"):
        task.duel(task.build_policy(), Script(illegal=True), num_games=2)
    with pytest.raises(ValueError, match=r"the policy: chose 100 in game 0, which is illegal"):
        task.duel(Script(illegal=True), Anything(), num_games=2)
    with pytest.raises(ValueError, match="greedy baseline: expected none"):
        task.rollout(task.build_policy(), greedy_baseline=True)
