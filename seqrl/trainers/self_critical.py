"""Self-critical sequence training: the policy's own outputs are the baseline, so that no critic is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor, nn

from seqrl.diagnostics import describe_advantage, describe_rollout
from seqrl.functional import losses
from seqrl.functional.reductions import AverageOver
from seqrl.functional.row_advantages import row_advantage
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import lags, require_probabilities, require_whole_rows
from seqrl.settings import Count, check_settings
from seqrl.trainers.imitation import ImitationConfig, collect_rows, imitation_loss
from seqrl.trainers.importance_weights import RowRatios
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory

Baseline = Literal["greedy", "leave_one_out"]


@dataclass
class SelfCriticalConfig:
    """Settings of self-critical training.

    Attributes:
        baseline: "greedy", the score of the greedy row of the same context (Rennie et al. 2017), or "leave_one_out", the
            mean score of the other sampled rows of that context (Luo 2020), which needs no greedy decoding.
        num_samples: rows sampled for each context; leave_one_out needs at least 2.
        average_over: what all losses are averaged over: "steps", "rows" (each row's sum, as Rennie et al. have it) or "row_means"; see
            `seqrl.functional.reductions.masked_mean`.
        ent_coef: weight of the entropy bonus.
        dropout: keep dropout on in the update; sampling never has it.
        imitation: cross-entropy beside the policy gradient, see `ImitationConfig`.
        optimiser: see `OptimiserConfig`.
    """

    baseline: Baseline = "leave_one_out"
    num_samples: Count = 5
    average_over: AverageOver = "steps"
    ent_coef: float = 0.0
    dropout: bool = False
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.baseline == "leave_one_out" and self.num_samples < 2:
            raise ValueError(f"num_samples: expected at least 2 with the leave_one_out baseline, got {self.num_samples}")

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> SelfCritical:
        """Make the trainer."""
        return SelfCritical(policy, self, seed=seed, num_updates=num_updates)


class SelfCritical:
    """Minimises -(1/N) sum_n (r(w) - b) log pi(w_n), with r the whole row's score and b that of the policy's other tries.

    Every step of a row has the same advantage.

    Source: Rennie et al. 2017 (Self-critical sequence training for image captioning), the self-critical gradient; leave-one-out
    baseline: Luo 2020 (A better variant of self-critical sequence training).

    Differs from: Rennie et al. in dividing by the number of tokens of the batch, as the implementations do, unless `average_over` is
    "rows". As that number depends on the actions, this is a ratio estimator: the fewer the rows, the more biased.

    Args:
        policy: trained in place.
        config: see `SelfCriticalConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.
    """

    weighs_older_rows = True
    can_be_sharded = True
    can_split_batches = True

    def __init__(self, policy: nn.Module, config: SelfCriticalConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        require_probabilities(policy, "self_critical")
        self.policy = policy
        self.config = config or SelfCriticalConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates)
        self.generator = self.optimiser.make_generator(seed)
        self.lags = False  # whether a task gives rows that an older policy has sampled

    def check_task(self, task: Task) -> None:
        """Refuse stretches of steps where whole episodes are compared, and demonstrations where there is nothing to imitate."""
        require_whole_rows(task, "self_critical")
        self.config.imitation.check_task(task)
        self.lags = lags(task, "self_critical", dropout=self.config.dropout)

    def collect(self, task: Task) -> Trajectory:
        """Sample rows for the next contexts, with demonstrations where `imitation` asks for them."""
        return collect_rows(self, task, greedy_baseline=self.config.baseline == "greedy")

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step: what scored above the baseline becomes more likely."""
        config, mask = self.config, trajectory.mask
        advantage = self._advantage(trajectory).unsqueeze(1).expand_as(trajectory.reward)
        stats = describe_rollout(trajectory) | describe_advantage(advantage, mask)
        ratios = RowRatios(active=self.lags)
        self.policy.train(config.dropout)
        loss = partial(self.loss, ratios)
        stats |= self.optimiser.minimise(trajectory, loss, over=config.average_over, advantage=advantage) | ratios.stats()
        self.optimiser.finish_update()
        return stats

    def loss(self, ratios: RowRatios, part: Trajectory, evaluation: Evaluation, advantage: Tensor) -> dict[str, Tensor | Term]:
        """Give the losses of each step, [B, T]."""
        weighed = ratios.weigh(advantage, part, evaluation)
        terms: dict[str, Tensor | Term] = {"loss/policy": losses.policy_gradient(evaluation.logp, weighed)}
        if self.config.ent_coef:
            terms["loss/entropy"] = Term(evaluation.entropy, -self.config.ent_coef)
        if weight := self.config.imitation.weight_at(self.optimiser.num_finished):
            terms["loss/cross_entropy"] = imitation_loss(evaluation, weight)
        return terms

    def _advantage(self, trajectory: Trajectory) -> Tensor:
        """Score above the baseline, [B]."""
        instead = "choose the trainer reinforce or ppo with a baseline that needs no whole rows"
        return row_advantage(self.config.baseline, trajectory, trajectory.score, setting="baseline", instead=instead)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return {"base": self.config.baseline, "samples": self.config.num_samples}

    state_dict = state_of
    load_state_dict = load_state
