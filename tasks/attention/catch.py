"""Catch, seen through glimpses: a ball falls, and a paddle has to be below it; each step the player also chooses where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Tuple
from numpy.typing import NDArray

from seqrl.tasks.control.games import ManyGames, OneGame
from seqrl.tasks.registering import register

if TYPE_CHECKING:
    from seqrl.tasks.attention.retina import Retina

ENVIRONMENT = "seqrl/GlimpseCatch-v0"
BOARD_SIZE, PADDLE_SIZE = 24, 2  # pixels
MOVES = np.array([-1, 0, 1])  # left, stay, right
METADATA = {"render_modes": ["rgb_array"], "render_fps": 6}
STATE = ("ball", "speed", "row", "paddle", "location")

Look = Literal["learned", "random", "centre", "full"]
Action = tuple[NDArray[np.int64], NDArray[np.float32]]


class _Catches:
    """N games: their state, their rules and what is seen of them; see `seqrl.tasks.control.games.Games`.

    The ball's place x is a real number in 0..24, and its pixel the one that x lies in. It starts anywhere in the uppermost row with
    a speed drawn evenly from -max_speed..max_speed pixels a step, and falls by one row a step; at a side wall x and the speed
    are mirrored. The paddle starts anywhere and moves by one pixel, before the ball falls.

    Attributes:
        ball: [N] x, pixels.
        speed: [N] pixels a step to the right.
        row: [N] the ball's.
        paddle: [N] the paddle's left column.
        location: [N, 2] float32, where the last glimpse was taken.
    """

    def __init__(self, num_games: int, glimpse_size: int = 6, num_scales: int = 3, look: Look = "learned", max_speed: float = 1.0) -> None:
        if look not in get_args(Look):
            raise ValueError(f"look: expected one of {', '.join(get_args(Look))}, got {look!r}")
        if not 0 <= max_speed <= BOARD_SIZE:
            raise ValueError(f"max_speed: expected 0 to {BOARD_SIZE} pixels a step, got {max_speed}")
        from seqrl.tasks.attention.retina import Retina  # whose compiler takes a while to load; whoever only asks for the name is spared it

        self.look, self.max_speed = look, max_speed
        self.retina: Retina = Retina(glimpse_size, num_scales)
        self.retina.check(BOARD_SIZE, BOARD_SIZE)
        self.ball, self.speed = np.zeros(num_games), np.zeros(num_games)
        self.row, self.paddle = np.zeros(num_games, dtype=np.int64), np.zeros(num_games, dtype=np.int64)
        self.location = np.zeros((num_games, 2), dtype=np.float32)

        self.action_space = action_space()
        low = np.zeros(BOARD_SIZE**2 if look == "full" else self.retina.num_outputs + 2, dtype=np.float32)
        if look != "full":
            low[-2:] = -1.0
        self.observation_space = Box(low, np.ones_like(low), dtype=np.float32)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next step depends on."""
        return {name: getattr(self, name) for name in STATE}

    def start(self, random: np.random.Generator, games: NDArray[np.bool_]) -> None:
        """Begin some games [N] anew, looking at the middle, or anywhere where the look is random."""
        count = int(games.sum())
        if not count:
            return
        self.ball[games] = random.uniform(0, BOARD_SIZE, count)
        self.speed[games] = random.uniform(-self.max_speed, self.max_speed, count)
        self.paddle[games] = random.integers(BOARD_SIZE - PADDLE_SIZE + 1, size=count)
        self.row[games], self.location[games] = 0, 0.0
        if self.look == "random":
            self.location[games] = random.uniform(-1, 1, (count, 2))

    def play(self, action: Action, random: np.random.Generator, games: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Take a step in some games; give whether the ball was caught as 0 or 1, and whether it is down, [N] each."""
        self.paddle = np.where(games, np.clip(self.paddle + MOVES[action[0]], 0, BOARD_SIZE - PADDLE_SIZE), self.paddle)
        self.row = self.row + games
        ball = np.where(games, self.ball + self.speed, self.ball)
        outside = (ball < 0) | (ball > BOARD_SIZE)
        self.ball = np.where(ball < 0, -ball, np.where(ball > BOARD_SIZE, 2 * BOARD_SIZE - ball, ball))
        self.speed = np.where(outside, -self.speed, self.speed)
        if self.look == "random":
            self.location[games] = random.uniform(-1, 1, (int(games.sum()), 2))
        elif self.look == "learned":
            self.location[games] = np.clip(action[1], -1.0, 1.0)[games]
        down = games & (self.row == BOARD_SIZE - 1)
        beside = self.columns - self.paddle
        return (down & (beside >= 0) & (beside < PADDLE_SIZE)).astype(np.float64), down

    @property
    def columns(self) -> NDArray[np.int64]:
        """The balls' columns, [N]."""
        return np.minimum(self.ball.astype(np.int64), BOARD_SIZE - 1)

    def boards(self) -> NDArray[np.uint8]:
        """Give the screens, [N, 24, 24]: 255 where ball or paddle are, else 0."""
        boards, games = np.zeros((len(self.ball), BOARD_SIZE, BOARD_SIZE), dtype=np.uint8), np.arange(len(self.ball))
        for column in range(PADDLE_SIZE):
            boards[games, -1, self.paddle + column] = 255
        boards[games, self.row, self.columns] = 255
        return boards

    def seen(self) -> NDArray[np.float32]:
        """Give what is seen: the glimpse at all scales, then its place, [N, S·g² + 2]; or the whole screen, [N, 576]."""
        boards = self.boards()
        if self.look == "full":
            return (boards > 0).reshape(len(boards), -1).astype(np.float32)
        glimpse = self.retina.cut(torch.from_numpy(boards), torch.from_numpy(self.location))
        return np.concatenate([glimpse.numpy(), self.location], axis=1)

    def info(self) -> dict[str, NDArray[Any]]:
        """Give nothing else."""
        return {}

    def draw(self) -> tuple[NDArray[np.uint8], ...]:
        """Draw each game and what is seen of it."""
        from seqrl.tasks.attention.catch_drawing import draw_game

        retina = None if self.look == "full" else self.retina
        parts = zip(self.row, self.columns, self.paddle, self.location, self.seen(), strict=True)
        return tuple(
            draw_game(BOARD_SIZE, (int(row), int(column)), (int(paddle), PADDLE_SIZE), place, seen, retina)
            for row, column, paddle, place, seen in parts
        )


class GlimpseCatch(OneGame):
    """A ball of one pixel falls over a screen of 24x24 and bounces off the side walls; a paddle of two has to catch it.

    An action is a tuple: 0, 1 or 2 moves the paddle left, not at all or right, and a location (x, y) in [-1, 1]² says where the next
    glimpse is taken, (-1, -1) in the upper left corner. What is seen is the retina's glimpse at all scales and, in the last two
    numbers, its location; the first glimpse of a game is of the middle. The only reward is 1 for a ball that is over the paddle
    when it reaches the lowest row, which ends the game after 23 steps.

    Args:
        glimpse_size: pixels of a glimpse's side at each scale.
        num_scales: each covers twice the side of the one before.
        look: "learned", at the location chosen; to compare, "random" or "centre" without regard to it, or "full": the whole
            screen is seen, 576 numbers, and no location.
        max_speed: of the ball to either side, pixels a step.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: when a setting is out of range.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), the experiment on dynamic environments.
    Differs from: the paper, which tells neither the ball's nor the paddle's start, nor how fast the ball is; here both start anywhere,
    and the speed may be any up to the paddle's own.
    """

    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Catches(1, **options), render_mode)


class GlimpseCatches(ManyGames):
    """Many games that step at once, with the options of `GlimpseCatch`; those that have ended are reset by their next step."""

    metadata = {**METADATA, **ManyGames.metadata}

    def __init__(self, num_envs: int = 1, max_episode_steps: int = BOARD_SIZE, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_Catches(num_envs, **options), num_envs, max_episode_steps, render_mode)


def action_space() -> Tuple:
    """Give the space of one game's actions: a move, and where to look."""
    return Tuple((Discrete(len(MOVES)), Box(-1.0, 1.0, (2,), dtype=np.float32)))


register(ENVIRONMENT, __name__, "GlimpseCatch", "GlimpseCatches", max_episode_steps=BOARD_SIZE, reward_threshold=0.85)
