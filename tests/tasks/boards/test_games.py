"""Rules of board games, held to counts that are known and to rules written anew, one game at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from seqrl.tasks.boards.games import make_game
from seqrl.tasks.boards.go import Go
from seqrl.tasks.boards.lines import LineGame
from seqrl.tasks.boards.rules import BoardGame, Boards, draw


def children(game: BoardGame, state: Boards) -> Boards:
    """Play every legal move of every game."""
    rows, actions = np.nonzero(game.legal(state))
    return game.play(state.rows(rows), actions)


def distinct(state: Boards) -> Boards:
    keys = np.concatenate([state.flat, state.player[:, None]], axis=1)
    return state.rows(np.unique(keys, axis=0, return_index=True)[1])


def random_games(game: BoardGame, count: int, seed: int = 0) -> list[tuple[Boards, NDArray[np.int64]]]:
    """Play at random; give the states and the actions taken in them."""
    random, state, played = np.random.default_rng(seed), game.start(count), []
    while not state.ended.all():
        chance = np.where(game.legal(state), random.random((count, game.num_actions)), -1)
        action = chance.argmax(axis=1)
        played.append((state, action))
        state = game.play(state, action)
    return [*played, (state, np.zeros(count, dtype=np.int64))]


def has_line(cells: NDArray[np.int8], player: int, in_line: int) -> bool:
    """Look for a line the slow way."""
    height, width = cells.shape
    for row, column, (down, right) in product(range(height), range(width), ((0, 1), (1, 0), (1, 1), (1, -1))):
        length = 0
        while 0 <= row < height and 0 <= column < width and cells[row, column] == player:
            length, row, column = length + 1, row + down, column + right
        if length >= in_line:
            return True
    return False


def test_all_games_of_tic_tac_toe() -> None:
    """255,168 games: 131,184 won by who begins, 77,904 by the other, 46,080 drawn (known counts)."""
    game = make_game("tic_tac_toe")
    state, ended, winners = game.start(1), 0, []
    while len(state.cells):
        state = children(game, state)
        ended += int(state.ended.sum())
        winners += state.winner[state.ended].tolist()
        state = state.rows(~state.ended)
    assert ended == 255_168
    assert [winners.count(winner) for winner in (1, -1, 0)] == [131_184, 77_904, 46_080]


def test_all_positions_of_tic_tac_toe() -> None:
    game = make_game("tic_tac_toe")
    state, count = game.start(1), 1
    while len(state.cells):
        state = distinct(children(game, state))
        count += len(state.cells)
    assert count == 5_478


def test_positions_of_connect4_by_plies() -> None:
    """Known numbers of positions after so many plies (OEIS A212693)."""
    game = make_game("connect4")
    state, counts = game.start(1), [1]
    for _ in range(6):
        state = distinct(children(game, state))
        counts.append(len(state.cells))
    assert counts == [1, 7, 49, 238, 1120, 4263, 16422]


@pytest.mark.parametrize(("name", "in_line"), [("tic_tac_toe", 3), ("connect4", 4)])
def test_winners_against_a_search_for_lines(name: str, in_line: int) -> None:
    game = make_game(name)
    results = set()
    for state, _ in random_games(game, 60):
        for row in range(60):
            won = [player for player in (1, -1) if has_line(state.cells[row], player, in_line)]
            full = bool((state.cells[row] != 0).all())
            assert state.winner[row] == (won[0] if won else 0), draw(state, row)
            assert state.ended[row] == (bool(won) or full)
            results.add(int(state.winner[row]))
    assert results == {1, 0, -1}


def test_stones_fall_and_ended_games_stay() -> None:
    game = make_game("connect4")
    state = game.start(2)
    for action in (3, 3, 2, 2, 1, 1, 0):
        state = game.play(state, np.array([action, 6 if action == 0 else action]))
    assert state.ended.tolist() == [True, False] and state.winner.tolist() == [1, 0]
    assert draw(state).splitlines()[-2:] == [". O O O . . .", "X X X X . . ."]
    after = game.play(state, np.array([99, 4]))
    assert (after.cells[0] == state.cells[0]).all() and after.num_moves.tolist() == [7, 8]
    assert not game.legal(after)[0].any()


@pytest.mark.parametrize("game", [make_game("tic_tac_toe"), make_game("connect4"), make_game("go", 4)], ids=lambda game: game.name)
def test_symmetries_carry_a_game_into_another_of_equal_result(game: BoardGame) -> None:
    played = random_games(game, 20, seed=1)
    for cells, actions in zip(game.cell_orders, game.action_orders, strict=True):
        mirrored = game.start(20)
        for state, action in played:
            shown = state.flat[:, cells].reshape(state.cells.shape)
            assert (mirrored.cells == shown).all() and (mirrored.winner == state.winner).all()
            assert (game.legal(mirrored) == game.legal(state)[:, actions]).all()
            mirrored = game.play(mirrored, np.argsort(actions)[action])


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect4", "go"])
def test_planes_are_seen_by_who_is_to_move(name: str) -> None:
    game = make_game(name, 5 if name == "go" else None)
    state = game.play(game.start(1), np.array([2]))
    planes = game.planes(state)
    assert planes.shape == (1, game.num_planes, *game.shape) and planes.dtype == np.float32
    assert planes[0, 0].sum() == 0 and planes[0, 1].sum() == 1
    assert game.planes(game.play(state, np.array([4])))[0, 0].sum() == 1


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 57), (3, 12_675)])
def test_legal_go_positions(size: int, count: int) -> None:
    """Known numbers of legal positions (Tromp and Farnebäck 2006)."""
    boards = np.array(list(product((0, 1, -1), repeat=size * size)), dtype=np.int8).reshape(-1, size, size)
    assert legal_positions(Go(size), boards) == count


@pytest.mark.slow
def test_legal_go_positions_on_4x4() -> None:
    tail = np.array(list(product((0, 1, -1), repeat=10)), dtype=np.int8)
    count = 0
    for head in product((0, 1, -1), repeat=6):
        boards = np.concatenate([np.broadcast_to(np.array(head, dtype=np.int8), (len(tail), 6)), tail], axis=1)
        count += legal_positions(Go(4), boards.reshape(-1, 4, 4))
    assert count == 24_318_165


def legal_positions(game: Go, boards: NDArray[np.int8]) -> int:
    return int((game.breathing(boards) == (boards != 0)).all(axis=(1, 2)).sum())


def neighbours(size: int, cell: int) -> list[int]:
    row, column = divmod(cell, size)
    around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
    return [r * size + c for r, c in around if 0 <= r < size and 0 <= c < size]


def chain_and_liberties(board: list[int], size: int, cell: int) -> tuple[set[int], set[int]]:
    chain, liberties, todo = {cell}, set(), [cell]
    while todo:
        for beside in neighbours(size, todo.pop()):
            if board[beside] == 0:
                liberties.add(beside)
            elif board[beside] == board[cell] and beside not in chain:
                chain.add(beside)
                todo.append(beside)
    return chain, liberties


def slow_move(board: list[int], size: int, cell: int, player: int) -> tuple[list[int], set[int]] | None:
    """Play as one learns Go: give the board and the stones taken; None for suicide."""
    board, taken = board.copy(), set()
    board[cell] = player
    for beside in neighbours(size, cell):
        if board[beside] == -player:
            chain, liberties = chain_and_liberties(board, size, beside)
            if not liberties:
                taken |= chain
    for stone in taken:
        board[stone] = 0
    return (board, taken) if chain_and_liberties(board, size, cell)[1] else None


def slow_area(board: list[int], size: int) -> int:
    area, seen = sum(board), set()
    for cell in range(size * size):
        if board[cell] == 0 and cell not in seen:
            region, todo, colours = {cell}, [cell], set()
            while todo:
                for beside in neighbours(size, todo.pop()):
                    if board[beside]:
                        colours.add(board[beside])
                    elif beside not in region:
                        region.add(beside)
                        todo.append(beside)
            seen |= region
            area += len(region) * (colours.pop() if len(colours) == 1 else 0)
    return area


@pytest.mark.parametrize(("size", "count"), [(3, 40), (5, 12)])
def test_go_against_rules_written_for_one_game(size: int, count: int) -> None:
    game, seen_ko, seen_take = Go(size), 0, 0
    played = random_games(game, count, seed=2)
    for (state, action), (after, _) in zip(played, played[1:], strict=False):
        legal = game.legal(state)
        for row in np.flatnonzero(~state.ended):
            board, player = state.cells[row].ravel().tolist(), int(state.player[row])
            moves = [slow_move(board, size, cell, player) if board[cell] == 0 else None for cell in range(size * size)]
            expected = [move is not None and cell != state.ko[row] for cell, move in enumerate(moves)]
            assert legal[row].tolist() == [*expected, True]
            cell = int(action[row])
            if cell == size * size:
                assert after.cells[row].ravel().tolist() == board and after.ko[row] == -1
                continue
            new, taken = moves[cell]  # type: ignore[misc]
            chain, liberties = chain_and_liberties(new, size, cell)
            ko = next(iter(taken)) if len(taken) == 1 and len(chain) == 1 and len(liberties) == 1 else -1
            assert after.cells[row].ravel().tolist() == new and after.ko[row] == ko
            seen_ko, seen_take = seen_ko + (ko >= 0), seen_take + bool(taken)
    assert seen_ko and seen_take
    last = played[-1][0]
    for row in range(count):
        area = slow_area(last.cells[row].ravel().tolist(), size)
        assert game.area(last.cells)[row] == area and last.winner[row] == np.sign(area - 0.5)


def test_go_ends_by_two_passes_and_by_its_limit() -> None:
    game = Go(2)
    state = game.play(game.play(game.start(1), np.array([4])), np.array([4]))
    assert state.ended[0] and state.winner[0] == -1  # komi
    assert all(state.num_moves.max() <= game.max_moves for state, _ in random_games(game, 30, seed=3))


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect4", "go"])
def test_no_games_at_all(name: str) -> None:
    game = make_game(name)
    state = game.play(game.start(0), np.zeros(0, dtype=np.int64))
    assert game.legal(state).shape == (0, game.num_actions) and game.planes(state).shape == (0, game.num_planes, *game.shape)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="1 to 9 cells a side, got 10"):
        make_game("go", 10)
    with pytest.raises(ValueError, match="1 to 9 cells a side, got 4.5"):
        Go(4.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has one size; got 8"):
        make_game("connect4", 8)
    with pytest.raises(ValueError, match="expected one of tic_tac_toe, connect4, go, got 'chess'"):
        make_game("chess")
    with pytest.raises(ValueError, match="at least 4 x 4 cells"):
        LineGame("small", height=3, width=7, in_line=4)
    game = make_game("tic_tac_toe")
    state = game.play(game.start(2), np.array([0, 4]))
    with pytest.raises(ValueError, match=r"legal move in game 1 of tic_tac_toe, one of \[0, 1, 2, 3, 5, 6, 7, 8\], got 4 \(b2\)"):
        game.play(state, np.array([1, 4]))
    with pytest.raises(ValueError, match="got 9, which is none of 0 to 8"):
        game.play(state, np.array([9, 0]))
    with pytest.raises(ValueError, match="got -1, which is none"):
        game.play(state, np.array([-1, 0]))
    with pytest.raises(ValueError, match=r"integer actions of shape \[2\]"):
        game.play(state, np.array([1]))
    with pytest.raises(ValueError, match="integer actions"):
        game.play(state, np.array([1.0, 2.0]))
