"""Atari: act in ale-py's games through the control task's rollouts and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.policies.convolutions import EncoderPrecision, dtype_of
from seqrl.policies.networks import NatureCNN
from seqrl.policies.tokens import evaluation_mode
from seqrl.settings import Count, FractionBelowOne, NotNegative, check_settings
from seqrl.tasks.atari.games import FRAME_SKIP, AtariGames
from seqrl.tasks.atari.names import game_name
from seqrl.tasks.atari.scores import human_normalised
from seqrl.tasks.control.demonstrations import DemonstrationsConfig
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig, EnvTask, Mode


def _shared_trunk() -> ControlPolicyConfig:
    return ControlPolicyConfig(actor_critic=ActorCriticConfig(shared_trunk=True))


@dataclass
class AtariConfig:
    """Settings of the Atari task; the defaults are the usual preprocessing.

    Attributes:
        environment: the game, for instance pong, Pong or ALE/Pong-v5.
        mode: "steps": rollouts of `num_steps` steps, the games go on across rollouts; "episodes": each row is an episode (a life
            where `episodic_life` is set) from its start to its end. A row keeps 28 KB a step; `max_frames` limits it.
        num_envs: games side by side; rows of a rollout. In "episodes" times the trainer's num_samples.
        num_steps: steps of a rollout in "steps".
        num_frames: stacked frames that the policy sees.
        noop_max: most no-ops at the start of a game.
        sticky_actions: probability that the console repeats the last action instead, each frame; 0.25 in newer work.
        episodic_life: in training a lost life terminates, and the game goes on. Evaluation plays whole games.
        reward_clip: largest size of a training reward; 0 for no limit. Metrics and evaluations stay raw.
        full_action_space: all 18 actions in every game, rather than those with an effect.
        max_frames: a game is truncated after so many frames, four a step.
        num_threads: threads that step the games; 0 for one a core.
        precision: dtype of the convolutions, in rollouts and updates alike; "auto": what the run measures to be fastest, see
            `seqrl.run.measured_settings`, and fp32 outside of a run. Heads, log-probabilities, losses and weights are fp32.
        step_timeout_s: seconds after which games that do not answer are given up; 0 for never.
        num_eval_episodes: greedy games of an evaluation, always from the same seeds.
        demonstrations: games of an expert to be imitated, see `seqrl.tasks.control.demonstrations.DemonstrationsConfig`.
        expert: folder of a run in the same game, whose policy says what it would do (DAgger); "" for none.
        policy: see `seqrl.tasks.control.policy.ControlPolicyConfig`; an actor-critic with one Nature CNN by default.
    """

    environment: str = "pong"
    mode: Mode = "steps"
    num_envs: int = 8
    num_steps: int = 128
    num_frames: Count = 4
    noop_max: NotNegative[int] = 30
    sticky_actions: FractionBelowOne = 0.0
    episodic_life: bool = True
    reward_clip: float = 1.0
    full_action_space: bool = False
    max_frames: Count = 108_000
    num_threads: NotNegative[int] = 0
    precision: EncoderPrecision = "auto"
    step_timeout_s: float = 60.0
    num_eval_episodes: int = 10
    demonstrations: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    expert: str = ""
    policy: ControlPolicyConfig = field(default_factory=_shared_trunk)

    def __post_init__(self) -> None:
        check_settings(self)
        self.control()  # looks at the others

    def control(self) -> ControlConfig:
        """Give the settings that are the control task's."""
        shared = {part.name for part in fields(self)} & {part.name for part in fields(ControlConfig)}
        return ControlConfig(**{name: getattr(self, name) for name in shared})

    def shortened(self, share: float) -> AtariConfig:
        """Give the same task with a share of the steps, or of the games, to measure how long an update takes."""
        if self.mode == "episodes":
            return replace(self, num_envs=max(2, round(share * self.num_envs)))
        return replace(self, num_steps=max(1, round(share * self.num_steps)))

    def build(self, seed: int) -> EnvTask:
        """Make the task."""
        return EnvTask(self.control(), seed=seed, factory=AtariFactory(self))


class AtariFactory:
    """Makes the games of a `EnvTask`, see `seqrl.tasks.control.environments.EnvironmentFactory`.

    Args:
        config: see `AtariConfig`.

    Raises:
        ValueError: when ale-py is missing or has no such game.
    """

    def __init__(self, config: AtariConfig) -> None:
        self.config, self.name = config, game_name(config.environment)
        self.max_episode_steps = config.max_frames // FRAME_SKIP + 1

    def make(self, num_envs: int, *, training: bool, render_mode: str | None = None) -> AtariGames:
        """Make games that end with a life in training, and whole ones in evaluation."""
        config = self.config
        return AtariGames(
            self.name,
            num_envs,
            num_frames=config.num_frames,
            lives_are_episodes=training and config.episodic_life,
            fire_after_life=config.episodic_life and not training,
            full_action_space=config.full_action_space,
            render_mode=render_mode,
            noop_max=config.noop_max,
            repeat_action_probability=config.sticky_actions,
            max_num_frames_per_episode=config.max_frames,
            num_threads=config.num_threads,
        )

    def prepare(self, policy: nn.Module) -> None:
        """Let the policy's convolutions run in the task's precision."""
        for encoder in encoders(policy):
            encoder.dtype = dtype_of(self.config.precision)

    @contextmanager
    def acting(self, policy: nn.Module) -> Iterator[None]:
        """Bring the weights of the policy's convolutions into their form once for all steps."""
        with evaluation_mode(policy), ExitStack() as stack:
            for encoder in encoders(policy):
                stack.enter_context(encoder.constant_weights())
            yield

    def whole_game(self, info: dict[str, Any], ended: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which rows' games are over, so that the metrics tell raw scores of whole games."""
        return info["game_over"]  # type: ignore[no-any-return]

    def describe(self, returns: Tensor, lengths: Tensor) -> dict[str, float]:
        """Add the mean score on the scale where a random player has 0 and a person 1, for the 57 games that have one."""
        score = human_normalised(self.name, float(returns.double().mean()))
        return {} if score is None else {"human_normalised_score": score}


def encoders(policy: nn.Module) -> list[NatureCNN]:
    """List a policy's encoders of frames."""
    return [module for module in policy.modules() if isinstance(module, NatureCNN)]
