"""Self-play and evaluation of board games, and what happens when an opponent fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqrl.policies.search_policy import Choice
from seqrl.policies.tree_search import TreeSearchConfig
from seqrl.run import checkpoint
from seqrl.run.cli import main
from seqrl.tasks.boards.games import make_game
from seqrl.tasks.boards.players import every_opening, every_reply, plain_search, play_out, random_moves, random_openings
from seqrl.tasks.boards.rules import Boards
from seqrl.tasks.boards.self_play import self_play
from seqrl.tasks.boards.solving import Enumeration, FourSolver, hard_positions, keeping_moves
from seqrl.tasks.boards.task import BoardPolicyConfig, BoardsConfig

SMALL = BoardPolicyConfig(8, 1, TreeSearchConfig(num_simulations=4))


class Scripted(torch.nn.Module):
    """Plays cells in a given order; the games differ in which."""

    def __init__(self, orders: list[list[int]]) -> None:
        super().__init__()
        self.orders = orders

    def choose(self, state: Boards, *, greedy: bool = False, generator: Any = None) -> Choice:
        rows = [order for order in self.orders if len(order) > state.num_moves[0]]
        action = np.array([order[state.num_moves[0]] for order in rows])
        some = np.ones(len(rows), dtype=np.float32)
        return Choice(action, -some, 0.5 * some, np.eye(9, dtype=np.float32)[action])


def test_a_game_is_two_rows() -> None:
    orders = [[0, 3, 1, 4, 2], [0, 3, 1, 4, 8, 5]]  # X wins with the upper row; O with the middle one
    rows, end = self_play(make_game("tic_tac_toe"), Scripted(orders), 2)
    assert end.winner.tolist() == [1, -1]
    assert rows.action[rows.mask].tolist() == [0, 1, 2, 0, 1, 8, 3, 4, 3, 4, 5]
    assert rows.mask.sum(dim=1).tolist() == [3, 3, 2, 3]
    assert rows.reward.tolist() == [[0, 0, 1], [0, 0, -1], [0, -1, 0], [0, 0, 1]]
    assert rows.terminated.nonzero().tolist() == [[0, 2], [1, 2], [2, 1], [3, 2]]
    assert rows.group is not None and rows.group.tolist() == [0, 0, 1, 1]
    seen = rows.obs["observation"]  # type: ignore[index,call-overload]
    assert seen.shape == (4, 4, 2, 3, 3)
    assert seen[2, 1].sum(dim=(1, 2)).tolist() == [1, 2] and seen[0, 1].sum(dim=(1, 2)).tolist() == [1, 1]


def brute(game: Any, state: Boards, solver: Enumeration, colour: int) -> tuple[int, int, int]:
    """Walk through all lines one by one, the first keeping move against every reply; count distinct ends."""
    ends: dict[bytes, int] = {}

    def walk(at: Boards) -> None:
        if at.ended[0]:
            ends[at.cells.tobytes()] = int(at.winner[0]) * colour
            return
        moves = np.flatnonzero(game.legal(at)[0])
        if at.player[0] == colour:
            moves = np.flatnonzero(keeping_moves(game, solver, at)[0])[:1]
        for move in moves:
            walk(game.play(at, np.array([move])))

    for row in range(len(state.player)):
        walk(state.rows(slice(row, row + 1)))
    results = list(ends.values())
    return results.count(1), results.count(0), results.count(-1)


def test_every_reply_is_every_reply() -> None:
    game = make_game("tic_tac_toe")
    solver = Enumeration(game)
    openings = every_opening(game, 1)
    assert len(openings.player) == 9 and len(every_opening(game, 2).player) == 72
    for colour in (1, -1):
        counts = every_reply(game, openings, lambda state: keeping_moves(game, solver, state).argmax(axis=1), colour)
        assert counts == brute(game, openings, solver, colour) and counts[2] == 0
    assert every_reply(game, openings, lambda state: game.legal(state).argmax(axis=1), -1)[2] > 0


def test_tic_tac_toe_is_solved() -> None:
    game = make_game("tic_tac_toe")
    solver = Enumeration(game)
    assert len(solver.positions.player) == 5_478 and solver.values(game.start(1)).tolist() == [0]
    # Every answer to a corner but the middle loses.
    corner = game.play(game.start(1), np.array([0]))
    assert np.flatnonzero(keeping_moves(game, solver, corner)[0]).tolist() == [4]


def slow_value(game: Any, state: Boards) -> int:
    if state.ended[0]:
        return int(state.winner[0] * state.player[0])
    return max(-slow_value(game, game.play(state, np.array([move]))) for move in np.flatnonzero(game.legal(state)[0]))


def test_late_positions_of_connect4_are_solved_as_by_looking_at_all_games() -> None:
    game = make_game("connect4")
    state = random_openings(game, 20, 36, np.random.default_rng(5))
    values = FourSolver().values(state)
    assert values.tolist() == [slow_value(game, state.rows(slice(row, row + 1))) for row in range(20)]
    assert set(values.tolist()) == {1, 0, -1}


@pytest.mark.slow
def test_the_solver_is_loaded_from_numbas_cache(tmp_path: Path) -> None:
    """A function that calls itself was compiled and cached without a word, and broke the next process."""
    program = (
        "import numpy as np\n"
        "from seqrl.tasks.boards.games import make_game\n"
        "from seqrl.tasks.boards.players import random_openings\n"
        "from seqrl.tasks.boards.solving import FourSolver\n"
        "print(FourSolver().values(random_openings(make_game('connect4'), 5, 30, np.random.default_rng(0))))\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = [subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True) for _ in range(2)]
    assert [one.returncode for one in found] == [0, 0], found[1].stderr
    assert found[0].stdout == found[1].stdout and list(tmp_path.rglob("*.nbc"))


def test_hard_positions_have_right_and_wrong_moves() -> None:
    game, solver = make_game("connect4"), FourSolver()
    state = hard_positions(game, solver, 30, range(24, 30), np.random.default_rng(0))
    keeps, legal = keeping_moves(game, solver, state), game.legal(state)
    assert len(state.player) == 30 and state.num_moves.min() >= 24 and state.num_moves.max() < 30
    assert keeps.any(axis=1).all() and (legal & ~keeps).any(axis=1).all() and not (keeps & ~legal).any()


def test_plain_search_beats_chance_and_more_of_it_beats_less() -> None:
    game, random = make_game("tic_tac_toe"), np.random.default_rng(0)

    def searching(state: Boards) -> NDArray[np.int64]:
        return plain_search(game, state, random, num_simulations=60)

    end = play_out(game, game.start(40), searching, lambda state: random_moves(game, state, random))
    assert (end.winner == 1).mean() > 0.8 and (end.winner == -1).sum() <= 2


@pytest.mark.parametrize("opponent", ["random", "plain_search"])
def test_an_evaluation_adds_up_and_is_the_same_twice(opponent: str) -> None:
    config = BoardsConfig("connect4", opponent=opponent, opponent_simulations=5, num_eval_games=12, policy=SMALL)
    task = config.build(0)
    found = task.evaluate(task.build_policy())
    assert found["won"] + found["drawn"] + found["lost"] == pytest.approx(1)
    assert found["score"] == pytest.approx(found["won"] + found["drawn"] / 2)
    assert found["lost"] == pytest.approx((found["lost_first"] + found["lost_second"]) / 2)
    assert found == task.evaluate(task.build_policy()) != task.evaluate(task.build_policy(), split="test")
    assert [name for name in found if task.less_is_better(name)] == ["lost", "lost_first", "lost_second"]
    with pytest.raises(ValueError, match="split: expected one of dev, test"):
        task.evaluate(task.build_policy(), split="train")


def test_go_is_played_by_itself() -> None:
    task = BoardsConfig("go", 3, num_games=3, policy=SMALL).build(0)
    rows = task.rollout(task.build_policy(), generator=torch.Generator().manual_seed(0))
    assert rows.batch_size == 6 and (rows.score[:3] == -rows.score[3:]).all()
    metrics = task.pop_metrics()
    assert metrics["episode/count"] == 3 and metrics["progress/num_env_steps"] == float(rows.mask.sum())


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="every_reply is for tic_tac_toe alone"):
        BoardsConfig("connect4", opponent="every_reply")
    with pytest.raises(ValueError, match="1 to 9 cells a side, got 11"):
        BoardsConfig("go", 11)
    with pytest.raises(ValueError, match="opening_moves: expected fewer than the 9 moves"):
        BoardsConfig(opening_moves=9)
    with pytest.raises(ValueError, match="opponent: expected one of random, plain_search, every_reply or module:function, got 'alice'"):
        BoardsConfig(opponent="alice")
    task = BoardsConfig(policy=SMALL).build(0)
    with pytest.raises(ValueError, match="forced"):
        task.rollout(task.build_policy(), num_forced_steps=1)


OPPONENTS = """
import numpy as np

def crashes(game):
    def move(state):
        if state.num_moves[0] > 4:
            raise RuntimeError("out of ideas")
        return game.legal(state).argmax(axis=1)
    return move

def cheats(game):
    return lambda state: np.full(len(state.player), 4)

def nothing(game):
    return None

def fair(game):
    return lambda state: game.legal(state).argmax(axis=1)

asked = []

def unlucky(game):
    asked.append(game)
    def move(state):
        if len(asked) == 2:  # in the second evaluation
            raise RuntimeError("tired")
        return game.legal(state).argmax(axis=1)
    return move
"""
RUN = {
    "name": "played",
    "num_updates": 4,
    "seed": 3,
    "num_threads": 1,
    "eval_every": 2,
    "save_every": 1,
    "task": {
        "type": "boards",
        "num_games": 3,
        "num_eval_games": 4,
        "policy": {"num_channels": 4, "num_blocks": 1, "search": {"num_simulations": 3}},
    },
    "trainer": {"type": "alpha_zero", "gradient_steps": 2, "batch_size": 8, "optimiser": {"precision": "fp32"}},
}


@pytest.mark.parametrize(
    ("opponent", "message"),
    [
        ("crashes", r"task\.opponent: opponents:crashes failed in its move \(RuntimeError: out of ideas\).*set another task\.opponent"),
        ("cheats", r"opponents:cheats failed in its move \(ValueError: play: expected a legal move in game"),
        ("nothing", r"expected opponents:nothing to give a function from games to moves, got a NoneType"),
    ],
)
def test_an_opponent_that_fails_is_named(opponent: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "opponents.py").write_text(OPPONENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    task = BoardsConfig(opponent=f"opponents:{opponent}", policy=SMALL).build(0)
    with pytest.raises(ValueError, match=message):
        task.evaluate(task.build_policy())


def test_a_run_whose_opponent_crashes_keeps_its_checkpoint_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seqrl.run.plots.run_curves", lambda folder: folder)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rivals.py").write_text(OPPONENTS)
    for name, opponent in (("whole", "fair"), ("played", "unlucky")):
        task = RUN["task"] | {"opponent": f"rivals:{opponent}"}  # type: ignore[operator]
        (tmp_path / f"{name}.yaml").write_text(json.dumps(RUN | {"name": name, "runs_folder": str(tmp_path), "task": task}))
    assert main(["train", "whole.yaml", "--quiet", "--allow-code"]) == 0
    assert main(["train", "played.yaml", "--quiet", "--allow-code"]) != 0
    said = capsys.readouterr().err
    assert "rivals:unlucky failed in its move (RuntimeError: tired)" in said and "last checkpoint is" in said
    assert checkpoint.find(tmp_path / "played").name == "step_00000002"
    assert main(["resume", str(tmp_path / "played"), "--quiet", "--allow-code"]) == 0
    first, second = (checkpoint.find(tmp_path / name) for name in ("whole", "played"))
    assert first.name == second.name == "step_00000004"
    assert (first / checkpoint.WEIGHTS).read_bytes() == (second / checkpoint.WEIGHTS).read_bytes()
