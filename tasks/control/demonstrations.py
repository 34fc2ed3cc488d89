"""Episodes of an expert: recorded as it plays, and drawn from to be imitated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import Tensor, nn

from seqrl.policies.pictures import Picture
from seqrl.protocols import Policy, ask
from seqrl.rollout import unroll
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.sources import VectorEnvSource
from seqrl.tasks.control.demonstration_files import RecordedEpisode, check_new, read_episodes, write_episodes
from seqrl.tasks.control.environments import EnvironmentFactory
from seqrl.tasks.control.episodes import LARGEST_BATCH, EpisodeSource
from seqrl.tasks.control.parts import observation_size
from seqrl.tasks.paths import expanded
from seqrl.trajectory import Trajectory

_NO_MASKS = "expected observations without masks of actions, which are not recorded; set task.action_masks=false"


@dataclass
class DemonstrationsConfig:
    """Which episodes are imitated, and how steps are drawn from them.

    Attributes:
        path: folder that `seqrl record --data` wrote, or the folder `data` of a data set of Minari; "" for none.
        max_episodes: use the first so many of them; 0 for all.
        batch_size: rows drawn for each update.
        num_steps: steps of a row that follow each other; 1 for a policy without memory.
        noise: perturbed views: what is seen is drawn with Gaussian noise of so many deviations of each number over the recorded steps.
        shift_px: perturbed views of pictures: each row's are moved by up to so many pixels along each side, all of a row alike.
    """

    path: str = ""
    max_episodes: NotNegative[int] = 0
    batch_size: Count = 256
    num_steps: Count = 1
    noise: NotNegative[float] = 0.0
    shift_px: NotNegative[int] = 0

    def __post_init__(self) -> None:
        check_settings(self)


class Demonstrations:
    """Draws rows of recorded steps; each step of the recording is in a row with the same probability.

    Args:
        episodes: at least one.
        config: see `DemonstrationsConfig`.
        spaces: of observations and actions, as a policy sees them.
        seed: of the draws.

    Raises:
        ValueError: when the recorded numbers do not fit the spaces.
    """

    def __init__(
        self, episodes: Sequence[RecordedEpisode], config: DemonstrationsConfig, spaces: tuple[gym.Space, gym.Space], *, seed: int
    ) -> None:
        self.config = config
        self.obs = torch.cat([_observations(episode.observations, spaces[0], config.path) for episode in episodes])
        # One place an observation, so that all columns have the same index; the place after an episode's last step holds no action.
        actions = [_actions(episode.actions, spaces[1], config.path) for episode in episodes]
        self.action, reward = (torch.cat([torch.cat([x, x[:1]]) for x in column]) for column in (actions, _tensors(episodes, "rewards")))
        self.reward = reward.float()
        self.terminated, self.truncated = (
            torch.cat([torch.cat([x, torch.zeros_like(x[:1])]) for x in _tensors(episodes, name)])
            for name in ("terminations", "truncations")
        )
        self.length = torch.tensor([len(episode.rewards) for episode in episodes])
        self._first = torch.cumsum(self.length + 1, 0) - self.length - 1
        self._deviation = self.obs[self._places()].std(dim=0, correction=0) if self.obs.is_floating_point() else None
        if config.noise and self._deviation is None:
            raise ValueError(
                f"task.demonstrations.noise: expected 0 where observations are whole numbers ({self.obs.dtype}), got {config.noise}"
            )
        self._size = observation_size(spaces[0])
        self._pictures = (Picture(self._size.shape),) if self._size.frames else self._size.pictures
        smallest = min((min(picture.height_width) for picture in self._pictures), default=0)
        if config.shift_px and config.shift_px >= smallest / 2:
            shown = f"below half of a picture's {smallest}" if smallest else f"0 where nothing seen is a picture ({spaces[0]})"
            raise ValueError(f"task.demonstrations.shift_px: expected a number of pixels {shown}, got {config.shift_px}")
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def num_labels(self) -> int:
        """Number of recorded steps."""
        return int(self.length.sum())

    def __call__(self, group: Tensor | None = None) -> Trajectory:
        """Draw the next rows, see `seqrl.protocols.Task.demonstrations`."""
        B, T = self.config.batch_size, self.config.num_steps
        # A row may begin before its episode and is cut there, so that first steps are drawn as often as others.
        starts = (self.length + T - 1).cumsum(0)
        drawn = torch.randint(int(starts[-1]), (B,), generator=self._generator)
        episode = torch.searchsorted(starts, drawn, right=True)
        offset = drawn - (starts - self.length)[episode]
        length, begin = self.length[episode].unsqueeze(1), offset.clamp(min=0).unsqueeze(1)
        step = begin + torch.arange(T + 1)
        counts = step[:, :-1] < torch.minimum(offset.unsqueeze(1) + T, length)
        seen = self._first[episode].unsqueeze(1) + torch.minimum(step, length)
        place, none = seen[:, :-1], torch.zeros(B, T)
        return Trajectory(
            action=self.action[place],
            logp=none,
            value=torch.zeros(B, T + 1),
            reward=self.reward[place],
            terminated=self.terminated[place] & counts,
            truncated=self.truncated[place] & counts,
            mask=torch.zeros_like(counts),
            obs=self._perturbed(self.obs[seen]),
            imitate=counts,
        )

    def show(self, policy: nn.Module) -> None:
        """Let a policy that scales what it sees begin with the mean and deviation of the recorded steps."""
        observe = getattr(policy, "observe", None)
        if observe is not None:
            counts = torch.zeros(len(self.obs), dtype=torch.bool)
            counts[self._places()] = True
            observe(self.obs.unsqueeze(0), counts[:-1].unsqueeze(0))
            cast(Policy, policy).initial_state(None)  # from here on they count

    def _perturbed(self, obs: Tensor) -> Tensor:
        if self.config.shift_px:
            reach = self.config.shift_px
            by = torch.randint(-reach, reach + 1, (len(obs), 2), generator=self._generator)
            rows = obs.reshape(*obs.shape[:2], self._size.num_stacked, -1)
            for picture in self._pictures:
                picture.shift(rows, by)
            obs = rows.reshape(obs.shape)
        if not self.config.noise:
            return obs
        assert self._deviation is not None
        return obs + self.config.noise * self._deviation * torch.randn(obs.shape, generator=self._generator)

    def _places(self) -> Tensor:
        """Give where the recorded steps are."""
        return torch.cat(
            [torch.arange(first, first + length) for first, length in zip(*map(Tensor.tolist, (self._first, self.length)), strict=True)]
        )

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the draws."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._generator.set_state(state["generator"].cpu())


def load_demonstrations(
    config: DemonstrationsConfig, environment: str, spaces: tuple[gym.Space, gym.Space], *, squash: bool | None, seed: int
) -> Demonstrations | None:
    """Read the episodes that a task imitates; None where it names none.

    Args:
        config: see `DemonstrationsConfig`.
        environment: name of the task's own one.
        spaces: as a policy sees them.
        squash: whether the policy's actions are squashed into the bounds.
        seed: of the draws.

    Raises:
        FileNotFoundError: when there are no such files.
        ValueError: when they do not fit, are damaged or cut short.
    """
    if not config.path:
        return None
    if isinstance(spaces[0], Dict):
        raise ValueError(f"task.demonstrations: {_NO_MASKS}")
    if squash:
        raise ValueError(
            "task.policy.actor_critic.squash: expected false with demonstrations, which hold the actions that the environment was given, "
            "got true"
        )
    episodes = read_episodes(expanded(config.path), environment=environment, max_episodes=config.max_episodes)
    return Demonstrations(episodes, config, spaces, seed=seed)


def record_data(
    policy: nn.Module,
    make: Callable[[int], VectorEnvSource],
    folder: Path,
    factory: EnvironmentFactory,
    spaces: tuple[gym.Space, gym.Space],
    *,
    episodes: int,
    seed: int,
) -> list[str]:
    """Play greedy episodes and write what was seen, done and earned.

    Args:
        policy: acts greedily.
        make: gives a source of a number of rows.
        folder: where they go, see `write_episodes`.
        factory: of the environments.
        spaces: of observations and actions, as the policy sees them.
        episodes: how many.
        seed: of the starts.

    Returns:
        a line about each episode.

    Raises:
        FileExistsError: when the folder is there.
        ValueError: when what is seen is shown with masks, or h5py is not installed.
    """
    check_new(folder)
    if isinstance(spaces[0], Dict):
        raise ValueError(f"environment {factory.name}: {_NO_MASKS}")
    found: list[RecordedEpisode] = []
    for start in range(0, episodes, LARGEST_BATCH):
        source = make(min(LARGEST_BATCH, episodes - start))
        played = EpisodeSource(source, seed=seed + start)
        rows, _ = unroll(policy, played, max_steps=factory.max_episode_steps, greedy=True, bootstrap=False)
        found += [_recorded(rows, row, source) for row in range(rows.batch_size)]
    write_episodes(folder, found, environment=factory.name, spaces=spaces, spec=ask(factory, "spec_text"))
    return [f"episode {number}: return {episode.rewards.sum():g} in {len(episode.rewards)} steps" for number, episode in enumerate(found)]


def _recorded(rows: Trajectory, row: int, source: VectorEnvSource) -> RecordedEpisode:
    steps = int(rows.mask[row].sum())
    assert isinstance(rows.obs, Tensor)
    given = source.environment_action(rows.action[row, :steps])
    columns = (rows.reward[row, :steps], rows.terminated[row, :steps], rows.truncated[row, :steps])
    return RecordedEpisode(rows.obs[row, : steps + 1].numpy(), np.asarray(given), *(column.numpy() for column in columns))


def _tensors(episodes: Sequence[RecordedEpisode], name: str) -> list[Tensor]:
    return [torch.from_numpy(np.array(getattr(episode, name))) for episode in episodes]


def _observations(found: np.ndarray, space: gym.Space, path: str) -> Tensor:
    """Give recorded observations [T+1, ...] as a source shows them."""
    if found.shape[1:] != (space.shape or ()):
        raise ValueError(
            f"{path}: expected observations of shape {list(space.shape or ())}, got {list(found.shape[1:])}; record them under the "
            "task's own settings, task.frame_stack among them"
        )
    if isinstance(space, Discrete) and not (found.dtype.kind in "iu" and 0 <= found.min() and found.max() < space.n):
        raise ValueError(f"{path}: expected observations from 0 to {space.n - 1}, got {found.min()} to {found.max()} ({found.dtype})")
    kind = (
        np.dtype(np.int64) if isinstance(space, Discrete) else np.dtype(np.float32) if space.dtype == np.float64 else np.dtype(space.dtype)
    )
    return torch.from_numpy(found.astype(kind))


def _actions(found: np.ndarray, space: gym.Space, path: str) -> Tensor:
    """Give recorded actions [T, ...] as a policy gives them."""
    if isinstance(space, Box):
        if found.dtype.kind != "f" or found.ndim < 2 or int(np.prod(found.shape[1:])) != space.shape[0]:
            raise ValueError(f"{path}: expected actions of {space.shape[0]} real numbers, got {list(found.shape[1:])} ({found.dtype})")
        return torch.from_numpy(found.astype(np.float32)).reshape(len(found), -1)
    sizes = np.asarray(space.n) if isinstance(space, Discrete) else space.nvec if isinstance(space, MultiDiscrete) else None
    if sizes is None:
        raise ValueError(f"task.demonstrations: expected Discrete, MultiDiscrete, MultiBinary or Box actions, got {space}")
    if found.dtype.kind not in "iub" or found.shape[1:] != sizes.shape or found.min() < 0 or bool((found >= sizes).any()):
        shown = f"whole numbers from 0 to below {sizes.tolist()}"
        raise ValueError(
            f"{path}: expected actions of {shown}, got {found.min()} to {found.max()}, shape {list(found.shape[1:])} ({found.dtype})"
        )
    return torch.from_numpy(found.astype(np.int64))
