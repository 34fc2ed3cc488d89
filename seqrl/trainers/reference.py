"""A frozen copy of the first policy, and what it costs to leave it: in the rewards, or in the loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from seqrl.functional import losses, shaping
from seqrl.functional.reductions import masked_mean
from seqrl.trajectory import Trajectory

KLIn = Literal["reward", "loss"]


class Reference:
    """Charges a policy for leaving the one that it was when this was made.

    reward: r_t - β d_t, with d_t the estimate for the policy that sampled: every step before t pays for it, as for any reward
    loss:   L_t + β d_t, with d_t the estimate for the policy being learned, through which the gradient flows: each step pays for itself

    Args:
        policy: copied, but for its frozen weights, which both share.
        kl_in: "reward" or "loss".
        estimator: of d_t, see `seqrl.functional.losses.kl`.
        weight: β, reward per nat.

    Source: reward: Ziegler et al. 2019 (Fine-tuning language models from human preferences); loss: Shao et al. 2024 (DeepSeekMath),
    GRPO, with k3.
    """

    def __init__(self, policy: nn.Module, kl_in: KLIn, estimator: losses.KLEstimator, weight: float) -> None:
        # What never changes needs no copy: all of a model but what LoRA learns beside it, or a frozen encoder.
        frozen = {name: weight for name, weight in policy.named_parameters(remove_duplicate=False) if not weight.requires_grad}
        self._shared = frozenset(frozen)
        self.policy = copy.deepcopy(policy, {id(weight): weight for weight in frozen.values()}).requires_grad_(False).eval()
        self.kl_in, self.estimator, self.weight = kl_in, estimator, weight

    def state_dict(self) -> dict[str, Tensor]:
        """Give the weights that are not the policy's own."""
        return {name: tensor for name, tensor in self.policy.state_dict().items() if name not in self._shared}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go back to saved weights; checkpoints of earlier versions hold those that are shared, too."""
        own = {name: tensor for name, tensor in self.policy.state_dict().items() if name in self._shared}
        self.policy.load_state_dict({**state, **own})

    @torch.no_grad()
    def penalise(self, trajectory: Trajectory) -> tuple[Trajectory, dict[str, Tensor], dict[str, float]]:
        """Take the penalty off the rewards, or give what the loss needs for it.

        Args:
            trajectory: [B, T], as sampled.

        Returns:
            The trajectory; a column `reference_logp` [B, T] where the loss needs it; numbers to log.
        """
        logp: Tensor = self.policy(trajectory).logp
        divergence = losses.kl(trajectory.logp, logp, "k1")
        stats = {"policy/kl_reference": float(masked_mean(divergence, trajectory.mask))}
        if self.kl_in == "loss":
            return trajectory, {"reference_logp": logp}, stats
        reward = shaping.kl_penalty(trajectory.reward, trajectory.logp, logp, trajectory.mask, self.weight, self.estimator)
        return trajectory.replace(reward=reward), {}, stats

    def loss(self, logp: Tensor, reference_logp: Tensor, chosen: Tensor) -> Tensor:
        """Give β d_t of each step, [B, T]; 0 where the policy did not choose, whatever stands there.

        Args:
            logp: [B, T] of the policy being learned, nats.
            reference_logp: [B, T] of the reference.
            chosen: [B, T] bool, True where the policy chose.
        """
        logp, reference_logp = torch.where(chosen, logp, 0.0), torch.where(chosen, reference_logp, 0.0)
        return self.weight * losses.kl(logp, reference_logp, self.estimator)
