"""Soft actor-critic (Haarnoja et al. 2018), for actions that are numbers and for choices (Christodoulou 2019)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.diagnostics import average_of, describe_rollout
from seqrl.distributions import Categorical, SquashedGaussian
from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig, Stats
from seqrl.policies.soft_actor_critic import SoftActorCritic, target_entropy
from seqrl.protocols import Task
from seqrl.replay.buffer import Replay
from seqrl.requirements import hint, require_constant_rewards
from seqrl.settings import Count, Fraction, Limit, NotNegative, PositiveFraction, check_settings
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

EntropyCoefficient = Annotated[
    float | str, Limit("auto or a positive number", lambda value: value == "auto" if isinstance(value, str) else value > 0)
]
TargetEntropy = Annotated[float | str, Limit("auto or a number", lambda value: value == "auto" or not isinstance(value, str))]


@dataclass
class SACConfig:
    """Settings of soft actor-critic. Steps are those of all environments together.

    What belongs to the networks is set at `task.policy.soft_actor_critic`; how many steps are taken between updates (`train_freq`
    elsewhere) is `task.num_steps`.

    Attributes:
        gamma: discount γ, per step.
        n_step: rewards summed before the bootstrap; above 1 without the entropies between, and without correction.
        buffer_size: steps kept.
        learning_starts: steps taken by chance before the first optimiser step.
        batch_size: transitions of a minibatch.
        gradient_steps: minibatches, and so optimiser steps, an update.
        tau: share of the critics' weights in those of the target, a step.
        ent_coef: α, the reward of a nat of entropy; "auto" learns it, from 1, so that the mean entropy is `target_entropy`.
        target_entropy: nats; "auto" is -D for D numbers, and 0.98 log A for A choices.
        entropy_in_values: count the entropies of later steps as rewards, as published; False leaves them to the actor's loss alone. Where
            each step that is survived pays, α and the values may otherwise drive each other up: see docs/log.md.
        optimiser: see `OptimiserConfig`; one for actor, critics and α.
    """

    gamma: Fraction = 0.99
    n_step: Count = 1
    buffer_size: Count = 1_000_000
    learning_starts: NotNegative[int] = 100
    batch_size: Count = 256
    gradient_steps: Count = 1
    tau: PositiveFraction = 0.005
    ent_coef: EntropyCoefficient = "auto"
    target_entropy: TargetEntropy = "auto"
    entropy_in_values: bool = True
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(max_grad_norm=0.0))

    def __post_init__(self) -> None:
        check_settings(self)
        if self.ent_coef != "auto" and self.target_entropy != "auto":
            raise ValueError(f"target_entropy: expected auto beside a fixed ent_coef, which is not tuned, got {self.target_entropy}")

    def shortened(self, share: float) -> SACConfig:
        """Give settings with a share of the optimiser steps in an update, and some in the first one, to measure how long it takes."""
        return replace(self, gradient_steps=max(1, round(share * self.gradient_steps)), learning_starts=0)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> SAC:
        """Make the trainer."""
        return SAC(policy, self, seed=seed, num_updates=num_updates)


class SAC:
    """Maximises E[Σ_t γ^t (r_t + α H(π(·|s_t)))], on steps drawn from a replay of what was experienced.

    critics:  Σ_k ½ (Q_k(s, a) - y)²,  y = r + γ E_π[min_k Q'_k(s', a') - α log π(a'|s')]
    actor:    E_π[α log π(a|s) - min_k Q_k(s, a)]
    α:        -log α (log π(a|s) + H_target)

    Where actions are numbers, E_π is one draw a = tanh(μ + σ ε), through which the actor's gradient goes; where they are choices it is the
    sum over all of them. Q' are the critics as they were, on a moving average.

    Source: Haarnoja et al. 2018 (Soft actor-critic algorithms and applications), eq. 5 to 9 and 18; Christodoulou 2019 (Soft
    actor-critic for discrete action settings), eq. 10 to 12; two critics: Fujimoto et al. 2018 (Addressing function approximation error);
    values without entropies: Asad et al. 2025 (Dissecting discrete soft actor-critic).
    Differs from: algorithm 1 of the first, in one step of AdamW for all three, which therefore see the same weights; log α in the place of
    α in its loss, as the authors' own code has it.

    Args:
        policy: a `SoftActorCritic`, trained in place.
        config: see `SACConfig`.
        seed: of the actions, the noise and the replay.
        num_updates: length of the run, for the learning rate.

    Raises:
        ValueError: when the policy is another one, or no such entropy can be reached.
    """

    own_state = ("generator", "replay")
    saved = ("target", "replay", "num_env_steps")

    def __init__(self, policy: nn.Module, config: SACConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, SoftActorCritic):
            raise ValueError(
                f"sac: expected a soft_actor_critic, which has an actor and critics of actions, got a {type(policy).__name__}; "
                f"{hint(policy, 'soft_actor_critic')}choose ppo, a2c, trpo, dqn, reinforce or cem, which can train that one"
            )
        self.policy: SoftActorCritic = policy
        self.config = config = config or SACConfig()
        aim = target_entropy(policy.actions) if config.target_entropy == "auto" else float(config.target_entropy)
        largest = policy.max_entropy if policy.max_entropy is not None else policy.actions.num_dimensions * math.log(2.0)
        if aim >= largest:
            raise ValueError(f"target_entropy: expected less than {largest:.3g}, that of chance actions, got {aim:g}; lower it")
        self.target_entropy = aim
        self.tunes = config.ent_coef == "auto"
        if not self.tunes:
            policy.log_ent_coef.data.fill_(math.log(float(config.ent_coef)))
        policy.log_ent_coef.requires_grad_(self.tunes)
        policy.eval()  # once, for it has nothing that trains otherwise than it acts
        self.optimiser = Optimiser(policy, config.optimiser, num_updates=num_updates, seed=seed)
        # Only now have all processes the same weights.
        self.target = copy.deepcopy(policy.critics).requires_grad_(False)
        self._theirs, self._ours = ([*map(torch.Tensor.detach, critics.parameters())] for critics in (self.target, policy.critics))
        self.replay = Replay(config.buffer_size, n=config.n_step, gamma=config.gamma, seed=seed)
        self.num_env_steps = 0

    def check_task(self, task: Task) -> None:
        """Refuse rewards whose unit moves: α is a price in it."""
        require_constant_rewards(task, "sac", "a price of entropy in the unit of the rewards")

    def collect(self, task: Task) -> Trajectory:
        """Act by chance at first, then as the policy draws."""
        self.check_task(task)
        self.policy.acts_by_chance = self.num_env_steps < self.config.learning_starts
        return task.rollout(self.policy, generator=self.optimiser.generator).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Keep the steps of a rollout, and take the optimiser steps that belong to it once enough are kept."""
        stats = describe_rollout(trajectory)
        stats.pop("rollout/ended", None)  # stretches of steps are no episodes
        self.replay.add(trajectory)
        # Those of all processes, so that all begin to learn in the same update.
        self.num_env_steps += int(distributed.summed(trajectory.mask.sum()))
        stats["replay/num_steps"] = float(self.replay.num_steps)
        history: list[Stats] = []
        if self.num_env_steps >= self.config.learning_starts and distributed.least(int(self.replay.can_draw), self.optimiser.device):
            history = [self._improve() for _ in range(self.config.gradient_steps)]
        self.optimiser.finish_update()
        return stats | average_of(history) | {"policy/optimiser_steps": float(len(history))}

    def _improve(self) -> Stats:
        """Take one optimiser step on a minibatch, and let the target follow."""
        drawn, policy = self.replay.draw(self.config.batch_size).to(self.optimiser.device), self.policy
        part = drawn.trajectory
        with torch.no_grad():
            coefficient = policy.log_ent_coef.exp()
            value = self._soft_value(_inputs(policy, part, 1), coefficient if self.config.entropy_in_values else coefficient.new_zeros(()))
            target = drawn.n_step_return + drawn.bootstrap_discount * value.unsqueeze(1)
        noise = self._noise(len(target)).unsqueeze(1)
        entropies: list[Tensor] = []
        stats, _ = self.optimiser.step(part, partial(self.loss, entropies, coefficient), all_chosen=True, target=target, noise=noise)
        torch._foreach_lerp_(self._theirs, self._ours, self.config.tau)
        if stats[SKIPPED]:
            return stats
        entropy, value = masked_mean(torch.cat(entropies), None), masked_mean(target, None)
        return stats | {"policy/entropy": entropy, "explore/ent_coef": coefficient, "action_value/mean": value}

    def loss(
        self, entropies: list[Tensor], coefficient: Tensor, part: Trajectory, evaluation: Evaluation, target: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """Give the losses of each step, [N, 1], and note entropies; `coefficient` is α, `noise` the ε [N, 1, D] of the actor's actions."""
        policy, values, distribution = self.policy, evaluation.returns, evaluation.distribution
        assert values is not None
        x = _inputs(policy, part, 0)
        if isinstance(distribution, Categorical):
            logp = distribution.logits.log_softmax(dim=-1)
            with torch.no_grad():
                q = policy.critics(x).amin(dim=0).float().unsqueeze(1)
            probability = logp.exp()
            actor = (probability * (coefficient * logp - q)).sum(dim=-1)
            entropy = -(probability * logp).sum(dim=-1)
        else:
            assert isinstance(distribution, SquashedGaussian)
            action = distribution.mean + distribution.log_std.exp() * noise
            entropy = -distribution.logp(action)
            # The critics' weights are constants here: the actor's loss is not theirs.
            q = policy.action_values(policy.critics, x, action[:, 0], constant=True).amin(dim=0).float().unsqueeze(1)
            actor = -coefficient * entropy - q
        entropies.append(entropy.detach())
        terms = {
            "loss/critic": 0.5 * (values - target.unsqueeze(2)).square().sum(dim=2),
            "loss/actor": actor,
        }
        if self.tunes:
            terms["loss/ent_coef"] = policy.log_ent_coef * (entropy.detach() - self.target_entropy)
        return terms

    def _soft_value(self, x: Tensor, coefficient: Tensor) -> Tensor:
        """Give E_π[min_k Q'_k(s, a) - α log π(a|s)], [N], of inputs [N, num_inputs]."""
        policy, distribution = self.policy, self.policy.distribution(x)
        if isinstance(distribution, Categorical):
            logp = distribution.logits.log_softmax(dim=-1)
            return (logp.exp() * (self.target(x).amin(dim=0) - coefficient * logp)).sum(dim=-1)
        action = distribution.mean + distribution.log_std.exp() * self._noise(len(x))
        return policy.action_values(self.target, x, action).amin(dim=0) - coefficient * distribution.logp(action)

    def _noise(self, count: int) -> Tensor:
        """Draw ε, [N, D]."""
        generator = self.optimiser.generator
        return torch.randn(count, self.policy.actions.num_dimensions, generator=generator, device=generator.device)

    state_dict = state_of
    load_state_dict = load_state


def _inputs(policy: SoftActorCritic, part: Trajectory, place: int) -> Tensor:
    """Give the inputs [N, num_inputs] of what was seen before a transition, place 0, or after it, place 1."""
    assert isinstance(part.obs, Tensor)
    inputs: Tensor = policy.inputs(part.obs[:, place])
    return inputs
