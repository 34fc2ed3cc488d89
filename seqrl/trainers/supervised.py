"""Maximum likelihood on demonstrations: the warm start, and the control that every reinforcement learner is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Task
from seqrl.requirements import demonstrations_of
from seqrl.settings import FractionBelowOne, check_settings
from seqrl.sharding import whole
from seqrl.trainers.imitation import imitation_loss
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Trajectory


@dataclass
class SupervisedConfig:
    """Settings of maximum-likelihood training.

    Attributes:
        label_smoothing: share of the target's probability that is spread evenly over the actions that can be right: of tokens, not over
            padding, begin and unknown (Szegedy et al. 2016).
        scheduled_sampling: probability, at the end of its ramp, that an input token is the policy's own sample instead
            of the demonstration's (Bengio et al. 2015).
        scheduled_sampling_updates: updates over which that probability rises linearly from 0.
        optimiser: see `OptimiserConfig`.
    """

    label_smoothing: FractionBelowOne = 0.0
    scheduled_sampling: FractionBelowOne = 0.0
    scheduled_sampling_updates: int = 1000
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Supervised:
        """Make the trainer."""
        return Supervised(policy, self, seed=seed, num_updates=num_updates)


class Supervised:
    """Minimises -(1/N) sum_n log pi(a_n | what came before) over the demonstrated steps.

    Args:
        policy: trained in place.
        config: see `SupervisedConfig`.
        seed: of the scheduled sampling.
        num_updates: length of the run, for the learning-rate schedule.
    """

    can_be_sharded = True
    can_split_batches = True

    def __init__(self, policy: nn.Module, config: SupervisedConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or SupervisedConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)

    def check_task(self, task: Task) -> None:
        """Refuse a task without demonstrations."""
        demonstrations_of(task)

    def collect(self, task: Task) -> Trajectory:
        """Take the task's next demonstrations."""
        return demonstrations_of(task)(None).to(self.optimiser.device)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Take one optimiser step on the demonstrations' cross-entropy."""
        if trajectory.imitate is None or not bool(trajectory.imitate.any()):
            raise ValueError(
                "expected demonstrations (a trajectory with `imitate` True somewhere), got none; take them from task.demonstrations()"
            )
        trajectory = self._with_own_samples(trajectory)
        imitate = trajectory.imitate
        assert imitate is not None
        self.policy.train()
        stats = self.optimiser.minimise(trajectory, self.loss)
        self.optimiser.finish_update()
        num_rows, num_steps = float(trajectory.batch_size), float(imitate.sum())
        return stats | {"rollout/num_rows": num_rows, "rollout/num_steps": num_steps, "rollout/length": num_steps / num_rows}

    def loss(self, part: Trajectory, evaluation: Evaluation) -> dict[str, Term]:
        """Give the cross-entropy of each step, [B, T]."""
        return {"loss/cross_entropy": imitation_loss(evaluation, label_smoothing=self.config.label_smoothing)}

    def _with_own_samples(self, trajectory: Trajectory) -> Trajectory:
        """Replace some input tokens by the policy's own samples, drawn in one pass under teacher forcing.

        Source: Bengio et al. 2015 (Scheduled sampling for sequence prediction with recurrent neural networks); the parallel pass:
        Mihaylova & Martins 2019 (Scheduled sampling for transformers).
        Differs from: Bengio et al., who sample step by step; one pass costs one forward more, whatever the length.
        """
        ramp = min(1.0, self.optimiser.num_finished / max(1, self.config.scheduled_sampling_updates))
        probability = self.config.scheduled_sampling * ramp
        if not probability:
            return trajectory
        resample = getattr(self.policy, "resample", None)
        if resample is None or not isinstance(trajectory.obs, Tensor):
            raise ValueError(f"scheduled sampling needs a policy of tokens with a `resample` method; {type(self.policy).__name__} has none")
        self.policy.eval()
        with torch.no_grad(), whole(self.policy):
            drawn = resample(trajectory, self.optimiser.generator)
        assert trajectory.imitate is not None
        swap = torch.rand(drawn.shape, generator=self.optimiser.generator, device=drawn.device) < probability
        obs = trajectory.obs.clone()
        obs[:, 1:] = torch.where(swap & trajectory.imitate, drawn, obs[:, 1:])
        return trajectory.replace(obs=obs)

    state_dict = state_of
    load_state_dict = load_state
