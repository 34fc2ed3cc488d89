"""Sources that need no task: a growing row of tokens, and gymnasium's vector environments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqrl.failures import EnvironmentFailed, describe
from seqrl.policies.tokens import is_end
from seqrl.trajectory import Tree, map_tree


class TokenSource:
    """Feeds each chosen token back as the next observation until the end token or the maximum length.

    The end token itself is an action that counts. At `max_tokens` the row terminates: a caption that is not finished by
    then is scored as it stands.

    Args:
        batch_size: number of rows B.
        begin: token seen before the first action.
        end: token that ends a row, or several (`seqrl.policies.tokens.end_tokens`).
        max_tokens: longest row, end token included.
        device: where the tensors live.
    """

    def __init__(
        self, batch_size: int, *, begin: int, end: int | Sequence[int], max_tokens: int, device: torch.device | str = "cpu"
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1, got {max_tokens}")
        self.obs: Tensor = torch.full((batch_size,), begin, dtype=torch.long, device=device)
        self.active = torch.ones(batch_size, dtype=torch.bool, device=device)
        self.finished = False
        self._ends = (end,) if isinstance(end, int) else tuple(end)
        self._remaining = max_tokens

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Append one token [B] to each row; the reward is 0, since a text is scored as a whole."""
        self._remaining -= 1
        ended = self.active & (is_end(action, self._ends) | (self._remaining <= 0))
        self.obs = action
        self.active = self.active & ~ended
        self.finished = not bool(self.active.any())
        return self.obs, torch.zeros(action.shape[0], device=action.device), ended, torch.zeros_like(ended)


@dataclass(frozen=True)
class Episode:
    """One finished episode of an environment.

    Attributes:
        episode_return: undiscounted sum of its rewards.
        length: number of environment steps.
        truncated: whether it was cut short.
    """

    episode_return: float
    length: int
    truncated: bool


class VectorEnvSource:
    """Steps a gymnasium vector environment in its default `NEXT_STEP` autoreset mode; on the CPU, where the environments live.

    After an episode has ended, gymnasium returns its true last observation and spends one dummy step on the reset; that
    dummy step is not `active`. Rewards are given as they come; what a trainer is to see instead is the task's to decide.

    Args:
        envs: a gymnasium vector environment whose observations are arrays.
        seed: seed of the environments, for the first reset.
        name: what error messages call the environment.
        frame_stack: show so many last observations, [B, frame_stack, ...], oldest first; an episode's first observation
            fills them all. 1 shows the last one as it is, [B, ...].
        action_masks: show {"observation", "action_mask"} with [B, A] bool from `info["action_mask"]`, True where an action
            is allowed.
        to_action: makes the environments' actions of the policy's; as they are when None.
        whole_game: from the infos and the rows [B] bool that ended, say whose recorded episode is over: where a policy
            learns life by life, the return of a game goes on. Every end when None.

    Attributes:
        info: what gymnasium's last `info` held, a row an environment.

    Raises:
        ValueError: when the environment resets itself in another mode or gives no masks.
    """

    def __init__(
        self,
        envs: Any,
        *,
        seed: int,
        name: str = "environment",
        frame_stack: int = 1,
        action_masks: bool = False,
        to_action: Callable[[Tensor], Any] | None = None,
        whole_game: Callable[[Mapping[str, Any], np.ndarray], np.ndarray] | None = None,
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not None and getattr(mode, "name", str(mode)) != "NEXT_STEP":
            raise ValueError(f"autoreset_mode: expected NEXT_STEP, got {mode}; make the vector environment with its default")
        self.envs = envs
        self.name = name
        self.finished = False
        self.episodes: list[Episode] = []
        self.num_env_steps = 0
        self.stepping, self.num_calls = False, 0  # so that one can see from outside whether it hangs
        self._frame_stack, self._action_masks = frame_stack, action_masks
        self._to_action, self._whole_game = to_action, whole_game
        # gymnasium's SyncVectorEnv copies for us unless told not to; of others one cannot know.
        self._reuses = not getattr(envs.unwrapped, "copy", False) if hasattr(envs, "unwrapped") else True
        self._everyone = torch.ones(envs.num_envs, dtype=torch.bool)
        self._nobody = ~self._everyone
        self._none_ended = np.zeros(envs.num_envs, dtype=np.bool_)
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Start every environment anew.

        Raises:
            EnvironmentFailed: when one raises, or shows an observation that is not finite.
        """
        self._action: Tensor | None = None
        observation, info = self._asked(lambda: self.envs.reset(seed=seed))
        self.info: Mapping[str, Any] = info
        self.active = self._everyone
        self._returns = np.zeros(self.envs.num_envs)
        self._lengths = np.zeros(self.envs.num_envs, dtype=np.int64)
        shown = self._stacked(self._tensor(observation), np.ones(self.envs.num_envs, dtype=np.bool_))
        self.obs: Tree = self._masked(shown, info, self._none_ended)

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Take one action [B, ...] an environment.

        Raises:
            EnvironmentFailed: naming environment, row and step, when one raises, or gives a reward or an observation that is not
                finite.
        """
        self._action = action
        given = self.environment_action(action)
        observation, reward, terminated, truncated, info = self._asked(lambda: self.envs.step(given))
        self.info = info
        ended = terminated | truncated
        if self.active is self._everyone and not ended.any():
            self._lengths += 1
            self.num_env_steps += len(reward)
            earned = self._reward(reward)
            self._returns += reward
            self.obs = self._masked(self._stacked(self._tensor(observation), None), info, self._none_ended)
            return self.obs, earned, self._nobody, self._nobody
        return self._step_with_ends(observation, reward, terminated, truncated, info)

    def environment_action(self, action: Tensor) -> Any:
        """Give what the environments are told when a policy chooses actions [B, ...]."""
        return action.cpu().numpy() if self._to_action is None else self._to_action(action)

    def _step_with_ends(
        self, observation: np.ndarray, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, info: Mapping[str, Any]
    ) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Do the same where an episode ends, or a row spends its dummy step."""
        live = self.active.cpu().numpy()
        reward = np.where(live, reward, 0.0)
        ended = (terminated | truncated) & live
        self._lengths += live
        self.num_env_steps += int(live.sum())
        earned, obs = self._reward(reward), self._tensor(observation)
        self._returns += reward
        over = ended if self._whole_game is None else self._whole_game(info, ended)
        for index in np.flatnonzero(over):
            self.episodes.append(Episode(float(self._returns[index]), int(self._lengths[index]), not bool(terminated[index])))
        self._returns[over] = 0.0
        self._lengths[over] = 0
        self.obs = self._masked(self._stacked(obs, ~live), info, ended)
        self.active = torch.from_numpy(~ended) if ended.any() else self._everyone
        return self.obs, earned, torch.from_numpy(terminated & live), torch.from_numpy(truncated & live & ~terminated)

    def pop_episodes(self) -> list[Episode]:
        """Give the episodes that ended since the last call."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """Give all of the source's own state; the environments' is another matter."""
        return {
            "obs": self.obs,
            "active": self.active,
            "returns": torch.from_numpy(self._returns.copy()),
            "lengths": torch.from_numpy(self._lengths.copy()),
            "num_env_steps": self.num_env_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.obs = map_tree(torch.clone, state["obs"])
        self.active = self._everyone if bool(state["active"].all()) else state["active"].clone()
        self._returns, self._lengths = state["returns"].numpy().copy(), state["lengths"].numpy().copy()
        self.num_env_steps = state["num_env_steps"]

    def _asked(self, call: Callable[[], Any]) -> Any:
        """Ask something of the environments, and say where it went wrong if it does."""
        self.stepping = True
        self.num_calls += 1
        try:
            return call()
        except Exception as error:
            raise EnvironmentFailed(
                f"environment {self.name} failed after {self.num_env_steps} steps of all rows: {describe(error)}"
            ) from error
        finally:
            self.stepping = False

    def _check(self, what: str, used: np.ndarray, numbers: np.ndarray) -> None:
        """Refuse numbers that are not finite as they will be used, float32 mostly: a sum tells, at a fraction of the cost of all.

        Raises:
            EnvironmentFailed: naming the first row with such a number, and whose fault it is: of an action that is none an environment can
                make nothing.
        """
        if math.isfinite(used.sum()):
            return
        finite = np.isfinite(used.reshape(len(used), -1)).all(axis=1)
        if finite.all():  # only the sum was too large
            return
        row = int(np.argmin(finite))
        too_large = f", too large for {used.dtype}," if np.isfinite(numbers[row]).all() else ""
        given = " ".join(np.array2string(np.asarray(numbers[row]), threshold=16).split())
        advice = "mend the environment"
        if self._action is not None and not bool(self._action[row].isfinite().all()):
            advice = "the policy's action was not finite: lower the learning rate, or resume from an earlier checkpoint with --checkpoint"
        raise EnvironmentFailed(
            f"{what}: expected finite numbers, row {row} of environment {self.name} gave {given}{too_large} at step "
            f"{self._lengths[row]} of its episode, after {self.num_env_steps} steps of all rows; {advice}"
        )

    def _reward(self, reward: np.ndarray) -> Tensor:
        earned = reward.astype(np.float32)
        self._check("reward", earned, reward)
        return torch.from_numpy(earned)

    def _tensor(self, observation: np.ndarray) -> Tensor:
        used = observation.astype(np.float32, order="C") if observation.dtype == np.float64 else observation
        if used.dtype.kind == "f":
            self._check("observation", used, observation)
        if used is observation and (self._reuses or not used.flags.c_contiguous):
            # Many times faster than torch.tensor for an array that is not in C's order.
            used = np.array(used, order="C")
        return torch.from_numpy(used)

    def _stacked(self, latest: Tensor, fresh: np.ndarray | None) -> Tensor:
        """Put the latest observation behind the ones before it, or into all places of the rows [B] that are fresh."""
        if self._frame_stack == 1:
            return latest
        filled = latest.unsqueeze(1).expand(-1, self._frame_stack, *latest.shape[1:])
        if fresh is not None and fresh.all():
            return filled.contiguous()
        before = self.obs["observation"] if isinstance(self.obs, Mapping) else self.obs
        assert isinstance(before, Tensor)
        stack = torch.cat([before[:, 1:], latest.unsqueeze(1)], dim=1)
        if fresh is not None and fresh.any():
            rows = torch.from_numpy(fresh)
            stack[rows] = filled[rows]
        return stack

    def _masked(self, obs: Tensor, info: Mapping[str, Any], ended: np.ndarray) -> Tree:
        """Put the allowed actions beside what is seen; where the environment says nothing, or a row [B] has ended, all are.

        Raises:
            EnvironmentFailed: when no action is allowed in a row that goes on.
        """
        if not self._action_masks:
            return obs
        if "action_mask" not in info:
            raise ValueError(f"action_masks: environment {self.name} gives no info['action_mask']; set it to false")
        mask = np.array(info["action_mask"]).astype(np.bool_)
        nothing = ~mask.any(axis=1)
        if nothing.any():
            told = np.asarray(info.get("_action_mask", ~self._none_ended))
            stuck = np.flatnonzero(nothing & told & ~ended)
            if len(stuck):
                row = int(stuck[0])
                raise EnvironmentFailed(
                    f"action_mask: expected at least one allowed action of {mask.shape[1]}, row {row} of environment {self.name} allows "
                    f"none at step {self._lengths[row]} of its episode, which goes on; end the episode, or correct the mask"
                )
            mask[nothing] = True
        return {"observation": obs, "action_mask": torch.from_numpy(mask)}
