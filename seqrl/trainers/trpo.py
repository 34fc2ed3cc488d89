"""Trust region policy optimisation (Schulman et al. 2015): the largest step along the natural gradient that a KL bound allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.auxiliary import has_aux_loss, refuse_unknown_aux_loss
from seqrl.diagnostics import average_of, describe_advantage, describe_rollout, explained_variance
from seqrl.distributions import Distribution
from seqrl.functional import losses, returns
from seqrl.functional.natural_gradient import conjugate_gradient, fisher_product, flat_gradient, split_like
from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import SKIPPED, Optimiser, OptimiserConfig
from seqrl.protocols import Task
from seqrl.requirements import require_critic, require_distribution
from seqrl.settings import Count, Fraction, Limit, NotNegative, Positive, check_settings
from seqrl.skipped import SkippedSteps
from seqrl.trainers.minibatches import Minibatches, MinibatchUnit
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

Shorter = Annotated[float, Limit("a number between 0 and 1", lambda value: 0 < value < 1)]


@dataclass
class TRPOConfig:
    """Settings of TRPO.

    Attributes:
        max_kl: largest mean KL(old policy || new policy) of an update, nats a step.
        damping: added to the diagonal of the Fisher matrix, which is singular where actions do not depend on a weight.
        conjugate_iterations: iterations of the conjugate gradient method.
        line_search_steps: step lengths that are tried before the policy stays as it was.
        backtrack: each is so much of the one before.
        critic_epochs: passes of the critic, and of the policy's auxiliary loss where it has one, over the batch in each update.
        critic_minibatches: parts of a pass, one optimiser step each.
        minibatch_unit: what is shuffled into the critic's minibatches: "rows", or "steps" for policies without memory.
        num_samples: rows sampled for each context.
        gamma: discount γ, per step.
        gae_lambda: lambda of generalised advantage estimation.
        optimiser: of the critic and the auxiliary loss, see `OptimiserConfig`; the policy's step needs no learning rate.
    """

    max_kl: Positive = 0.01
    damping: NotNegative[float] = 0.1
    conjugate_iterations: Count = 10
    line_search_steps: Count = 10
    backtrack: Shorter = 0.7
    critic_epochs: Count = 10
    critic_minibatches: Count = 8
    minibatch_unit: MinibatchUnit = "rows"
    num_samples: Count = 1
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.optimiser.ema_decay:
            raise ValueError("optimiser.ema_decay: expected 0, since the policy's step is not the optimiser's; choose the trainer ppo")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> TRPO:
        """Make the trainer."""
        return TRPO(policy, self, seed=seed, num_updates=num_updates)


class TRPO:
    """Maximises E[pi(a|s) / pi_old(a|s) A] subject to E[KL(pi_old || pi)] <= max_kl.

    The step is sqrt(2 max_kl / x'Fx) x with F x = g, where g is the objective's gradient and F the Fisher matrix; it is made
    shorter until the objective rises and the bound holds. The critic then learns by regression, from an optimiser of its own.

    Source: Schulman et al. 2015 (Trust region policy optimization), eq. 14 and appendix C.

    Differs from: Schulman et al. (2015) in advantages from a critic, as in Schulman et al. 2016 (generalized advantage estimation),
    scaled to mean 0 and deviation 1; in Fisher products over all steps, not a tenth of them. An auxiliary loss of the policy's, such as the
    classes of a glimpse policy, is learned together with the critic, by all weights that it reaches. Where some of these (glimpse
    network and core) also lie under the actor, its distribution moves beyond the bound; `policy/kl_auxiliary` tells by how much.

    Args:
        policy: trained in place; gives `Evaluation.distribution` and has a module `critic` whose parameters serve the value alone.
            One with an auxiliary loss announces it by `aux_count`.
            Layers that actor and critic share follow the actor; the critic then learns its own on top of them.
        config: see `TRPOConfig`.
        seed: of the sampling and of the critic's minibatches.
        num_updates: length of the run, for the schedule of the critic's learning rate.

    Raises:
        ValueError: when the policy has no critic of its own, or tells no distribution.
    """

    def __init__(self, policy: nn.Module, config: TRPOConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_distribution(policy, "trpo", "choose the trainer ppo, reinforce or self_critical")
        self.policy = policy
        self.config = config or TRPOConfig()
        critics = {id(parameter) for parameter in require_critic(policy, "trpo").parameters()}
        self.actor_parameters = [p for p in policy.parameters() if p.requires_grad and id(p) not in critics]
        self._announces_aux = hasattr(policy, "aux_count")
        with _frozen([] if self._announces_aux else self.actor_parameters):
            self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self._skipped = SkippedSteps(self.config.optimiser.max_skipped_updates)  # the actor's steps; the optimiser takes the critic's

    def collect(self, task: Task) -> Trajectory:
        """Sample the next stretch of steps, or rows."""
        rows = task.rollout(self.policy.eval(), num_samples=self.config.num_samples, generator=self.optimiser.generator)
        return rows.to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take the policy's step, then fit the critic and learn the auxiliary loss."""
        config, value, mask = self.config, trajectory.value, trajectory.mask
        advantage = returns.gae(trajectory.reward, value, trajectory.terminated, trajectory.truncated, config.gamma, config.gae_lambda)
        target = advantage + value[:, :-1]
        stats = describe_rollout(trajectory) | describe_advantage(advantage, mask)
        stats["critic/explained_variance"] = explained_variance(value[:, :-1], target, mask)
        improved = self._improve_policy(trajectory, distributed.whiten(advantage, mask))
        stats |= self._fit_critic(trajectory, target) | improved
        self._skipped.finish_update()
        self.optimiser.finish_update()
        return stats

    def _improve_policy(self, trajectory: Trajectory, advantage: Tensor) -> dict[str, float]:
        """Move the actor by the longest step that raises the objective within the bound."""
        mask, config = trajectory.mask, self.config
        count = distributed.count(mask)
        evaluation = self._evaluate(trajectory)
        old, old_logp = _distribution(evaluation).detach(), evaluation.logp.detach()

        def measure(now: Evaluation) -> tuple[Tensor, Tensor]:
            """Give the objective and the KL, [] each, of this process's rows."""
            # Where the policy did not choose, a log-probability means nothing and its ratio could overflow.
            ratio = torch.where(mask, now.logp - old_logp, 0.0).exp()
            return masked_mean(ratio * advantage, mask, count), masked_mean(old.kl(_distribution(now)), mask, count)

        objective, divergence = measure(evaluation)
        gradient = distributed.mean(flat_gradient(objective, self.actor_parameters, retain_graph=True))
        if not bool(gradient.isfinite().all()):
            self._skipped.skip(f"the policy's gradient is not finite at update {self.optimiser.num_finished}")
            return {"policy/step_taken": 0.0, SKIPPED: 1.0}
        self._skipped.taken = True
        local_product = fisher_product(divergence, self.actor_parameters)

        def product(vector: Tensor) -> Tensor:
            return distributed.mean(local_product(vector)) + config.damping * vector

        direction, residual = conjugate_gradient(product, gradient, config.conjugate_iterations)
        curvature = float(direction @ product(direction))
        scale = (2 * config.max_kl / curvature) ** 0.5 if curvature > 0 else 0.0
        stats = self._line_search(trajectory, measure, direction * scale)
        return stats | {"policy/gradient_norm": float(gradient.norm()), "policy/conjugate_residual": residual}

    def _evaluate(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the policy so that the KL's gradient can be differentiated again."""
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers cannot
            return self.policy(trajectory)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _line_search(
        self, trajectory: Trajectory, measure: Callable[[Evaluation], tuple[Tensor, Tensor]], step: Tensor
    ) -> dict[str, float]:
        """Try ever shorter steps; go back to the start when none is good."""
        start = [parameter.clone() for parameter in self.actor_parameters]
        before = float(distributed.mean(measure(self.policy(trajectory))[0]))
        found, taken = {"policy/kl_step": 0.0, "policy/objective_gain": 0.0}, False
        for tried in range(1, self.config.line_search_steps + 1):
            self._move(start, self.config.backtrack ** (tried - 1) * step)
            objective, divergence = (float(distributed.mean(number)) for number in measure(self.policy(trajectory)))
            if taken := objective > before and divergence <= self.config.max_kl:
                found = {"policy/kl_step": divergence, "policy/objective_gain": objective - before}
                break
        else:
            self._move(start, torch.zeros_like(step))
        return found | {"policy/line_search_steps": float(tried), "policy/step_taken": float(taken)}

    def _fit_critic(self, trajectory: Trajectory, target: Tensor) -> dict[str, float]:
        """Regress the critic on its targets for some epochs; what the auxiliary loss reaches learns beside it."""
        config, history = self.config, list[dict[str, float]]()
        minibatches = Minibatches(trajectory, config.critic_minibatches, config.minibatch_unit, self.optimiser.generator)
        aux_total, has_aux = minibatches.aux_total(self.policy), self._has_aux_loss(trajectory)
        reached = self._reached_by_aux_loss(trajectory) if has_aux else set()
        before = self._distribution_now(trajectory) if has_aux else None
        with _frozen([parameter for parameter in self.actor_parameters if id(parameter) not in reached]):
            for _ in range(config.critic_epochs):
                for part, columns in minibatches.epoch(target=target):
                    history.append(self.optimiser.minimise(part, self.critic_loss, aux_total=aux_total, target=columns["target"]))
        stats = average_of(history)
        if before is not None:
            divergence = masked_mean(before.kl(self._distribution_now(trajectory)), trajectory.mask, distributed.count(trajectory.mask))
            stats["policy/kl_auxiliary"] = float(distributed.mean(divergence.detach()))
        return stats

    def _has_aux_loss(self, trajectory: Trajectory) -> bool:
        """Say whether the policy has something of its own to learn from the rows of any process."""
        if not self._announces_aux:
            return False
        return bool(distributed.mean(torch.tensor(float(has_aux_loss(self.policy, trajectory)), device=self.optimiser.device)))

    def _reached_by_aux_loss(self, trajectory: Trajectory) -> set[int]:
        """Name the actor's parameters that the policy's auxiliary loss depends on in any process, by their `id`."""
        loss = self.policy(trajectory).aux_loss
        gradients: Sequence[Tensor | None] = [None] * len(self.actor_parameters)
        if loss is not None and loss.requires_grad:
            gradients = torch.autograd.grad(loss.sum(), self.actor_parameters, allow_unused=True)
        flags = torch.tensor([float(gradient is not None) for gradient in gradients], device=self.optimiser.device)
        reached = distributed.mean(flags).tolist()
        return {id(parameter) for parameter, share in zip(self.actor_parameters, reached, strict=True) if share}

    @torch.no_grad()
    def _distribution_now(self, trajectory: Trajectory) -> Distribution:
        return _distribution(self.policy(trajectory))

    def critic_loss(self, part: Trajectory, evaluation: Evaluation, target: Tensor) -> dict[str, Tensor]:
        """Give the critic's loss of each step, [B, T]."""
        refuse_unknown_aux_loss(self.policy, evaluation, "trpo")
        return {"loss/value": losses.value(evaluation.value, target)}

    def _move(self, start: Sequence[Tensor], step: Tensor) -> None:
        """Set the actor's parameters to start + step."""
        for parameter, origin, change in zip(self.actor_parameters, start, split_like(step, self.actor_parameters), strict=True):
            parameter.copy_(origin + change)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": "gae", "samples": self.config.num_samples}

    def state_dict(self) -> dict[str, Any]:
        """Give the optimiser's and the generator's state, and how many of the actor's steps were skipped in a row."""
        return {**state_of(self), "num_skipped": self._skipped.in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        load_state(self, state)
        self._skipped.in_a_row = state.get("num_skipped", 0)  # which checkpoints of earlier versions do not hold


def _distribution(evaluation: Evaluation) -> Distribution:
    if evaluation.distribution is None:
        raise ValueError(
            "trpo: expected a policy that gives `Evaluation.distribution`, got None; choose the trainer ppo, reinforce or self_critical"
        )
    return evaluation.distribution


@contextmanager
def _frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Take parameters out of differentiation for a while."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
