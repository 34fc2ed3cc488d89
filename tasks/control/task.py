"""Control: act in a gymnasium environment, in fixed stretches of steps or in whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seqrl.policies.tokens import evaluation_mode
from seqrl.protocols import Conversation, ask
from seqrl.rollout import evaluation_seed, play, refuse_forced_steps, unroll
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, Fraction, NotNegative, check_settings
from seqrl.sources import Episode
from seqrl.tasks.control.chatting import open_conversation
from seqrl.tasks.control.demonstrations import DemonstrationsConfig, load_demonstrations, record_data
from seqrl.tasks.control.environments import KNOWN_MODULES, EnvironmentFactory, GymnasiumFactory, Vectorization
from seqrl.tasks.control.episodes import EpisodeSource, describe_episodes, describe_returns, finished_episodes, play_episodes
from seqrl.tasks.control.experts import load_expert
from seqrl.tasks.control.policy import HINTS, ControlPolicyConfig, build_policy
from seqrl.tasks.control.recording import draw_episodes, record_episodes
from seqrl.tasks.control.rewards import RewardShaper
from seqrl.tasks.control.stretches import Stretches
from seqrl.tasks.control.vector_sources import VectorSources
from seqrl.tasks.control.watchdog import watched
from seqrl.trajectory import Trajectory

EVALUATION_SEEDS = {"dev": 1_000_000_007, "test": 1_500_000_001}
Mode = Literal["steps", "episodes"]


@dataclass
class ControlConfig:
    """Settings of the control task.

    Attributes:
        environment: gymnasium's id, for instance CartPole-v1, or module:id for one that a module registers when it is imported; that
            may stand in the current folder.
        environment_options: passed to the environment, for instance {is_slippery: false}.
        vectorization: "auto" takes the environment's own vectorised form where it has one; "sync" steps copies of it in turn;
            "async" each in a process of its own, for slow ones.
        mode: "steps": rollouts of `num_steps` steps, the environments go on across rollouts (PPO); "episodes": each row is
            an episode from reset to end (REINFORCE, self-critical).
        num_envs: environments side by side; rows of a rollout. In "episodes" times the trainer's num_samples.
        num_steps: steps of a rollout in "steps".
        max_episode_steps: cut episodes after so many steps; the environment's own limit when null.
        frame_stack: observations shown at once, oldest first; an episode's first one fills all places.
        action_masks: never choose what the environment's `info["action_mask"]` rules out, or a mask in its observations; null for
            the latter alone, false for neither.
        action_mask_key: name of the mask in observations of several parts; such a mask is no feature. "" where there is none.
        reward_scale: divide the rewards by the running deviation of the discounted returns. Metrics and evaluations stay raw. A replay
            keeps raw rewards and divides what is drawn by the deviation of the moment.
        reward_discount: gamma of those returns.
        reward_clip: largest size of a reward, after scaling; 0 for no limit.
        step_timeout_s: seconds after which an environment that does not answer is given up; 0 for never.
        num_eval_episodes: greedy episodes of an evaluation, always from the same start states.
        demonstrations: episodes of an expert to be imitated, see `DemonstrationsConfig`.
        expert: folder of a run in the same environment, whose policy says what it would do (DAgger); "" for none.
        policy: see `ControlPolicyConfig`.
    """

    environment: str = field(default="CartPole-v1", metadata={NAMES_CODE: KNOWN_MODULES})
    environment_options: dict[str, Any] = field(default_factory=dict)
    vectorization: Vectorization = "auto"
    mode: Mode = "steps"
    num_envs: Count = 8
    num_steps: Count = 128
    max_episode_steps: Count | None = None
    frame_stack: Count = 1
    action_masks: bool | None = None
    action_mask_key: str = "action_mask"
    reward_scale: bool = False
    reward_discount: Fraction = 0.99
    reward_clip: NotNegative[float] = 0.0
    step_timeout_s: NotNegative[float] = 60.0
    num_eval_episodes: Count = 20
    demonstrations: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    expert: str = ""
    policy: ControlPolicyConfig = field(default_factory=ControlPolicyConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def shortened(self, share: float) -> ControlConfig:
        """Give the same task with a share of the steps, or of the episodes, to measure how long an update takes."""
        if self.mode == "episodes":
            return replace(self, num_envs=max(2, round(share * self.num_envs)))
        return replace(self, num_steps=max(1, round(share * self.num_steps)))

    def build(self, seed: int) -> EnvTask:
        """Make the task."""
        return EnvTask(self, seed=seed)


class EnvTask:
    """Rollouts and evaluation in vector environments; `EnvTask("CartPole-v1")` is enough.

    Whole episodes start in states of one distribution, their common context: `group` is None, one group to the baselines.

    Args:
        config: see `ControlConfig`; or the environment's id alone, with everything else as it is there.
        seed: of the environments and of the policy's initial weights.
        factory: makes the environments; gymnasium's of `config.environment` when None.
        settings: fields of `ControlConfig` that are to be others, for instance `num_envs=32`.

    Attributes:
        whole_rows: whether rows are whole episodes, see `seqrl.protocols.Task`.
        reward_unit_moves: whether rewards are divided by a running deviation.
        environment, spaces: its name, and its spaces of observations and actions, as a policy sees them.
        demonstrations: gives the next rows to be imitated; None where there are none.
        expert: a policy that says what it would do; None where there is none; one of one's own may be set.

    Raises:
        ValueError: when the environment cannot be made, or has no time limit and none was given.
    """

    hints = HINTS

    def __init__(self, config: ControlConfig | str, *, seed: int = 0, factory: EnvironmentFactory | None = None, **settings: Any) -> None:
        self.config = config = replace(ControlConfig(environment=config) if isinstance(config, str) else config, **settings)
        self._factory = factory or GymnasiumFactory(
            config.environment, config.vectorization, config.max_episode_steps, config.environment_options, config.action_mask_key
        )
        self._acting = getattr(self._factory, "acting", evaluation_mode)
        self._seed = seed
        self.whole_rows, self.reward_unit_moves = config.mode == "episodes", config.reward_scale
        self._num_rollouts = self._num_env_steps = 0
        self.environment, self._limit = self._factory.name, self._factory.max_episode_steps
        self._rewards = RewardShaper(scale=config.reward_scale, gamma=config.reward_discount, clip=config.reward_clip)
        self._episodes_over: list[Episode] = []
        self._sources = VectorSources(
            self._factory, frame_stack=config.frame_stack, action_masks=config.action_masks, squash=config.policy.squash
        )
        self._source = self._sources.get(config.num_envs, training=True, seed=self._next_seed())
        self._drawn = partial(self._sources.drawn, seed=EVALUATION_SEEDS["dev"])
        self._stretches = Stretches(self._source, timeout_s=config.step_timeout_s, begin_anew=self._begin_anew)
        self.spaces = self._sources.policy_spaces(self._source.envs)
        about: dict[str, Any] = {"environment": self.environment, "spaces": self.spaces, "squash": config.policy.squash, "seed": seed}
        self.demonstrations, self.expert = load_demonstrations(config.demonstrations, **about), load_expert(config.expert, **about)

    def build_policy(self) -> nn.Module:
        """Make a policy that fits the environment; its initial weights depend on the task's seed."""
        policy = build_policy(self.config.policy, *self.spaces, torch.Generator().manual_seed(self._seed))
        ask(self._factory, "prepare", policy)
        ask(self.demonstrations, "show", policy)
        return policy

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
        refuse_forced_steps(num_forced_steps)
        if self.config.mode == "steps" and (num_samples != 1 or greedy_baseline):
            asked = "a greedy baseline" if greedy_baseline else f"num_samples = {num_samples}"
            raise ValueError(
                f"task.mode: steps goes on where the last rollout stopped and cannot give {asked}; "
                "set task.mode=episodes, or choose ppo, a2c or trpo with a critic and trainer.num_samples=1"
            )
        with self._acting(policy):
            if self.config.mode == "episodes":
                trajectory = self._episodes(policy, num_samples, greedy, greedy_baseline, generator)
            else:
                trajectory = self._steps(policy, greedy, generator)
        ask(policy, "observe", trajectory.obs, trajectory.mask)
        self._num_rollouts += 1
        return self._rewards.shape(trajectory, goes_on=self.config.mode == "steps") if self._rewards.changes else trajectory

    def raw_rewards(self) -> Callable[[Tensor], Tensor] | None:
        """Have rollouts hold raw rewards from now on, and give what brings them into the unit of the moment; None where it never moves."""
        self._rewards.stays_raw = self.reward_unit_moves
        return self._rewards.present if self.reward_unit_moves else None

    def pop_metrics(self) -> dict[str, float]:
        """Say what happened in the rollouts since the last call: how the episodes went that ended, with their raw rewards."""
        episodes, self._episodes_over = self._episodes_over, []
        return {"progress/num_env_steps": float(self._num_env_steps), **describe_episodes(episodes)}

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Play greedy episodes in environments of their own.

        Args:
            policy: acts without gradients.
            split: "dev" or "test", two fixed sets of start states.

        Returns:
            return_mean, return_min and return_max over the episodes, undiscounted, and length, their mean number of steps;
            the means of the environment's `EPISODE_METRICS`; and what the factory's `describe` adds.

        Raises:
            ValueError: when there is no such split.
        """
        config, seed = self.config, evaluation_seed(split, EVALUATION_SEEDS)
        make = partial(self._sources.get, training=False, seed=seed)
        with self._acting(policy):
            total, length, metrics = play_episodes(
                policy, make, count=config.num_eval_episodes, seed=seed, max_steps=self._limit, timeout_s=config.step_timeout_s
            )
        return describe_returns(total, length) | metrics | ask(self._factory, "describe", total, length, otherwise={})

    def sample(self, policy: nn.Module, directory: Path, *, count: int = 8) -> list[Path]:
        """Write greedy episodes as animated GIFs and sheets of frames, and a text with their returns, into `directory`."""
        with self._acting(policy):
            return draw_episodes(policy, self._drawn, directory, count=count, seed=EVALUATION_SEEDS["dev"], max_steps=self._limit)

    def record(self, policy: nn.Module, path: Path, *, episodes: int = 1, seed: int = 0) -> list[str]:
        """Write greedy episodes as one animation, a GIF or an MP4; give a line about each."""
        with self._acting(policy):
            return record_episodes(policy, self._drawn, path, episodes=episodes, seed=seed, max_steps=self._limit)

    def record_data(self, policy: nn.Module, folder: Path, *, episodes: int = 1, seed: int = 0) -> list[str]:
        """Write greedy episodes as numbers, to be imitated; give a line about each."""
        make = partial(self._sources.get, training=False, seed=seed)
        with self._acting(policy):
            return record_data(policy, make, folder, self._factory, self.spaces, episodes=episodes, seed=seed)

    def chat(self, policy: nn.Module, **settings: Any) -> Conversation:
        """Let somebody talk to the policy, in an environment that is a dialog; see `open_conversation`."""
        masked = self._sources.shows_masks(self._source.envs)
        return open_conversation(self._factory, policy, masked=masked, frame_stack=self.config.frame_stack, **settings)

    def state_dict(self) -> dict[str, Any]:
        """Give all that the next rollout depends on.

        In "steps" that is also the state of the environments and the policy's memory. Environments that cannot tell their state, or
        that failed within a rollout, start new episodes after a resume, from a seed that depends on the number of rollouts.
        """
        counts = {"num_rollouts": self._num_rollouts, "num_env_steps": self._num_env_steps, "rewards": self._rewards.state_dict()}
        counts["demonstrations"] = ask(self.demonstrations, "state_dict")
        return counts | (self._stretches.state_dict() if self.config.mode == "steps" else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; warn where the environments cannot, and start new episodes."""
        state = state.get("control", state)  # a game of Atari had a task of its own around this one before 0.2
        self._num_rollouts, self._num_env_steps = state["num_rollouts"], state["num_env_steps"]
        self._rewards.load_state_dict(state["rewards"])
        self._episodes_over = []
        if state.get("demonstrations") is not None:
            ask(self.demonstrations, "load_state_dict", state["demonstrations"])
        if self.config.mode == "steps":
            self._stretches.load_state_dict(state, self._factory.name)

    def load_shared_state(self, state: dict[str, Any]) -> None:
        """Take over what all processes share from the state of another one; episodes and their seeds stay this one's own."""
        self._rewards.load_shared_state(state.get("control", state)["rewards"])

    def _begin_anew(self) -> None:
        self._source.reset(self._next_seed())
        self._rewards.restart()

    def _steps(self, policy: nn.Module, greedy: bool, generator: torch.Generator | None) -> Trajectory:
        """Go on for some steps."""
        before = self._source.num_env_steps
        trajectory = self._stretches.roll(policy, self.config.num_steps, greedy=greedy, generator=generator)
        self._num_env_steps += self._source.num_env_steps - before
        self._episodes_over += self._source.pop_episodes()
        return trajectory

    def _episodes(
        self, policy: nn.Module, num_samples: int, greedy: bool, greedy_baseline: bool, generator: torch.Generator | None
    ) -> Trajectory:
        """Play whole episodes, and greedy ones from the same start states for the baseline."""
        if greedy_baseline and self._rewards.changes:
            raise ValueError(
                "task.reward_clip: expected 0 beside a greedy baseline, whose returns are raw, and no reward_scale; set task.reward_clip=0 "
                "and, where the task has it, task.reward_scale=false"
            )
        seed = self._next_seed()
        source = self._sources.get(self.config.num_envs * num_samples, training=True, seed=seed)
        with watched(source, self.config.step_timeout_s):
            trajectory, _ = unroll(policy, EpisodeSource(source, seed=seed), max_steps=self._limit, greedy=greedy, generator=generator)
            played = finished_episodes(trajectory)
            self._num_env_steps += sum(episode.length for episode in played)
            self._episodes_over += played
            if not greedy_baseline:
                return trajectory
            baseline, length = play(policy, EpisodeSource(source, seed=seed), max_steps=self._limit)
        self._num_env_steps += int(length.sum())
        return trajectory.replace(baseline=baseline.to(trajectory.reward))

    def _next_seed(self) -> int:
        """Derive the seed of the next reset from the task's seed and the number of rollouts."""
        return int(np.random.SeedSequence([self._seed, self._num_rollouts]).generate_state(1)[0] >> 1)
