"""Atari games side by side: ale-py's own vector environment, with games that can be played again from their seeds."""

from __future__ import annotations

import zlib
from typing import Any, cast

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from seqrl.tasks.atari.names import game_name

FIRE = 1  # the second action in every game's minimal set that has a fire button, and in the full set
FRAME_SKIP = 4
FIRST_CAPACITY = 1024
ROW_STATE = ("num_games", "num_actions", "over", "pressing", "lives")
COLOUR: dict[str, Any] = {"img_height": 210, "img_width": 160, "grayscale": False}


class AtariGames:
    """Plays N games in gymnasium's `NEXT_STEP` mode, with raw rewards and observations uint8 [N, 84, 84, frames].

    ale-py makes the frames: grey, 84x84, the larger of the last two of `FRAME_SKIP` frames, up to `noop_max` no-ops and a
    press of the fire button at the start of a game. The newest frame stands last.

    With `lives_are_episodes` a lost life terminates, and the row's next step is a dummy one, as after a game: it presses fire
    where the game has the button, and the game goes on with the lives that are left; what that step earns is left out, as nobody
    chose it. `info["game_over"]` tells whole games.

    Every game of a row starts from a seed that follows from the last `reset`'s seed, the row and the number of the game, and
    the actions since are kept; so `state_dict` is small, and `load_state_dict` plays the games again up to there.

    Differs from: ale-py's own `episodic_life`, which starts a new game after the first lost life (version 0.12), so that a
    policy would never see what comes after it.

    Args:
        game: any name that `seqrl.tasks.atari.names.game_name` understands.
        num_envs: N, the number of rows.
        num_frames: stacked frames.
        lives_are_episodes: a lost life terminates.
        fire_after_life: press fire after a lost life instead of what the policy chose.
        press_fire: press fire at the start of a game.
        full_action_space: all 18 actions in every game.
        render_mode: "rgb_array" plays every game a second time in colour, for `render`.
        settings: ale-py's own, for instance `noop_max`, most no-ops at the start of a game; `repeat_action_probability`, that the console
            repeats the last action instead, each frame; `max_num_frames_per_episode`, after which a game is truncated.

    Raises:
        ValueError: when ale-py is missing or has no such game.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods (preprocessing); sticky actions:
    Machado et al. 2018 (Revisiting the arcade learning environment), section 5.
    """

    copy = True  # every step gives arrays of its own
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"], "render_fps": 60 // FRAME_SKIP}

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        num_frames: int = 4,
        lives_are_episodes: bool = False,
        fire_after_life: bool = True,
        press_fire: bool = True,
        full_action_space: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.game = game_name(game)
        from ale_py.vector_env import AtariVectorEnv  # an extra

        settings |= {
            "stack_num": num_frames,
            "frameskip": FRAME_SKIP,
            "use_fire_reset": press_fire,
            "full_action_space": full_action_space,
            "reward_clipping": False,
        }
        self._games = [AtariVectorEnv(self.game, num_envs, **settings)]
        if render_mode is not None:
            self._games.append(AtariVectorEnv(self.game, num_envs, **settings | {"stack_num": 1} | COLOUR))
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space = Box(0, 255, (84, 84, num_frames), np.uint8)
        self.single_action_space = cast(Discrete, self._games[0].single_action_space)
        self._lives_are_episodes, self._fire_after_life = lives_are_episodes, fire_after_life
        self._fire = FIRE if press_fire and has_fire_button(self.game, full_action_space) else 0
        self._pictures: NDArray[np.uint8] | None = None

    @property
    def unwrapped(self) -> AtariGames:
        """These games: nothing is wrapped around them."""
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start every game anew; the same seed gives the same games."""
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._num_games = np.zeros(self.num_envs, dtype=np.int64)  # that each row has begun before the present one
        self._num_actions = np.zeros(self.num_envs, dtype=np.int64)
        self._actions = np.zeros((self.num_envs, FIRST_CAPACITY), dtype=np.uint8)
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        self._pressing = np.zeros(self.num_envs, dtype=np.bool_)
        observation, info = self._start(np.ones(self.num_envs, dtype=np.bool_))
        self._lives = info["lives"].copy()
        return self._shown(observation), {"lives": self._lives, "game_over": self._over}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take one action a row; the rows whose game was over begin the next one instead."""
        if self._pressing.any():
            action = np.where(self._pressing, self._fire, action)
        observation, reward, terminated, truncated, info = self._play(action)
        self._remember(action)
        begins, game_over = self._over, (terminated | truncated) & ~self._over
        # A game can run out of time under the dummy press of fire, when nobody acts; it makes way for the next one at once.
        unseen = game_over & self._pressing if self._lives_are_episodes else np.zeros_like(game_over)
        if begins.any() or unseen.any():
            self._num_games += begins | unseen
            self._num_actions[begins | unseen] = 0
            observation, info = self._start(begins | unseen)
        lost = (info["lives"] < self._lives) & ~(game_over | begins)
        self._lives, self._over = info["lives"].copy(), game_over & ~unseen
        self._pressing = lost & (self._lives_are_episodes or self._fire_after_life)
        died = terminated & self._over | lost if self._lives_are_episodes else terminated & self._over
        return self._shown(observation), reward, died, truncated & self._over & ~died, {"lives": self._lives, "game_over": game_over}

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Show each row's screen in colour, 210x160.

        Raises:
            ValueError: when the games were made without a render mode.
        """
        if self._pictures is None:
            raise ValueError("render_mode: expected rgb_array, got None; make the games with it")
        return tuple(self._pictures)

    def close(self) -> None:
        """Let go of the games."""
        for games in self._games:
            games.close()

    def state_dict(self) -> dict[str, Any]:
        """Give what leads to every row's present place: where its game's seed comes from, and the actions since its start."""
        longest = int(self._num_actions.max())
        arrays = {name: torch.from_numpy(getattr(self, f"_{name}").copy()) for name in ROW_STATE}
        actions = torch.from_numpy(self._actions[:, :longest].copy())
        return {**arrays, "seed": self._seed, "actions": actions, "checksum": self._checksum}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Play every row's game again up to where `state` was taken.

        Returns:
            Whether the screens are the same as then; they are not where another version of ale-py made the state.
        """
        self.reset(seed=int(state["seed"]))
        self._num_games, self._num_actions = state["num_games"].numpy().copy(), state["num_actions"].numpy().copy()
        longest = state["actions"].shape[1]
        self._actions = np.zeros((self.num_envs, max(FIRST_CAPACITY, longest)), dtype=np.uint8)
        self._actions[:, :longest] = state["actions"].numpy()
        # All rows step together, so each starts as late as its number of actions allows.
        starts, rows = longest - self._num_actions, np.arange(self.num_envs)
        observation = None
        for now in range(longest + 1):
            if (starts == now).any():
                observation, _ = self._start(starts == now)
            if now < longest:
                observation = self._play(self._actions[rows, np.maximum(now - starts, 0)])[0]
        assert observation is not None
        self._shown(observation)
        for name in ROW_STATE:
            setattr(self, f"_{name}", state[name].numpy().copy())
        return bool(self._checksum == state["checksum"])

    def _start(self, rows: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin a game in some rows, each from a seed of its own."""
        numbers = [[self._seed, row, self._num_games[row]] for row in np.flatnonzero(rows)]
        seeds = np.array([np.random.SeedSequence([int(n) for n in number]).generate_state(1)[0] >> 1 for number in numbers], dtype=np.int64)
        outcomes = [games.reset(seed=seeds, options={"reset_mask": rows}) for games in self._games]
        if len(outcomes) > 1:
            self._pictures = outcomes[1][0][:, 0]
        return outcomes[0]

    def _play(self, action: NDArray[Any]) -> Any:
        """Send the actions to the games, and to those in colour if there are any."""
        action = action.astype(np.int64)
        for games in self._games:
            games.send(action)
        outcomes = [games.recv() for games in self._games]
        if len(outcomes) > 1:
            self._pictures = outcomes[1][0][:, 0]
        return outcomes[0]

    def _remember(self, action: NDArray[Any]) -> None:
        """Keep the actions; the entries of rows that begin a game now are dropped with their number."""
        if self._num_actions.max() == self._actions.shape[1]:
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)], axis=1)
        self._actions[np.arange(self.num_envs), self._num_actions] = action
        self._num_actions += 1

    def _shown(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put the frames last: [N, 84, 84, frames], in the order in which the convolutions read them."""
        self._latest = np.ascontiguousarray(observation.transpose(0, 2, 3, 1))
        return self._latest

    @property
    def _checksum(self) -> int:
        return zlib.crc32(self._latest.tobytes())


def has_fire_button(game: str, full_action_space: bool = False) -> bool:
    """Say whether a game's actions include the fire button.

    Args:
        game: ale-py's name.
        full_action_space: every game has it there.
    """
    from ale_py.env import AtariEnv

    meanings = AtariEnv(game, obs_type="ram", full_action_space=full_action_space).get_action_meanings()
    return len(meanings) > FIRE and meanings[FIRE] == "FIRE"
