"""The policy of active perception: it acts, values, and says what it takes for right; the last of these learns by a differentiable loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from seqrl.functional.reductions import masked_mean
from seqrl.policies.actor_critic import ActionSize, ActorCritic, ActorCriticConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.networks import MLP, restarts
from seqrl.tasks.control.perception import Prediction
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


class PredictingActorCritic(ActorCritic):
    """Draws actions from pi(a|h), estimates v(h), and predicts y(h), with h what a trunk makes of all that was seen.

    An action is a row of the action and the prediction. The trainer's own losses see the action alone; beside them the policy learns

        w mean_t L(y(h_t), target_t)

    over the steps that count, with the environment's loss L. The reward holds -L too, so that actions are paid for what they let the policy
    know, as in the hybrid loss of recurrent attention.

    Args:
        observation: of what is seen.
        actions: of the action alone; one choice, or real numbers.
        prediction: what is predicted.
        hidden_sizes: sizes of the layers below the memory.
        config: see `ActorCriticConfig`; the trunk is always shared, and actions are never squashed.
        weight: w.
        generator: draws the initial weights; PyTorch's own when None.

    Raises:
        ValueError: when actions are to be squashed, or their deviation is to depend on what is seen.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 3.2, the hybrid loss; the form of the environments: ap-gym.
    """

    def __init__(
        self,
        observation: ObservationSize,
        actions: ActionSize,
        prediction: Prediction,
        hidden_sizes: Sequence[int],
        config: ActorCriticConfig,
        *,
        weight: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        for name in ("squash", "state_dependent_std"):
            if getattr(config, name):
                raise ValueError(f"{name}: expected false in an environment that takes predictions, got true; leave it out")
        super().__init__(observation, actions, hidden_sizes, replace(config, shared_trunk=True), generator=generator)
        assert self.trunk is not None
        self.prediction, self.weight = prediction, weight
        width, size = self.trunk.num_outputs, int(prediction.space.shape[0])
        self.predict = MLP(width, [], size, output_gain=config.critic_gain, generator=generator)

    def seen_of(self, obs: Tree) -> Tensor:
        """Give what is seen, [..., N], of obs [..., D + N]."""
        return self._parted(obs)[1]

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, D + N], which count for the normalisation from the next rollout on."""
        self.inputs.observe(self.seen_of(obs), mask)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action and predict for each row of obs [B, D + N]; greedy takes the most probable action."""
        seen = self.seen_of(obs)
        features, after = self._features(seen.unsqueeze(1), state)
        features = features[:, 0]
        chosen = self._distribution(self.actor(features), seen)
        action = chosen.mode() if greedy else chosen.sample(generator)
        row = torch.cat([action.unsqueeze(-1) if self.log_std is None else action, self.predict(features)], dim=-1)
        return Step(row, chosen.logp(action), self.critic(features).squeeze(-1), after)

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the predictions that are learned, []."""
        return trajectory.mask.sum().float() * (self.weight > 0)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the actions [B, T, A + P] of a trajectory whose obs is [B, T+1, D + N], and predict again."""
        target, seen = self._parted(trajectory.obs)
        restart = restarts(trajectory.counted) if self.is_recurrent else None
        features, _ = self._features(seen[:, :-1], trajectory.state0, restart)
        chosen, taken = self._distribution(self.actor(features), seen), trajectory.action[..., : -self.prediction.space.shape[0]]
        if self.log_std is None:
            taken = taken.squeeze(-1).long()
        # What was right at a step is told by the observation after it. Losses are in full precision, under autocast as well.
        loss = self.prediction.loss(self.predict(features).float(), target[:, 1:].to(features.device))
        return Evaluation(
            chosen.logp(taken),
            chosen.entropy(),
            self.critic(features).squeeze(-1).float(),
            aux_loss=self.weight * masked_mean(loss, trajectory.mask, trajectory.mask.sum().clamp(min=1)),
            distribution=chosen,
        )

    def _features(self, seen: Tensor, state: Tree, restart: Tensor | None = None) -> tuple[Tensor, Tree]:
        """Give what the trunk makes of what is seen [..., N], and the memory afterwards."""
        assert self.trunk is not None
        found: tuple[Tensor, Tree] = self.trunk(self.inputs(seen), state, restart)
        return found

    def _parted(self, obs: Tree) -> tuple[Tensor, Tensor]:
        """Part the target, which nothing but the loss may see, from what is seen."""
        assert isinstance(obs, Tensor)
        number = self.prediction.num_targets
        return obs[..., :number], obs[..., number:]
