"""Deep Q-learning (Mnih et al. 2015) and what was added to it since, each a setting of its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.diagnostics import average_of, describe_rollout
from seqrl.functional import losses
from seqrl.functional.reductions import masked_mean
from seqrl.functional.targets import categorical_cross_entropy, project_categorical, quantile_huber
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig
from seqrl.policies.action_values import ActionValues, take_action
from seqrl.protocols import Task
from seqrl.replay.buffer import Drawn, Replay
from seqrl.trajectory import Evaluation, Trajectory, Tree, map_tree

ReplayKind = Literal["uniform", "prioritised", "none"]
TargetNetwork = Literal["hard", "moving_average", "none"]
Loss = Literal["huber", "mse"]
FirstState = Literal["empty", "stored"]


@dataclass
class DQNConfig:
    """Settings of DQN. Steps are those of all environments together.

    What belongs to the network (dueling streams, noisy weights, distributions, memory) is set at `task.policy.action_values`.

    Attributes:
        discount: gamma, per step.
        n_step: rewards summed before the bootstrap.
        double: choose the action that follows with the network being learned, rate it with the target network.
        replay: "uniform"; "prioritised"; or "none", which learns from the rollout just made and forgets it.
        replay_capacity: steps kept.
        priority_exponent: alpha of prioritised replay; 0 is even.
        importance_exponent: beta of prioritised replay at the beginning; it rises linearly to 1 by the end of the run.
        learning_starts: steps before the first optimiser step.
        batch_size: transitions of a minibatch, or windows for a network with memory.
        gradient_steps: minibatches, and so optimiser steps, an update.
        target_network: "hard", a copy made every `target_every` optimiser steps; "moving_average", which moves by `target_rate`
            at each; "none", the network itself.
        target_every: optimiser steps between copies.
        target_rate: tau, the share of the network's weights in the average.
        loss: "huber", linear beyond an error of `huber_delta`, or "mse", which for quantiles is the plain quantile loss;
            categorical estimates have the cross-entropy instead.
        huber_delta: kappa, in the unit of the reward.
        epsilon_start: probability of a chance action at first.
        epsilon_final: the same in the end.
        epsilon_steps: steps over which it falls, linearly.
        window_steps: steps of a window that are learned from, with memory.
        burn_in_steps: steps before them that only bring the memory up to date.
        first_state: the memory at the beginning of a window: "empty" (windows begin anywhere), or "stored" (as the policy had it
            when it acted; windows begin with rollouts).
        optimiser: see `OptimiserConfig`.
    """

    discount: float = 0.99
    n_step: int = 1
    double: bool = False
    replay: ReplayKind = "uniform"
    replay_capacity: int = 50_000
    priority_exponent: float = 0.6
    importance_exponent: float = 0.4
    learning_starts: int = 1_000
    batch_size: int = 64
    gradient_steps: int = 32
    target_network: TargetNetwork = "hard"
    target_every: int = 250
    target_rate: float = 0.005
    loss: Loss = "huber"
    huber_delta: float = 1.0
    epsilon_start: float = 1.0
    epsilon_final: float = 0.05
    epsilon_steps: int = 10_000
    window_steps: int = 16
    burn_in_steps: int = 0
    first_state: FirstState = "empty"
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(max_grad_norm=10.0))

    def __post_init__(self) -> None:
        choices = {"replay": ReplayKind, "target_network": TargetNetwork, "loss": Loss, "first_state": FirstState}
        for name, literal in choices.items():
            if getattr(self, name) not in get_args(literal):
                raise ValueError(f"{name}: expected one of {', '.join(get_args(literal))}, got {getattr(self, name)!r}")
        for name in ("n_step", "replay_capacity", "batch_size", "gradient_steps", "target_every", "window_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("learning_starts", "epsilon_steps", "burn_in_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0 steps, got {getattr(self, name)}")
        fractions = ("discount", "priority_exponent", "importance_exponent", "target_rate", "epsilon_start", "epsilon_final")
        for name in fractions:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: expected a number in 0..1, got {getattr(self, name)}")
        if self.huber_delta <= 0:
            raise ValueError(f"huber_delta: expected a number above 0, got {self.huber_delta}")

    def shortened(self, share: float) -> DQNConfig:
        """Give settings with a share of the optimiser steps in an update, and some in the first one, to measure how long it takes."""
        return replace(self, gradient_steps=max(1, round(share * self.gradient_steps)), learning_starts=0)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> DQN:
        """Make the trainer."""
        return DQN(policy, self, seed=seed, num_updates=num_updates)


class DQN:
    """Pulls Q(s, a) towards r + γ max_a' Q_target(s', a'), on steps drawn from a replay of what was experienced.

    With `double` the target is r + γ Q_target(s', argmax_a' Q(s', a')). n-step targets carry no correction for the actions
    being chance ones.

    Source: Mnih et al. 2015 (Human-level control through deep reinforcement learning), algorithm 1; double: van Hasselt et al. 2016
    (Deep reinforcement learning with double Q-learning), eq. 4; moving average: Lillicrap et al. 2016 (Continuous control with
    deep reinforcement learning), algorithm 1; n steps and the combination: Hessel et al. 2018 (Rainbow).

    Args:
        policy: an `ActionValues`, trained in place.
        config: see `DQNConfig`.
        seed: of the exploration and of the replay.
        num_updates: length of the run, for the learning rate and the importance exponent.

    Raises:
        ValueError: when the policy has no action values.
    """

    own_state = ("generator", "replay")

    def __init__(self, policy: nn.Module, config: DQNConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, ActionValues):
            raise ValueError(
                f"dqn: expected a network of action values (task.policy.kind: action_values, discrete actions only), got "
                f"{type(policy).__name__}; ppo, a2c, trpo, reinforce and cem can train that one"
            )
        self.policy: ActionValues = policy
        self.config = config = config or DQNConfig()
        self.num_updates = num_updates
        self.optimiser = Optimiser(policy, config.optimiser, num_updates=num_updates)
        # Only now have all processes the same weights.
        self.target = policy if config.target_network == "none" else copy.deepcopy(policy).requires_grad_(False).eval()
        # What is seen is the same to both; only weights lag behind.
        self.target.inputs = policy.inputs
        self.generator = self.optimiser.make_generator(seed)
        recurrent = policy.config.memory != "none"
        self.replay = Replay(
            config.replay_capacity,
            n=config.n_step,
            discount=config.discount,
            window=config.burn_in_steps + config.window_steps if recurrent else 0,
            stored_state=recurrent and config.first_state == "stored",
            prioritised=config.replay == "prioritised",
            priority_exponent=config.priority_exponent,
            seed=seed,
        )
        self.num_env_steps = 0
        self._keeps_raw = True
        self.num_optimiser_steps = 0

    @property
    def epsilon(self) -> float:
        """The present probability of a chance action."""
        progress = min(1.0, self.num_env_steps / self.config.epsilon_steps) if self.config.epsilon_steps else 1.0
        return self.config.epsilon_start + progress * (self.config.epsilon_final - self.config.epsilon_start)

    @property
    def importance_exponent(self) -> float:
        """The present beta."""
        start = self.config.importance_exponent
        return start + (1 - start) * min(1.0, self.optimiser.num_finished / max(1, self.num_updates - 1))

    def collect(self, task: Task) -> Trajectory:
        """Act ε-greedily."""
        raw_rewards = getattr(task, "raw_rewards", None)
        self.replay.present = raw_rewards() if callable(raw_rewards) else None
        if self.replay.present is not None and not self._keeps_raw:
            raise ValueError(
                "replay: was filled by an older version of the program, with rewards that task.reward_scale had divided already, which "
                "cannot be undone; start a new run with init_from: and the folder of this one"
            )
        self.policy.eval()
        self.policy.epsilon = self.epsilon
        return task.rollout(self.policy, generator=self.generator).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Keep the steps of a rollout, and take the optimiser steps that belong to it once enough are kept."""
        stats = describe_rollout(trajectory) | {"explore/epsilon": self.epsilon}
        # Stretches of steps are no episodes: how many of them end says nothing here.
        stats.pop("rollout/ended", None)
        if self.config.replay == "none":
            self._check_window(trajectory)
            self.replay.clear()
        self.replay.add(trajectory)
        # Those of all processes, so that all begin to learn in the same update.
        self.num_env_steps += round(float(self.optimiser.mean(trajectory.mask.sum().float())) * self.optimiser.num_processes)
        stats["replay/num_steps"] = float(self.replay.num_steps)
        self.policy.train(self.policy.config.dropout > 0)
        history: list[dict[str, Tensor | float]] = []
        # Every process takes part in each optimiser step: all wait for one that has just joined, or has seen no step that counts.
        if self.num_env_steps >= self.config.learning_starts and self.optimiser.least(int(self.replay.can_draw)):
            history = [self._improve(described=step == self.config.gradient_steps) for step in range(1, self.config.gradient_steps + 1)]
        if self.config.replay == "prioritised":
            stats["replay/importance_exponent"] = self.importance_exponent
        self.optimiser.finish_update()
        return stats | average_of(history) | {"policy/optimiser_steps": float(len(history))}

    def _check_window(self, trajectory: Trajectory) -> None:
        if self.replay.window > trajectory.num_steps:
            raise ValueError(
                f"window_steps, burn_in_steps: expected at most {trajectory.num_steps} together without a replay, got "
                f"{self.replay.window}; raise task.num_steps"
            )

    def _improve(self, *, described: bool) -> dict[str, Tensor | float]:
        """Take one optimiser step on a minibatch; describe the values where asked, which takes a tenth of the step's time."""
        drawn = self.replay.draw(self.config.batch_size, importance_exponent=self.importance_exponent).to(self.optimiser.device)
        self.policy.draw_noise(self.generator)
        if self.target is not self.policy:
            self.target.draw_noise(self.generator)
        drawn, target = self._targets(drawn)
        mask = drawn.trajectory.mask
        noted: list[tuple[Tensor, Tensor]] = []
        figures, _ = self.optimiser.step(drawn.trajectory, partial(self.loss, noted), target=target, weight=drawn.weight)
        values, error = (torch.cat(column) for column in zip(*noted, strict=True))
        if figures[SKIPPED]:  # what is not finite must not be drawn first from then on
            error = error.nan_to_num(0.0, 0.0, 0.0)
        self.replay.set_errors(drawn, error)
        self.num_optimiser_steps += 1
        self._follow()
        if not described or figures[SKIPPED]:
            return figures
        figures["action_value/mean"] = masked_mean(values, mask)
        return figures | {"action_value/error": masked_mean(error.abs(), mask)}

    def loss(
        self, noted: list[tuple[Tensor, Tensor]], part: Trajectory, evaluation: Evaluation, target: Tensor, weight: Tensor
    ) -> dict[str, Tensor]:
        """Give the loss of each step, [B, T], and note values and errors."""
        loss, error = self._loss(evaluation, target)
        noted.append((evaluation.value.detach(), error.detach().masked_fill(~part.mask, 0.0)))
        return {"loss/td": loss * weight}

    def _loss(self, evaluation: Evaluation, target: Tensor) -> tuple[Tensor, Tensor]:
        """Give the loss and the error, [N, T] each, of estimates whose targets are [N, T], or distributions [N, T, K]."""
        delta = self.config.huber_delta if self.config.loss == "huber" else None
        if evaluation.returns is None:
            return losses.td(evaluation.value.float(), target, delta), evaluation.value - target
        if self.policy.config.estimate == "quantile":
            loss = quantile_huber(evaluation.returns.float(), target, delta or 0.0)
            return loss, evaluation.value - target.mean(dim=-1)
        loss = categorical_cross_entropy(evaluation.returns.float(), target)
        # The divergence KL(target || estimate) is what is left to learn.
        return loss, loss + torch.special.xlogy(target, target).sum(dim=-1)

    @torch.no_grad()
    def _targets(self, drawn: Drawn) -> tuple[Drawn, Tensor]:
        """Bring memories up to date, and give what is learned from with its targets, [N, T] or [N, T, K]."""
        window, network = drawn.trajectory, self.policy
        skip = self.config.burn_in_steps if network.torso is not None else 0
        drawn = drawn.without_first(skip, network.state_after(window, skip))
        after, obs = self._after(self.target, drawn, window, skip)
        choosing, _ = self._after(network, drawn, window, skip) if self.config.double else (after, obs)
        action = network.best(choosing, obs)
        chosen = take_action(after, action)
        if network.config.estimate == "mean":
            return drawn, drawn.earned + drawn.follows * chosen.squeeze(-1)
        if network.config.estimate == "quantile":
            return drawn, drawn.earned.unsqueeze(-1) + drawn.follows.unsqueeze(-1) * chosen
        return drawn, project_categorical(chosen.softmax(dim=-1), drawn.earned, drawn.follows, network.support)

    def _after(self, network: ActionValues, drawn: Drawn, window: Trajectory, skip: int) -> tuple[Tensor, Tree]:
        """Give a network's outputs [N, T, A, K] where each transition ends, and what is seen there."""
        part = drawn.trajectory
        if network.torso is None:
            obs = map_tree(lambda leaf: leaf[:, 1:], part.obs)
            return network.outputs(obs)[0], obs
        # Each network has a memory of its own.
        state = part.state0 if network is self.policy else network.state_after(window, skip)
        outputs, _ = network.outputs(part.obs, state, F.pad(~part.mask, [1, 0]))
        row = torch.arange(part.batch_size, device=outputs.device).unsqueeze(1)
        return outputs[row, drawn.after], map_tree(lambda leaf: leaf[row, drawn.after], part.obs)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target network after the network."""
        if self.config.target_network == "moving_average":
            theirs, ours = ([*map(torch.Tensor.detach, network.parameters())] for network in (self.target, self.policy))
            torch._foreach_lerp_(theirs, ours, self.config.target_rate)
        elif self.config.target_network == "hard" and self.num_optimiser_steps % self.config.target_every == 0:
            self.target.load_state_dict(self.policy.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's, the generator's, the target network's and the replay's state."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "target": None if self.target is self.policy else self.target.state_dict(),
            "replay": self.replay.state_dict(),
            "num_env_steps": self.num_env_steps,
            "num_optimiser_steps": self.num_optimiser_steps,
            "keeps_raw": self._keeps_raw,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        if self.target is not self.policy:
            self.target.load_state_dict(state["target"])
        self.replay.load_state_dict(state["replay"])
        self.num_env_steps, self.num_optimiser_steps = state["num_env_steps"], state["num_optimiser_steps"]
        # Earlier versions kept rewards in the unit that they had then; without a replay nothing is kept.
        self._keeps_raw = state.get("keeps_raw", self.config.replay == "none")
