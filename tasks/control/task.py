"""Control: act in a gymnasium environment, in fixed stretches of steps or in whole episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seqrl.policies import evaluation_mode
from seqrl.rollout import unroll
from seqrl.sources import VectorEnvSource
from seqrl.trajectory import Trajectory
from tasks.control.environments import environment_state, episode_limit, make_environments, set_environment_state
from tasks.control.episodes import EpisodeSource, play_greedily
from tasks.control.pictures import draw_episodes
from tasks.control.policy import ControlPolicyConfig, build_policy

EVALUATION_SEEDS = {"dev": 1_000_000_007, "test": 1_500_000_001}
LARGEST_EVALUATION_BATCH = 100


@dataclass
class ControlConfig:
    """Settings of the control task.

    Attributes:
        environment: gymnasium's id, for instance CartPole-v1, or module:id.
        mode: "steps": rollouts of `num_steps` steps, the environments go on across rollouts (PPO); "episodes": each row is
            an episode from reset to end (REINFORCE, self-critical).
        num_envs: environments side by side; rows of a rollout. In "episodes" times the trainer's num_samples.
        num_steps: steps of a rollout in "steps".
        max_episode_steps: cut episodes after so many steps; the environment's own limit when null.
        num_eval_episodes: greedy episodes of an evaluation, always from the same start states.
        policy: see `ControlPolicyConfig`.
    """

    environment: str = "CartPole-v1"
    mode: Literal["steps", "episodes"] = "steps"
    num_envs: int = 8
    num_steps: int = 128
    max_episode_steps: int | None = None
    num_eval_episodes: int = 20
    policy: ControlPolicyConfig = field(default_factory=ControlPolicyConfig)

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: expected at least 1 or null, got {self.max_episode_steps}")

    def build(self, seed: int) -> ControlTask:
        """Make the task."""
        return ControlTask(self, seed=seed)


class ControlTask:
    """Rollouts and evaluation in vector environments.

    The rows of whole episodes start in different states of one distribution, which is their common context: `group` stays
    None, which the baselines read as one group of all rows.

    Args:
        config: see `ControlConfig`.
        seed: of the environments and of the policy's first weights.

    Raises:
        ValueError: when the environment cannot be made, or has no time limit and none was given.
    """

    def __init__(self, config: ControlConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or ControlConfig()
        self._seed = seed
        self._num_rollouts = 0
        self._limit = episode_limit(self.config.environment, self.config.max_episode_steps)
        self._sources: dict[tuple[str, int], VectorEnvSource] = {}
        self._source = self._cached("train", self.config.num_envs)

    def build_policy(self) -> nn.Module:
        """Make a policy that fits the environment; its first weights depend on the task's seed."""
        envs = self._source.envs
        generator = torch.Generator().manual_seed(self._seed)
        return build_policy(self.config.policy, envs.single_observation_space, envs.single_action_space, generator)

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """Let the policy act, see `seqrl.protocols.Task.rollout`; on the CPU, where the environments live.

        Raises:
            ValueError: when forced steps are asked for, or several samples or a greedy baseline in "steps" mode.
        """
        if num_forced_steps:
            self.demonstrations()
        if self.config.mode == "steps" and (num_samples != 1 or greedy_baseline):
            asked = "a greedy baseline" if greedy_baseline else f"num_samples = {num_samples}"
            raise ValueError(
                f"task.mode: steps goes on where the last rollout stopped and cannot give {asked}; "
                "set task.mode=episodes, or trainer.num_samples=1 with a critic as the baseline"
            )
        with evaluation_mode(policy):
            if self.config.mode == "episodes":
                trajectory = self._episodes(policy, num_samples, greedy, greedy_baseline, generator)
            else:
                trajectory, _ = unroll(policy, self._source, max_steps=self.config.num_steps, greedy=greedy, generator=generator)
                self._source.pop_episodes()  # nobody reads them here, and they would pile up
        self._num_rollouts += 1
        return trajectory

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Raise a ValueError: nobody has recorded how the environment is to be played."""
        raise ValueError(
            f"environment {self.config.environment} has no demonstrations; choose a trainer that learns from rewards "
            "(reinforce, self_critical, ppo) and leave mix.weight and mix.forced_steps at 0"
        )

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Play greedy episodes in environments of their own, from the same start states each time.

        Args:
            policy: acts without gradients.
            split: "dev" or "test", two fixed sets of start states.

        Returns:
            return_mean, return_min and return_max over the episodes, undiscounted, and length, their mean number of steps.

        Raises:
            ValueError: when there is no such split.
        """
        if split not in EVALUATION_SEEDS:
            raise ValueError(f"split: expected one of {', '.join(EVALUATION_SEEDS)}, got {split!r}")
        results = []
        for start in range(0, self.config.num_eval_episodes, LARGEST_EVALUATION_BATCH):
            size = min(LARGEST_EVALUATION_BATCH, self.config.num_eval_episodes - start)
            episodes = EpisodeSource(self._cached("evaluate", size), seed=EVALUATION_SEEDS[split] + start)
            with evaluation_mode(policy):
                results.append(play_greedily(policy, episodes, max_steps=self._limit))
        total, length = (torch.cat(column) for column in zip(*results, strict=True))
        return {
            "return_mean": float(total.mean()),
            "return_min": float(total.min()),
            "return_max": float(total.max()),
            "length": float(length.double().mean()),
        }

    def sample(self, policy: nn.Module, directory: Path, *, count: int = 8) -> list[Path]:
        """Write greedy episodes as animated GIFs, and a text with their returns, into `directory`."""

        def make(render_mode: str | None) -> Any:
            return make_environments(self.config.environment, 1, max_episode_steps=self.config.max_episode_steps, render_mode=render_mode)

        with evaluation_mode(policy):
            return draw_episodes(policy, make, directory, count=count, seed=EVALUATION_SEEDS["dev"], max_steps=self._limit)

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next rollout depends on.

        In "episodes" that is the number of rollouts. In "steps" it is the state of the environments, which only CartPole
        can tell; others start new episodes after a resume, from a seed that depends on the number of rollouts.
        """
        state: dict[str, Any] = {"num_rollouts": self._num_rollouts}
        if self.config.mode == "steps":
            source = self._source
            state |= {"environment": environment_state(source.envs), "obs": source.obs, "active": source.active}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._num_rollouts = state["num_rollouts"]
        if self.config.mode == "episodes":
            return
        if state.get("environment") is None:
            self._source.reset(self._next_seed())
            return
        set_environment_state(self._source.envs, state["environment"])
        self._source.obs, self._source.active = state["obs"].clone(), state["active"].clone()

    def _episodes(
        self, policy: nn.Module, num_samples: int, greedy: bool, greedy_baseline: bool, generator: torch.Generator | None
    ) -> Trajectory:
        """Play whole episodes, and greedy ones from the same start states for the baseline."""
        source, seed = self._cached("train", self.config.num_envs * num_samples), self._next_seed()
        episodes = EpisodeSource(source, seed=seed)
        trajectory, _ = unroll(policy, episodes, max_steps=self._limit, greedy=greedy, generator=generator)
        if not greedy_baseline:
            return trajectory
        baseline, _ = play_greedily(policy, EpisodeSource(source, seed=seed), max_steps=self._limit)
        return trajectory.replace(baseline=baseline.to(trajectory.reward))

    def _next_seed(self) -> int:
        """Derive the seed of the next reset from the task's seed and the number of rollouts."""
        return int(np.random.SeedSequence([self._seed, self._num_rollouts]).generate_state(1)[0] >> 1)

    def _cached(self, use: str, num_envs: int) -> VectorEnvSource:
        """Make environments once for each use and number of rows."""
        key = (use, num_envs)
        if key not in self._sources:
            envs = make_environments(self.config.environment, num_envs, max_episode_steps=self.config.max_episode_steps)
            self._sources[key] = VectorEnvSource(envs, seed=self._next_seed())
        return self._sources[key]
