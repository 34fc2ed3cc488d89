"""Tapes: hand-written heads solve all four problems, the rules step by step, the curriculum, exact resume, bad input and the drawing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.tasks.memory.curriculum import Curriculum
from seqrl.tasks.memory.names import TAPES
from seqrl.tasks.memory.tapes import ManyTapes, OneTape

ROOT = Path(__file__).parents[3]
STAY, LEFT, RIGHT, UP, DOWN = range(5)
BLANK = 5


def one_tape(given: list[list[int]], answer: list[int], **options: Any) -> ManyTapes:
    """An instance by hand, its head at the first cell."""
    envs = ManyTapes(1, **options)
    envs.reset(seed=0)
    games = envs.games
    games.cells[:] = games.problem.alphabet
    games.cells[0, :, 1 : 1 + len(given[0])] = given
    games.answer[0, : len(answer)], games.num_answered[:], games.num_given[:] = answer, len(answer), len(given[0])
    return envs


def step(envs: ManyTapes, move: int, write: int = 0, symbol: int = 0) -> tuple[float, bool]:
    _, reward, ended, _, _ = envs.step(np.array([[move, write, symbol]]))
    return float(reward[0]), bool(ended[0])


def copying(cells: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Write what is below the head, to the blank."""
    place = 1
    while True:
        yield RIGHT, 1, cells[0, place]
        place += 1


def reversing(cells: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Go to the blank, then back and write."""
    place = 1
    while cells[0, place] != BLANK:
        yield RIGHT, 0, 0
        place += 1
    yield LEFT, 0, 0
    while True:
        place -= 1
        yield LEFT, 1, cells[0, place]


def repeating(cells: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Read the number, write all that follows, go back, and again."""
    times, place = cells[0, 1] + 1, 2
    yield RIGHT, 0, 0
    while True:
        while cells[0, place] != BLANK:
            yield RIGHT, 1, cells[0, place]
            place += 1
        times -= 1
        if not times:
            yield STAY, 1, BLANK
        while cells[0, place - 1] != BLANK:
            yield LEFT, 0, 0
            place -= 1
        yield RIGHT, 0, 0  # over the number
        place += 1


def adding(cells: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Read one digit, then the one below or above it, write their sum, keep the carry."""
    row, place, carry, base = 0, 1, 0, BLANK
    while cells[0, place] != BLANK:
        first = cells[row, place]
        yield (UP if row else DOWN), 0, 0
        row = 1 - row
        total = first + cells[row, place] + carry
        yield RIGHT, 1, total % base
        carry, place = total // base, place + 1
    yield STAY, 1, carry
    yield STAY, 1, BLANK


BY_HAND = {"copy": copying, "reverse": reversing, "repeat_copy": repeating, "addition": adding}


@pytest.mark.parametrize("problem", BY_HAND)
@pytest.mark.parametrize("length", [1, 2, 7, 20])
def test_hand_written_heads_earn_all_there_is(problem: Any, length: int) -> None:
    for seed in range(8):
        env = OneTape(problem=problem, min_length=length, max_length=length, tape_length=23, curriculum=False)
        env.reset(seed=seed)
        total, steps = 0.0, 0
        for action in BY_HAND[problem](env.games.cells[0]):
            _, reward, ended, _, _ = env.step(np.array(action))
            total, steps = total + reward, steps + 1
            if ended:
                break
        assert total == pytest.approx(1.0) and ended


@pytest.mark.parametrize(
    ("problem", "given", "answer"),
    [
        ("copy", [3, 1, 4], [3, 1, 4, BLANK]),
        ("reverse", [3, 1, 4], [4, 1, 3, BLANK]),
        ("repeat_copy", [1, 3, 0, 4], [3, 0, 4, 3, 0, 4, BLANK]),
        ("addition", [[3, 1, 4], [4, 4, 0]], [2, 1, 0, 1, BLANK]),  # 3 + 5 + 4·25 and 4 + 4·5 = 132, in base 5 from the lowest digit on
    ],
)
def test_answers_by_hand(problem: Any, given: Any, answer: list[int]) -> None:
    from seqrl.tasks.memory.problems import Problem

    found, wanted = Problem(problem), np.atleast_2d(given)
    for seed in range(20_000):  # draws until this instance comes
        drawn = found.draw(np.full(64, 3), 4, np.random.default_rng(seed))
        same = (drawn.given[:, :, : wanted.shape[1]] == wanted).all(axis=(1, 2))
        if same.any():
            row = int(same.argmax())
            assert drawn.answer[row, : len(answer)].tolist() == answer and drawn.num_answered[row] == len(answer)
            assert (drawn.answer[row, len(answer) :] == BLANK).all() and (drawn.given[row, :, wanted.shape[1] :] == BLANK).all()
            return
    raise AssertionError("never drawn")


def test_sums_are_those_of_whole_numbers() -> None:
    from seqrl.tasks.memory.problems import Problem

    lengths = np.arange(1, 13)
    drawn = Problem("addition", alphabet=3).draw(lengths, 12, np.random.default_rng(1))
    for given, answer, count, n in zip(drawn.given, drawn.answer, drawn.num_answered, lengths, strict=True):
        numbers = [int("".join(map(str, digits[:n][::-1])), 3) for digits in given]
        assert int("".join(map(str, answer[: n + 1][::-1])), 3) == sum(numbers) and count == n + 2 and answer[n + 1] == 3


def test_a_right_symbol_earns_its_share_and_a_wrong_one_ends_it() -> None:
    envs = one_tape([[2, 4]], [2, 4, BLANK])
    assert [step(envs, RIGHT, 1, 2), step(envs, LEFT), step(envs, RIGHT, 1, 4)] == [(1 / 3, False), (0.0, False), (1 / 3, False)]
    assert step(envs, STAY, 1, BLANK) == (1 / 3, True)
    envs = one_tape([[2, 4]], [2, 4, BLANK], mistake_cost=0.5)
    assert [step(envs, STAY, 1, 2), step(envs, STAY, 1, 3)] == [(1 / 3, False), (-0.5 / 3, True)]
    assert step(one_tape([[2, 4]], [2, 4, BLANK]), STAY, 1, 4) == (0.0, True)


def test_the_head_stays_on_the_tape_and_time_ends() -> None:
    envs = one_tape([[2, 4]], [2, 4, BLANK], tape_length=12)
    for place in (0, 0, 1):
        step(envs, RIGHT if place else LEFT)
        assert envs.games.place[0].tolist() == [0, place]
    ends = [step(envs, RIGHT)[1] for _ in range(12)]  # three steps for each of two cells and three symbols
    assert envs.games.place[0, 1] == 11 and ends == [False] * 11 + [True]
    envs = one_tape([[2, 4], [0, 1]], [2, 0, 1, BLANK], problem="addition")
    for move, place in ((DOWN, [1, 1]), (DOWN, [1, 1]), (UP, [0, 1]), (UP, [0, 1])):
        step(envs, move)
        assert envs.games.place[0].tolist() == place


def test_what_is_seen() -> None:
    envs = one_tape([[2, 4]], [2, 4, BLANK])
    seen = envs.step(np.array([[RIGHT, 1, 2]]))[0][0]
    assert seen.tolist() == [0, 0, 0, 0, 1, 0] + [0, 0, 1] + [1]
    assert envs.step(np.array([[LEFT, 0, 0]]))[0][0].tolist() == [0, 0, 1, 0, 0, 0] + [0, 1, 0] + [0]
    assert ManyTapes(1).reset(seed=0)[0][0, 6:].tolist() == [0] * 4


@pytest.mark.parametrize(("problem", "places"), [("copy", [1, 2, 3, 4]), ("repeat_copy", [1, 2, 3, 4, 5])])
def test_heads_may_begin_anywhere_up_to_the_blank(problem: Any, places: list[int]) -> None:
    envs = ManyTapes(500, problem=problem, min_length=3, max_length=3, exploring_starts=True)
    envs.reset(seed=0)
    assert sorted(set(envs.games.place[:, 1].tolist())) == places


def test_a_memory_keeps_what_is_read_and_gives_it_back() -> None:
    envs = one_tape([[2, 4]], [4, 2, BLANK], memory=True, forward_only=True)
    assert envs.single_action_space.nvec.tolist() == [3, 2, 6, 3, 2] and envs.single_observation_space.shape == (16,)

    def act(*action: int) -> tuple[list[float], float, bool]:
        seen, reward, ended, _, _ = envs.step(np.array([action]))
        return seen[0].tolist(), float(reward[0]), bool(ended[0])

    def symbol(number: int) -> list[int]:
        return [int(number == other) for other in range(6)]

    seen, _, _ = act(RIGHT, 0, 0, STAY, 1)  # stores 2 and stays on it
    assert seen[-6:] == symbol(2) and seen[:6] == symbol(4)
    assert act(LEFT, 0, 0, RIGHT, 0)[0][-6:] == symbol(BLANK) and envs.games.place[0].tolist() == [0, 2]  # the input never goes back
    seen, _, _ = act(RIGHT, 0, 0, STAY, 1)
    assert seen[-6:] == symbol(4) and envs.games.memory[0, :4].tolist() == [BLANK, 2, 4, BLANK]
    assert act(STAY, 1, 4, LEFT, 0)[1:] == (1 / 3, False)
    seen, reward, ended = act(STAY, 1, 2, LEFT, 0)
    assert (reward, ended) == (1 / 3, False) and seen[-6:] == symbol(BLANK)
    assert act(STAY, 1, BLANK, LEFT, 1)[1:] == (1 / 3, True) and envs.games.memory[0, 0] == BLANK
    assert act(STAY, 0, 0, STAY, 0)[0][-6:] == symbol(BLANK) and (envs.games.memory == BLANK).all()  # a new instance


def test_reversing_with_a_memory_earns_all_there_is() -> None:
    for length in (1, 5, 20):
        env = OneTape(
            problem="reverse", min_length=length, max_length=length, tape_length=23, curriculum=False, memory=True, forward_only=True
        )
        env.reset(seed=length)
        actions = [(RIGHT, 0, 0, RIGHT, 1)] * length + [(STAY, 0, 0, LEFT, 0)]
        actions += [(STAY, 1, int(symbol), LEFT, 0) for symbol in env.games.answer[0, : length + 1]]
        steps = [env.step(np.array(action)) for action in actions]
        assert sum(step[1] for step in steps) == pytest.approx(1.0) and steps[-1][2]
        assert all(seen[-6 + symbol] for (seen, *_), (_, _, symbol, _, _) in zip(steps[length:-1], actions[length + 1 :], strict=True))


def test_heads_that_begin_further_on_find_what_came_before_in_the_memory() -> None:
    envs = ManyTapes(200, problem="reverse", min_length=3, max_length=3, memory=True, forward_only=True, exploring_starts=True)
    envs.reset(seed=0)
    games = envs.games
    for cells, memory, place, at in zip(games.cells[:, 0], games.memory, games.place[:, 1], games.memory_place, strict=True):
        assert at == place and memory[:place].tolist() == cells[:place].tolist() and (memory[place:] == BLANK).all()


def test_predicted_symbols_are_written_by_the_greatest_logit() -> None:
    envs = one_tape([[2, 4]], [2, 4, BLANK], symbols="predicted")
    logits = np.array([[0.1, 0.2, 0.5, -3.0, 0.4, 0.0]], dtype=np.float32)  # symbol 2
    assert envs.single_action_space[0].n == 6 and envs.single_observation_space.shape == (11,)
    seen, reward, ended, _, _ = envs.step((np.array([RIGHT]), logits))  # does not write, but is told what was right
    assert seen[0].tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0] and (reward[0], ended[0]) == (0, False)
    seen, reward, ended, _, _ = envs.step((np.array([3 + LEFT]), logits))  # three moves, then three that write as well
    assert seen[0].tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1] and (reward[0], ended[0]) == (pytest.approx(1 / 3), False)
    seen, reward, ended, _, _ = envs.step((np.array([3 + STAY]), logits))
    assert seen[0, 0] == 4 and (reward[0], ended[0]) == (0, True)
    assert envs.step((np.array([STAY]), logits))[0][0, 0] == 0  # a new instance has no step before


def test_predicted_symbols_learn_by_cross_entropy() -> None:
    envs = ManyTapes(2, symbols="predicted")
    prediction = envs.single_observation_space.prediction
    logits = torch.tensor([[[2.0, 0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0]]], requires_grad=True)
    loss = prediction.loss(logits, torch.tensor([[[0.0], [4.0]]]))
    rest = [np.log(np.exp(2) + 5) - 2, np.log(np.e + 5)]
    np.testing.assert_allclose(loss.detach().numpy(), [rest], rtol=1e-6)
    policy = (
        ControlConfig(TAPES, environment_options={"symbols": "predicted"}, policy=ControlPolicyConfig(hidden_sizes=(8,)))
        .build(0)
        .build_policy()
    )
    shown = torch.from_numpy(envs.reset(seed=0)[0])
    changed = shown.clone()
    changed[:, 0] = 3  # what was right is not seen
    for one, two in zip(policy.act(shown, greedy=True).action, policy.act(changed, greedy=True).action, strict=True):
        assert torch.equal(one, two)


def test_evaluations_are_longer_and_from_the_first_cell() -> None:
    options = {"test_length": 20, "exploring_starts": True, "mistake_cost": 1.0}
    envs = GymnasiumFactory(TAPES, options=options).make(50, training=False)
    envs.reset(seed=0)
    games = envs.unwrapped.games
    assert (games.num_given == 20).all() and (games.place == [0, 1]).all()
    envs.step(np.stack([np.zeros(50), np.ones(50), np.full(50, BLANK)], axis=1).astype(int))
    metrics = OneTape.describe_episodes(torch.tensor([1.0, 0.25]), torch.tensor([21, 6]))
    assert metrics == {"symbol_error": 0.375, "solved": 0.5}
    assert OneTape.describe_episodes(torch.tensor([21 * (1 / 21)] * 3), torch.tensor([21] * 3)) == {"symbol_error": 0.0, "solved": 1.0}


def test_the_curriculum_rises_when_nine_of_ten_are_right() -> None:
    curriculum, random = Curriculum(1, 10), np.random.default_rng(0)
    drawn = curriculum.draw(20_000, random)
    assert (drawn <= 2).mean() == pytest.approx(0.9 + 0.1 * 0.2, abs=0.01) and drawn.max() == 10
    curriculum.note(np.full(200, 2), np.ones(200))
    assert curriculum.level == 1  # of another length
    curriculum.note(np.ones(113, dtype=int), np.ones(113))  # 1 - 0.98^113 = 0.898
    assert curriculum.level == 1
    curriculum.note(np.ones(2, dtype=int), np.ones(2))
    assert curriculum.level == 2 and curriculum.state[1] == 0
    assert Curriculum(3, 10, rising=False).draw(1000, random).tolist().count(10) > 90


def test_passes_gymnasiums_checks() -> None:
    from gymnasium.utils.env_checker import check_env

    for options in ({"problem": "copy"}, {"problem": "addition"}, {"symbols": "predicted"}, {"memory": True}):
        check_env(gym.make(TAPES, **options, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("symbols", ["chosen", "predicted"])
def test_a_saved_state_goes_on_as_before(symbols: Any) -> None:
    envs, random = [ManyTapes(4, symbols=symbols, memory=True) for _ in (0, 1)], np.random.default_rng(0)
    actions: list[Any] = [random.integers([3, 2, 6, 3, 2], size=(4, 5)) for _ in range(400)]
    if symbols == "predicted":
        actions = [(random.integers(36, size=4), random.normal(size=(4, 6))) for _ in range(400)]
    envs[0].reset(seed=1)
    for action in actions[:200]:
        envs[0].step(action)
    envs[1].reset(seed=2)
    envs[1].load_state_dict(envs[0].state_dict())
    for action in actions[200:]:
        for one, two in zip(envs[0].step(action)[:4], envs[1].step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)
    for name, array in envs[0].games.state.items():
        np.testing.assert_array_equal(array, envs[1].games.state[name])


def test_a_run_in_halves_ends_with_the_same_weights(tmp_path: Path) -> None:
    common = ["--task.num_envs=4", "--task.num_steps=8", "--task.num_eval_episodes=2", f"--runs_folder={tmp_path}", "--save_every=2"]
    common += ["--trainer.optimiser.schedule=constant", "--eval_every=0", "--num_threads=1"]
    for name, updates in (("whole", 4), ("halves", 2)):
        train(read_config("tapes_copy", [*common, f"--name={name}", f"--num_updates={updates}"]), display=False)
    resume(tmp_path / "halves", ["--num_updates=4"], display=False)
    (_, _, whole, _), (_, _, halves, _) = (load(tmp_path / name) for name in ("whole", "halves"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, halves.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problem": "sort"}, "problem: expected one of copy, reverse, repeat_copy, addition, got 'sort'"),
        ({"alphabet": 1}, "alphabet: expected at least 2 symbols, got 1"),
        ({"tape_length": 21, "test_length": 20}, "tape_length: expected at least 22 cells for copy of 20 symbols and a blank.*got 21"),
        ({"problem": "repeat_copy", "tape_length": 12}, "tape_length: expected at least 13 cells"),
        ({"problem": "repeat_copy", "repeats": 6}, "repeats: expected 1 to 5, the symbols of the alphabet that tell it, got 6"),
        ({"min_length": 11}, "min_length: expected 1 to max_length, 10, got 11"),
        ({"test_length": 0}, "test_length: expected at least 1, got 0"),
        ({"mistake_cost": -1.0}, "mistake_cost: expected 0 or more, got -1.0"),
        ({"symbols": "drawn"}, "symbols: expected chosen or predicted, got 'drawn'"),
        ({"ink": 2}, "cannot be made with {'ink': 2}.*see task.environment_options"),
    ],
)
def test_what_is_odd_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GymnasiumFactory(TAPES, options=options).make(2)


def test_the_drawing_shows_where_the_heads_were(tmp_path: Path) -> None:
    envs = one_tape([[2, 4]], [2, 4, BLANK], render_mode="rgb_array")
    step(envs, RIGHT, 1, 2)
    step(envs, STAY)
    step(envs, STAY, 1, 3)
    (frame,) = envs.render() or ()
    cell, top, left, second = 20, 12, 12, 12 + 4 * 20 + 28

    def colour(start: int, column: int, line: int) -> list[int]:
        return frame[top + line * cell + 3, start + column * cell + 3].tolist()

    read, right, wrong, white = [86, 180, 233], [0, 158, 115], [213, 94, 0], [255] * 3
    assert [colour(left, column, 3) for column in range(4)] == [white, read, white, white]
    assert [colour(left, column, 4) for column in range(4)] == [white, white, read, white]
    assert [colour(second, column, 3) for column in range(3)] == [right, white, white]
    assert [colour(second, column, 4) for column in range(3)] == [white] * 3
    assert [colour(second, column, 5) for column in range(3)] == [white, wrong, white]
    task = ControlConfig(TAPES, policy=ControlPolicyConfig(hidden_sizes=(8,))).build(0)
    files = task.sample(task.build_policy(), tmp_path, count=1)
    assert [path.name for path in files] == ["episode_0.png", "episodes.txt"]
    with Image.open(files[0]) as picture:
        assert picture.size[0] > 100


def test_the_drawing_shows_what_the_memory_held() -> None:
    envs = one_tape([[2, 4]], [4, 2, BLANK], memory=True, render_mode="rgb_array")
    for action in ([RIGHT, 0, 0, RIGHT, 1], [RIGHT, 1, 4, LEFT, 0]):
        envs.step(np.array([action]))
    (frame,) = envs.render() or ()
    cell, top, third = 20, 12, 12 + 4 * 20 + 28 + 3 * 20 + 28  # right of the tape and of the answer
    blue, white = [86, 180, 233], [255] * 3
    colours = [[frame[top + line * cell + 3, third + column * cell + 3].tolist() for column in range(3)] for line in (3, 4)]
    assert colours == [[white, blue, white], [white, white, blue]]
    rims = [frame[top + (3 + step) * cell, third + (1 + step) * cell + 10].tolist() for step in range(2)]
    assert rims == [[24, 24, 32], [216, 216, 220]]  # dark where something was stored
    assert frame.shape[1] >= third + 3 * cell + 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"),
    [("tapes_copy", 0.0), ("tapes_reverse", 0.1), ("tapes_reverse_memory", 0.1), ("tapes_repeat_copy", 0.1), ("tapes_addition", 0.3)],
)
def test_programs_are_learned_and_hold_at_twice_the_length(tmp_path: Path, name: str, most: float) -> None:
    result = train(read_config(name, [f"--runs_folder={tmp_path}", "--num_threads=1"]), display=False)
    assert result.evaluation["symbol_error"] <= most
