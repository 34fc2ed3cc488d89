"""The policy of active perception: it acts, values, and says what it takes for right; the last of these learns by a differentiable loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqrl.distributions import Categorical, Gaussian
from seqrl.functional.reductions import masked_mean
from seqrl.policies.actor_critic import ActionSize, ActorCriticConfig
from seqrl.policies.encoders import Inputs, ObservationSize, Trunk
from seqrl.policies.networks import MLP, restarts
from seqrl.tasks.control.perception import Prediction
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


class PredictingActorCritic(nn.Module):
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
        super().__init__()
        for name in ("squash", "state_dependent_std"):
            if getattr(config, name):
                raise ValueError(f"{name}: expected false in an environment that takes predictions, got true; leave it out")
        self.prediction, self.weight, self.max_entropy = prediction, weight, actions.max_entropy
        self.is_recurrent, self.inputs = config.memory != "none", Inputs(observation, normalise=config.normalise_observations)
        activation = torch.tanh if config.activation == "tanh" else torch.relu
        self.trunk = Trunk(
            observation,
            hidden_sizes,
            config.memory,
            config.memory_size,
            code_size=config.code_size,
            activation=activation,
            gain=config.hidden_gain,
            generator=generator,
        )

        def head(num_outputs: int, gain: float) -> MLP:
            return MLP(self.trunk.num_outputs, [], num_outputs, output_gain=gain, activation=activation, generator=generator)

        self.actor, self.critic = head(actions.num_outputs, config.actor_gain), head(1, config.critic_gain)
        self.predict = head(int(prediction.space.shape[0]), config.critic_gain)
        vector = torch.full((actions.num_dimensions,), config.first_log_std) if actions.num_dimensions else None
        self.log_std = None if vector is None else nn.Parameter(vector)

    def initial_state(self, context: Tree) -> Tree:
        """Give None, an empty memory; what has been observed counts from here on."""
        if self.inputs.norm is not None:
            self.inputs.norm.fold()
        return None

    def seen_of(self, obs: Tree) -> Tensor:
        """Give what is seen, [..., N], of obs [..., D + N]."""
        return self._parted(obs)[1]

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Look at a rollout's observations [B, T+1, D + N], which count for the normalisation from the next rollout on."""
        self.inputs.observe(self.seen_of(obs), mask)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action and predict for each row of obs [B, D + N]; greedy takes the most probable action."""
        features, after = self.trunk(self.inputs(self.seen_of(obs).unsqueeze(1)), state)
        features = features[:, 0]
        chosen = self._distribution(features)
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
        features, _ = self.trunk(self.inputs(seen[:, :-1]), trajectory.state0, restart)
        chosen, taken = self._distribution(features), trajectory.action[..., : -self.prediction.space.shape[0]]
        if self.log_std is None:
            taken = taken.squeeze(-1).long()
        # What was right at a step is told by the observation after it.
        loss = self.prediction.loss(self.predict(features), target[:, 1:].to(features.device))
        return Evaluation(
            chosen.logp(taken),
            chosen.entropy(),
            self.critic(features).squeeze(-1),
            aux_loss=self.weight * masked_mean(loss, trajectory.mask, trajectory.mask.sum().clamp(min=1)),
            distribution=chosen,
        )

    def _parted(self, obs: Tree) -> tuple[Tensor, Tensor]:
        """Part the target, which nothing but the loss may see, from what is seen."""
        assert isinstance(obs, Tensor)
        number = self.prediction.num_targets
        return obs[..., :number], obs[..., number:]

    def _distribution(self, features: Tensor) -> Categorical | Gaussian:
        outputs = self.actor(features).float()
        return Categorical(outputs) if self.log_std is None else Gaussian(outputs, self.log_std)
