"""Tapes as an environment: a head reads the input tape, another one writes the answer; symbols are actions, like moves, or predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.control.perception import Perceived, Prediction
from seqrl.tasks.control.watching import WHOLE
from seqrl.tasks.memory.curriculum import Curriculum
from seqrl.tasks.memory.drawing import Kept, Visit, draw_visits
from seqrl.tasks.memory.problems import Name, Numbers, Problem

# Rows and columns that the head moves by: stay, left, right, and where the tape has two rows, up and down.
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]])
METADATA = {"render_modes": ["rgb_array"], "render_fps": 4, WHOLE: True}
Flags = NDArray[np.bool_]


class SymbolLoss:
    """The cross-entropy of predicted symbols."""

    def torch(self, prediction: Tensor, target: Tensor, batch_shape: tuple[int, ...]) -> Tensor:
        """Give the losses [*batch_shape] of logits [*batch_shape, K + 1] for symbols [*batch_shape]."""
        return F.cross_entropy(prediction.flatten(0, -2), target.flatten(), reduction="none").view(batch_shape)


class Tapes:
    """N instances of a problem, each with a head over its input; see `seqrl.tasks.control.games.Games`.

    Before and after what is given stand blank cells. The head begins at the first cell of the upper row, and stays where a move
    would lead it off the tape. In each step the controller says (move, write, symbol): with write = 1 the symbol is the next one of
    its answer, and then the head moves. A right symbol earns 1 / (number of symbols to write), so that a whole answer earns 1
    whatever its length. A wrong symbol ends the episode, and so does its time: three steps for each cell and each symbol to write.

    What is seen is the symbol below the head, the move before, and whether something was written; each one-hot.

    With a memory tape, as long as that of the input and blank at first, the controller also says (move, store) of its head, which
    begins at the second cell: with store = 1 the symbol below the input's head is stored below it, and then it moves. The symbol
    below it is seen, too.

    With `symbols` of "predicted" the controller chooses all but the symbol as one number, move + moves * (write + 2 * (...)), and says
    logits of the next symbol of its answer in every step, the greatest of which is what it writes. It learns them by their
    cross-entropy, not by REINFORCE; which symbol was right stands in front of the next observation, hidden from the policy.

    Attributes:
        cells: [N, R, W] of the input tapes.
        answer, num_answered: see `seqrl.tasks.memory.problems.Instances`.
        num_given: [N] symbols of the instances.
        num_written: [N] symbols of the answer so far.
        place: [N, 2] row and column of the head.
        last: [N, 2] the last move, and whether something was written; -1 and 0 before the first step.
        memory, memory_place: [N, M] cells of the memory tape, and where its head is, [N].
        wanted: [N] the symbol that was next in the last step, 0 before the first one.
        time: [N] steps so far.
        curriculum: draws the lengths.

    Source: Zaremba & Sutskever 2015 (Reinforcement learning neural Turing machines), the input and output tapes; what ends an episode:
    Zaremba et al. 2016 (Learning simple algorithms from examples).
    Differs from: the first paper, whose memory holds vectors that are learned by backpropagation, which rewards by the log-probability of
    the right symbol, goes on after a wrong one, and learns symbols where it writes alone; and from the second, which learns values of
    actions.
    """

    def __init__(
        self,
        num_tapes: int,
        problem: Name = "copy",
        alphabet: int = 5,
        max_length: int = 10,
        min_length: int = 1,
        test_length: int | None = None,
        tape_length: int = 32,
        repeats: int = 3,
        curriculum: bool = True,
        mistake_cost: float = 0.0,
        exploring_starts: bool = False,
        symbols: Literal["chosen", "predicted"] = "chosen",
        memory: bool = False,
        forward_only: bool = False,
        *,
        drawn: bool = False,
    ) -> None:
        self.problem = Problem(problem, alphabet, repeats)
        if not 1 <= min_length <= max_length:
            raise ValueError(f"min_length: expected 1 to max_length, {max_length}, got {min_length}")
        if test_length is not None and test_length < 1:
            raise ValueError(f"test_length: expected at least 1, got {test_length}")
        if symbols not in ("chosen", "predicted"):
            raise ValueError(f"symbols: expected chosen or predicted, got {symbols!r}")
        if mistake_cost < 0:
            raise ValueError(f"mistake_cost: expected 0 or more, got {mistake_cost}")
        longest = max(max_length, test_length or 0)
        least = self.problem.num_given(longest) + 2
        if tape_length < least:
            raise ValueError(
                f"tape_length: expected at least {least} cells for {problem} of {longest} symbols and a blank at each end, got "
                f"{tape_length}; give a longer tape, or a smaller max_length or test_length"
            )
        self.curriculum = Curriculum(min_length, max_length, rising=curriculum)
        self._exploring_starts, self._mistake_cost, self._longest, self.num_moves = (
            exploring_starts,
            mistake_cost,
            max_length,
            3 if self.problem.num_rows == 1 else 5,
        )
        shape = num_tapes, self.problem.num_rows, tape_length
        self.cells = np.full(shape, alphabet, dtype=np.int64)
        self.answer = np.zeros((num_tapes, self.problem.most_answered(max_length)), dtype=np.int64)
        self.num_answered, self.num_given, self.num_written, self.time = (np.zeros(num_tapes, dtype=np.int64) for _ in range(4))
        self.place, self.last = (np.zeros((num_tapes, 2), dtype=np.int64) for _ in range(2))
        self.wanted = np.zeros(num_tapes, dtype=np.int64)
        self._drawn, self.visits = drawn, [list[Visit]() for _ in range(num_tapes)]
        self.memory = np.full((num_tapes, tape_length if memory else 0), alphabet, dtype=np.int64)
        self.memory_place = np.zeros(num_tapes, dtype=np.int64)
        self._forward_only, self._choices = forward_only, [self.num_moves, 2, *([3, 2] if memory else [])]
        self._predicted = symbols == "predicted"
        self.observation_space, self.action_space = self._spaces(alphabet + 1)

    def _spaces(self, num_symbols: int) -> tuple[gym.Space, gym.Space]:
        """Give the spaces of what is seen and of what is done."""
        num_seen = num_symbols * (1 + (self.memory.shape[1] > 0)) + self.num_moves + 1
        seen = Box(0.0, 1.0, (num_seen,), dtype=np.float32)
        if not self._predicted:
            return seen, MultiDiscrete([*self._choices[:2], num_symbols, *self._choices[2:]])
        choices, logits = Discrete(int(np.prod(self._choices))), Box(-np.inf, np.inf, (num_symbols,), dtype=np.float32)
        return Perceived(Prediction(logits, Discrete(num_symbols), choices, SymbolLoss()), seen), Tuple((choices, logits))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next step depends on, the curriculum's level included."""
        names = ["cells", "answer", "num_answered", "num_given", "num_written", "place", "last", "time"]
        names += [
            name for name, used in (("wanted", self._predicted), ("memory", self.memory.size), ("memory_place", self.memory.size)) if used
        ]
        return {name: getattr(self, name) for name in names} | {"curriculum": self.curriculum.state}

    def start(self, random: np.random.Generator, rows: Flags) -> None:
        """Begin new instances in some rows [N]."""
        count = int(rows.sum())
        if not count:
            return
        self.num_given[rows] = lengths = self.curriculum.draw(count, random)
        drawn = self.problem.draw(lengths, self._longest, random)
        self.cells[rows, :, 1 : 1 + drawn.given.shape[2]] = drawn.given
        self.answer[rows], self.num_answered[rows] = drawn.answer, drawn.num_answered
        self.num_written[rows] = self.time[rows] = self.wanted[rows] = 0
        self.place[rows], self.last[rows] = (0, 1), (-1, 0)
        if self._exploring_starts:
            self.place[rows, 1] = random.integers(1, 2 + self.problem.num_given(0) + lengths)
        self.memory_place[rows] = self.place[rows, 1]
        if self.memory.shape[1]:
            # What has been passed over is there already, since a head that moves forward only could not store it any more.
            passed = np.arange(self.memory.shape[1]) < self.place[rows, 1:]
            self.memory[rows] = np.where(passed, self.cells[rows, 0], self.problem.alphabet)
        for row in np.flatnonzero(rows & self._drawn):
            self.visits[row] = []

    def play(self, action: Any, random: np.random.Generator, rows: Flags) -> tuple[NDArray[np.float64], Flags]:
        """Write or not, then move, in some rows; give what was earned, and which answers are over."""
        move, write, symbol, *about_memory = self._parted(action)
        self.wanted[:] = np.take_along_axis(self.answer, self.num_written[:, None].clip(max=self.answer.shape[1] - 1), axis=1)[:, 0]
        writes = rows & (write == 1)
        right = writes & (symbol == self.wanted)
        stores = rows & (about_memory[1] == 1) if about_memory else np.zeros_like(rows)
        at = np.flatnonzero(stores)
        self.memory[at, self.memory_place[at]] = self._below()[at]
        for row in np.flatnonzero(rows & self._drawn):
            line, column, cell = int(self.place[row, 0]), int(self.place[row, 1]), int(self.memory_place[row])
            kept = Kept(cell, int(self.memory[row, cell]), bool(stores[row])) if about_memory else None
            self.visits[row].append(Visit(line, column, int(symbol[row]) if writes[row] else None, bool(right[row]), kept))
        self.num_written += right
        self.time += rows
        whole = rows & (self.num_written == self.num_answered)
        out_of_time = self.time >= 3 * (self.problem.num_given(1) - 1 + self.num_given * self.problem.num_rows + self.num_answered)
        ended = whole | (writes & ~right) | (rows & out_of_time)
        self.curriculum.note(self.num_given[ended], whole[ended])
        last_place = np.array(self.cells.shape[1:]) - 1
        if about_memory:
            moved = np.clip(self.memory_place + MOVES[about_memory[0], 1], 0, self.memory.shape[1] - 1)
            self.memory_place = np.where(rows, moved, self.memory_place)
        steps = MOVES[move].clip(0) if self._forward_only else MOVES[move]
        self.place = np.where(rows[:, None], np.clip(self.place + steps, 0, last_place), self.place)
        self.last = np.where(rows[:, None], np.stack([move, write], axis=1), self.last)
        return (right - self._mistake_cost * (writes & ~right)) / self.num_answered, ended

    def seen(self) -> NDArray[np.float32]:
        """Give the symbol below each head, the move before and whether it wrote, [N, K + 1 + moves + 1]; a target stands in front."""
        count = len(self.num_given)
        symbols, moves = np.arange(self.problem.alphabet + 1), np.arange(self.num_moves)
        parts = [self._below()[:, None] == symbols, self.last[:, :1] == moves, self.last[:, 1:] == 1]
        if self.memory.shape[1]:
            parts.append(self.memory[np.arange(count), self.memory_place, None] == symbols)
        told = (self.wanted[:, None],) if self._predicted else ()
        return np.concatenate([*told, *parts], axis=1).astype(np.float32)

    def _below(self) -> Numbers:
        """Give the symbol below each head, [N]."""
        return self.cells[np.arange(len(self.place)), self.place[:, 0], self.place[:, 1]]

    def _parted(self, action: Any) -> tuple[Numbers, ...]:
        """Give moves, whether something is written, symbols, and of the memory moves and whether something is stored, [N] each."""
        if not self._predicted:
            return tuple(np.asarray(action).T)
        move, write, *about_memory = np.unravel_index(np.asarray(action[0]), self._choices, order="F")
        return move, write, np.asarray(action[1]).argmax(axis=1), *about_memory

    def info(self) -> dict[str, NDArray[Any]]:
        """Give nothing else."""
        return {}

    def draw(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw where the heads of each row have been, and what they wrote."""
        return tuple(
            draw_visits(self.cells[row], self.answer[row, : self.num_answered[row]], visits, blank=self.problem.alphabet)
            for row, visits in enumerate(self.visits)
        )


class OneTape(OneGame):
    """One input tape and one answer, with the options of `Tapes`.

    Args:
        render_mode: "rgb_array" or None.
        options: `problem`, `alphabet`, `repeats`, see `seqrl.tasks.memory.problems.Problem`; `min_length` and `max_length` of what is
            learned from; `test_length`, of all instances of an evaluation, those of training when None; `tape_length`, cells;
            `curriculum`, see `seqrl.tasks.memory.curriculum`, else all lengths alike; `symbols`, "chosen" as actions, or "predicted" and
            learned by backpropagation; `memory`, whether there is a memory tape, and `forward_only`, the input's head stays where it
            would go left or up, see `Tapes`; and while it is learned, `exploring_starts`, heads begin anywhere up to the blank, with what
            stands before in the memory, and `mistake_cost`, what a wrong symbol costs, in right ones.

    Raises:
        ValueError: when a setting is out of range, or the tape too short.
    """

    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(Tapes(1, **options, drawn=render_mode is not None), render_mode)

    @staticmethod
    def evaluation_options(options: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate on instances of `test_length`, or of any length that is learned from."""
        test = options.get("test_length")
        return {**options, "curriculum": False, "mistake_cost": 0.0, "exploring_starts": False} | (
            {} if test is None else {"min_length": test, "max_length": test}
        )

    @staticmethod
    def describe_episodes(returns: Tensor, lengths: Tensor) -> dict[str, float]:
        """Give the share of symbols that were not written right, all after the first mistake included, and of answers right as a whole."""
        whole = (returns > 1 - 1e-4).double()
        return {"symbol_error": float(1 - returns.mean()) if bool((whole < 1).any()) else 0.0, "solved": float(whole.mean())}


class ManyTapes(ManyGames):
    """Many tapes that step at once, with the options of `OneTape` and one curriculum.

    Those that have ended begin anew in their next step.
    """

    metadata = {**METADATA, **ManyGames.metadata}

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(Tapes(num_envs, **options, drawn=render_mode is not None), num_envs, max_episode_steps, render_mode)
