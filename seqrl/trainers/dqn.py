"""Deep Q-learning (Mnih et al. 2015) and what was added to it since, each a setting of its own."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import average_of, describe_rollout
from seqrl.functional.reductions import masked_mean
from seqrl.functional.targets import action_value_loss, bootstrapped
from seqrl.optimiser import SKIPPED, Optimiser, Stats
from seqrl.policies.action_values import ActionValues, take_action
from seqrl.protocols import Task
from seqrl.replay.buffer import Replay, ReplaySample
from seqrl.requirements import hint, require_constant_rewards
from seqrl.trainers.dqn_config import DQNConfig as DQNConfig
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory, Tree, map_tree


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
    saved = ("target", "replay", "num_env_steps", "num_optimiser_steps", "keeps_raw", "bonus")

    def __init__(self, policy: nn.Module, config: DQNConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, ActionValues):
            raise ValueError(
                f"dqn: expected a network of action values (discrete actions only), got a {type(policy).__name__}; "
                f"{hint(policy, 'action_values')}choose ppo, a2c, trpo, reinforce or cem, which can train that one"
            )
        self.policy: ActionValues = policy
        self.config = config = config or DQNConfig()
        self.num_updates = num_updates
        self.optimiser = Optimiser(policy, config.optimiser, num_updates=num_updates, seed=seed)
        # Only now have all processes the same weights.
        self.target = None if config.target_network == "none" else copy.deepcopy(policy).requires_grad_(False).eval()
        if self.target is not None:  # what is seen is the same to both; only weights lag behind
            self.target.inputs = policy.inputs
        recurrent = policy.config.memory != "none"
        self.replay = Replay(
            config.buffer_size,
            n=config.n_step,
            gamma=config.gamma,
            window=config.burn_in_steps + config.window_steps if recurrent else 0,
            stored_state=recurrent and config.first_state == "stored",
            prioritised=config.replay == "prioritised",
            priority_exponent=config.priority_exponent,
            seed=seed,
        )
        self.bonus = config.bonus.build(policy, seed=seed, num_updates=num_updates, device=self.optimiser.device)
        self.num_env_steps = 0
        self.keeps_raw = True
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

    def check_task(self, task: Task) -> None:
        """Refuse rewards whose unit moves beside a bonus."""
        if self.bonus is not None:
            require_constant_rewards(task, "dqn with a bonus", "rewards with bonuses in them")

    def collect(self, task: Task) -> Trajectory:
        """Act ε-greedily."""
        self.check_task(task)
        raw_rewards = getattr(task, "raw_rewards", None)
        self.replay.present = raw_rewards() if callable(raw_rewards) else None
        if self.replay.present is not None and not self.keeps_raw:
            raise ValueError(
                "replay: was filled by an older version of the program, with rewards that had been divided already, which "
                "cannot be undone; start a new run with init_from: and the folder of this one"
            )
        self.policy.eval()
        self.policy.epsilon = self.epsilon
        return task.rollout(self.policy, generator=self.optimiser.generator).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Keep the steps of a rollout, and take the optimiser steps that belong to it once enough are kept."""
        stats = describe_rollout(trajectory) | {"explore/epsilon": self.epsilon}
        trajectory, paid = self.bonus.pay(trajectory) if self.bonus else (trajectory, {})
        stats |= paid
        # Stretches of steps are no episodes: how many of them end says nothing here.
        stats.pop("rollout/ended", None)
        if self.config.replay == "none":
            if self.replay.window > trajectory.num_steps:
                raise ValueError(
                    f"window_steps, burn_in_steps: expected at most {trajectory.num_steps} together without a replay, got "
                    f"{self.replay.window}; raise the number of steps that the task collects (num_steps)"
                )
            self.replay.clear()
        self.replay.add(trajectory)
        # Those of all processes, so that all begin to learn in the same update.
        self.num_env_steps += int(distributed.summed(trajectory.mask.sum()))
        stats["replay/num_steps"] = float(self.replay.num_steps)
        self.policy.train(self.policy.config.dropout > 0)
        history: list[Stats] = []
        # Every process takes part in each optimiser step: all wait for one that has just joined, or has seen no step that counts.
        if self.num_env_steps >= self.config.learning_starts and distributed.least(int(self.replay.can_draw), self.optimiser.device):
            history = [self._improve(described=step == self.config.gradient_steps) for step in range(1, self.config.gradient_steps + 1)]
        if self.config.replay == "prioritised":
            stats["replay/importance_exponent"] = self.importance_exponent
        self.optimiser.finish_update()
        return stats | average_of(history) | {"policy/optimiser_steps": float(len(history))}

    def _improve(self, *, described: bool) -> Stats:
        """Take one optimiser step on a minibatch; describe the values where asked, which takes a tenth of the step's time."""
        drawn = self.replay.draw(self.config.batch_size, importance_exponent=self.importance_exponent).to(self.optimiser.device)
        self.policy.draw_noise(self.optimiser.generator)
        if self.target is not None:
            self.target.draw_noise(self.optimiser.generator)
        drawn, target = self._targets(drawn)
        mask = drawn.trajectory.mask
        noted: list[tuple[Tensor, Tensor]] = []
        stats, _ = self.optimiser.step(drawn.trajectory, partial(self.loss, noted), target=target, weight=drawn.weight)
        values, error = (torch.cat(column) for column in zip(*noted, strict=True))
        if stats[SKIPPED]:  # what is not finite must not be drawn first from then on
            error = error.nan_to_num(0.0, 0.0, 0.0)
        self.replay.set_errors(drawn, error)
        self.num_optimiser_steps += 1
        self._follow()
        if not described or stats[SKIPPED]:
            return stats
        return stats | {"action_value/mean": masked_mean(values, mask), "action_value/error": masked_mean(error.abs(), mask)}

    def loss(
        self, noted: list[tuple[Tensor, Tensor]], part: Trajectory, evaluation: Evaluation, target: Tensor, weight: Tensor
    ) -> dict[str, Tensor]:
        """Give the loss of each step, [B, T], and note values and errors."""
        delta = self.config.huber_delta if self.config.loss == "huber" else None
        loss, error = action_value_loss(evaluation.value, evaluation.returns, target, self.policy.config.estimate, delta)
        noted.append((evaluation.value.detach(), error.detach().masked_fill(~part.mask, 0.0)))
        return {"loss/td": loss * weight}

    @torch.no_grad()
    def _targets(self, drawn: ReplaySample) -> tuple[ReplaySample, Tensor]:
        """Bring memories up to date, and give what is learned from with its targets, [N, T] or [N, T, K]."""
        window, network = drawn.trajectory, self.policy
        skip = self.config.burn_in_steps if network.torso is not None else 0
        drawn = drawn.without_first(skip, network.state_after(window, skip))
        after, obs = self._after(self.target or network, drawn, window, skip)
        choosing, _ = self._after(network, drawn, window, skip) if self.config.double else (after, obs)
        action = network.best(choosing, obs)
        chosen = take_action(after, action)
        return drawn, bootstrapped(chosen, drawn.n_step_return, drawn.bootstrap_discount, network.config.estimate, network.support)

    def _after(self, network: ActionValues, drawn: ReplaySample, window: Trajectory, skip: int) -> tuple[Tensor, Tree]:
        """Give a network's outputs [N, T, A, K] where each transition ends, and what is seen there."""
        part = drawn.trajectory
        if network.torso is None:
            obs = map_tree(lambda leaf: leaf[:, 1:], part.obs)
            return network.outputs(obs)[0], obs
        # Each network has a memory of its own.
        state = part.state0 if network is self.policy else network.state_after(window, skip)
        outputs, _ = network.outputs(part.obs, state, F.pad(~part.mask, [1, 0]))
        row = torch.arange(part.batch_size, device=outputs.device).unsqueeze(1)
        return outputs[row, drawn.bootstrap_index], map_tree(lambda leaf: leaf[row, drawn.bootstrap_index], part.obs)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target network after the network."""
        if self.target is not None and self.config.target_network == "moving_average":
            theirs, ours = ([*map(torch.Tensor.detach, network.parameters())] for network in (self.target, self.policy))
            torch._foreach_lerp_(theirs, ours, self.config.tau)
        elif self.target is not None and self.num_optimiser_steps % self.config.target_every == 0:
            self.target.load_state_dict(self.policy.state_dict())

    state_dict = state_of

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        # Earlier versions kept rewards in the unit that they had then; without a replay nothing is kept.
        load_state(self, {"keeps_raw": self.config.replay == "none", "bonus": None, **state})
