"""Observations of several parts: a mask of actions apart, the rest in one row of numbers that remembers its pictures."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatdim, flatten, flatten_space

from seqrl.policies.encoders import ObservationSize
from seqrl.policies.networks import frame_channels
from seqrl.policies.pictures import Picture

# In an environment's metadata: its observations hold a mask, which is moved to the info.
SHOWS_MASK = "shows_action_mask"
MOST_CHANNELS = 4  # of what reaches from 0 to 1, where a board has a plane a kind of piece
SMALLEST_PICTURE = 8


class FlatBox(Box):  # gymnasium's vector environments know how to stack a Box
    """The row of numbers that a composite observation is flattened into.

    Attributes:
        parts: the composite space.

    Args:
        parts: see above.
    """

    def __init__(self, parts: gym.Space) -> None:
        flat: Any = flatten_space(parts)
        # A whole number beside a picture would make eight bytes of each of its pixels.
        kind = np.float32 if flat.dtype != np.uint8 and find_pictures(parts) else flat.dtype.type
        super().__init__(flat.low.astype(kind), flat.high.astype(kind), dtype=kind)
        self.parts = parts


class StackedBox(Box):
    """Several observations one after another, along a first axis.

    Attributes:
        single: one of them.

    Args:
        single: see above.
        number: how many there are.
    """

    def __init__(self, single: Box, number: int) -> None:
        low, high = (np.repeat(limit[None], number, axis=0) for limit in (single.low, single.high))
        super().__init__(low, high, dtype=single.dtype.type)  # type: ignore[arg-type]
        self.single = single


class InOneRow(gym.ObservationWrapper):  # gymnasium's vector environments take nothing but its own classes
    """Flattens observations of several parts into a `FlatBox`.

    Args:
        env: what is wrapped.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._parts = env.observation_space
        self.observation_space = FlatBox(self._parts)

    def observation(self, observation: Any) -> Any:
        """Flatten one observation."""
        row: Any = flatten(self._parts, observation)
        return row.astype(self.observation_space.dtype, copy=False)


class MaskToInfo(gym.Wrapper):
    """Moves the mask of allowed actions from an observation to `info["action_mask"]`; one part that is left stands for itself.

    PettingZoo's classic games show their masks in this form.

    Args:
        env: its observations are a Dict with the mask.
        key: the mask's.
        name: what errors call the environment.

    Raises:
        ValueError: when the mask does not fit the actions, or nothing else is shown.
    """

    def __init__(self, env: gym.Env, key: str, name: str) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, Dict)
        mask, actions = space[key], env.action_space
        if isinstance(actions, Discrete) and (mask.shape != (actions.n,) or not isinstance(mask, Box | MultiBinary)):
            raise ValueError(
                f"environment {name}: expected a mask of {actions.n} actions under {key!r} in the observation, got {mask}; set "
                "task.action_mask_key to the mask's name, or to nothing where there is none"
            )
        rest = {other: part for other, part in space.spaces.items() if other != key}
        if not rest:
            raise ValueError(f"environment {name}: expected something to see beside the mask {key!r}, got {space}")
        self._key, self._only = key, next(iter(rest)) if len(rest) == 1 else None
        self.observation_space = Dict(rest) if self._only is None else rest[self._only]
        self.metadata = {**env.metadata, SHOWS_MASK: True}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset and part the observation."""
        return self._parted(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action and part the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._parted(observation, info)
        return observation, reward, terminated, truncated, info

    def _parted(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rest = {name: part for name, part in observation.items() if name != self._key}
        # Copied, since environments change their mask in place.
        mask = np.array(observation[self._key], dtype=np.int8)
        return (rest if self._only is None else rest[self._only]), {**info, "action_mask": mask}


def in_parts(env: gym.Env, mask_key: str, name: str) -> gym.Env:
    """Wrap an environment so that it shows one Box or Discrete, and a mask in its info, if it shows several parts.

    Args:
        env: one environment.
        mask_key: name of the mask in a Dict; "" for none.
        name: what errors call the environment.
    """
    if mask_key and isinstance(env.observation_space, Dict) and mask_key in env.observation_space.spaces:
        env = MaskToInfo(env, mask_key, name)
    return InOneRow(env) if needs_flattening(env.observation_space) else env


def needs_flattening(observation_space: gym.Space) -> bool:
    """Say whether one row of numbers is to be made of an observation of several parts."""
    return isinstance(observation_space, Dict | Tuple | MultiDiscrete | MultiBinary) and observation_space.is_np_flattenable


def observation_size(space: gym.Space, smallest_picture: int = SMALLEST_PICTURE) -> ObservationSize:
    """Say what one observation of a space looks like; of a mapping, its "observation".

    Args:
        space: a Box, a Discrete, or a mapping of "observation" and a mask.
        smallest_picture: side in pixels from which on a picture is encoded as one.

    Raises:
        ValueError: when there is no layer for such observations.
    """
    if isinstance(space, Dict) and "observation" in space.spaces:
        space = space["observation"]
    if isinstance(space, Discrete):
        return ObservationSize((), num_categories=int(space.n))
    if not isinstance(space, Box):
        raise ValueError(f"observation space: expected a Box or Discrete, got {space}; flatten it with gymnasium's FlattenObservation")
    shape = tuple(int(size) for size in space.shape)
    if space.dtype == np.uint8 and frame_channels(shape):
        return ObservationSize(shape, frames=True)
    single = space.single if isinstance(space, StackedBox) else space
    pictures = tuple(find_pictures(single.parts if isinstance(single, FlatBox) else single, smallest_picture))
    return ObservationSize(shape, pictures=pictures, num_stacked=shape[0] if pictures and single is not space else 1)


def find_pictures(space: gym.Space, smallest: int = SMALLEST_PICTURE, start: int = 0) -> list[Picture]:
    """Find the pictures in a space: whatever reaches from 0 to 255 and has two to four axes, or from 0 to 1 with up to 4 channels.

    Args:
        space: of one observation.
        smallest: side in pixels from which on it is one.
        start: where the space begins in the flat observation.
    """
    if isinstance(space, Dict | Tuple):
        found = []
        for part in space.spaces.values() if isinstance(space, Dict) else space.spaces:
            found += find_pictures(part, smallest, start)
            start += flatdim(part)
        return found
    if not isinstance(space, Box) or not 2 <= len(space.shape) <= 4 or space.low.any():
        return []
    brightest = float(space.high.max())
    picture = Picture(tuple(int(size) for size in space.shape), start, brightest)
    if min(picture.height_width) < smallest or float(space.high.min()) != brightest:
        return []
    photographic = len(space.shape) > 2 and space.dtype.kind == "f" and picture.num_channels <= MOST_CHANNELS
    return [picture] if brightest == 255.0 or (brightest == 1.0 and photographic) else []
