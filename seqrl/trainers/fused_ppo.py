"""PPO's minibatch on a small actor-critic, forwards and backwards, without autograd's graph.

On a network of two layers of 64 the graph takes as long as the arithmetic. The result is that of the plain way to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqrl.categories import categorical_numbers, categorical_slope
from seqrl.diagnostics import Seen
from seqrl.policies.actor_critic import ActorCritic
from seqrl.policies.fused_mlp import layer_gradients, tanh_layers
from seqrl.policies.networks import MLP
from seqrl.trajectory import Trajectory


def is_small(policy: nn.Module) -> bool:
    """Whether `ppo_gradients` serves a policy: an actor and a critic of tanh layers each, over a single choice."""
    if type(policy) is not ActorCritic or not policy.actions.num_actions or policy.actions.num_dimensions:
        return False
    parts = policy.actor, policy.critic
    plain = all(isinstance(part, MLP) and part.activation is torch.tanh for part in parts) and policy.trunk is None
    return plain and all(parameter.requires_grad for parameter in policy.parameters())


@torch.no_grad()
def ppo_gradients(
    policy: nn.Module,
    trajectory: Trajectory,
    advantage: Tensor,
    target: Tensor,
    *,
    clip: float,
    value_weight: float,
    entropy_weight: float,
    count: Tensor | float,
) -> tuple[dict[str, Tensor], Seen]:
    """Set the weights' gradients to those of PPO's clipped objective, the critic's error and the entropy bonus.

    Args:
        policy: for which `is_small`.
        trajectory: [B, T], of which all steps count; its observations are a tensor.
        advantage: [B, T] float.
        target: [B, T] float.
        clip: largest change of the probability ratio, in 0..1.
        value_weight: of the critic's error.
        entropy_weight: of the entropy bonus.
        count: what the sums are divided by.

    Returns:
        The loss terms, and what was seen of the policy.
    """
    obs, shape = trajectory.obs, trajectory.action.shape
    assert isinstance(obs, Tensor) and isinstance(policy, ActorCritic) and isinstance(policy.actor, MLP) and isinstance(policy.critic, MLP)
    x = policy.inputs(obs[:, :-1]).flatten(0, 1)
    actor, critic = policy.actor.weights, policy.critic.weights
    actor_inputs, logits = tanh_layers(x, actor)
    critic_inputs, value = tanh_layers(x, critic)
    numbers = categorical_numbers(logits.view(*shape, -1), trajectory.action)
    policy_loss, error, for_logp, for_value = ppo_slopes(numbers.chosen, value.view(shape), trajectory.logp, advantage, target, clip)
    terms = {"loss/policy": policy_loss / count, "loss/value": error * (value_weight / count)}
    for_entropy = None
    if entropy_weight:
        terms["loss/entropy"] = numbers.entropy.sum() * (-entropy_weight / count)
        for_entropy = torch.full_like(numbers.entropy, -entropy_weight)
    for_logits = categorical_slope(numbers, for_logp, for_entropy).div_(count)
    for weights, inputs, slope in (
        (actor, actor_inputs, for_logits.flatten(0, 1)),
        (critic, critic_inputs, (for_value * (value_weight / count)).view(-1, 1)),
    ):
        for weight, gradient in zip(weights, layer_gradients(slope, inputs, weights)[0], strict=True):
            weight.grad = gradient
    return terms, Seen(numbers.chosen, trajectory.logp, numbers.entropy, trajectory.mask, trajectory.imitate)


def ppo_slopes(
    logp: Tensor, value: Tensor, old_logp: Tensor, advantage: Tensor, target: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum both losses; also give the slope of each step's losses by logp and by value, [B, T] each.

    With r = exp(logp - old): the slope of -min(r A, clip(r) A) is -r A where that is the one taken, and 0 elsewhere.
    """
    ratio, cost = (logp - old_logp).exp_(), advantage.neg()
    limited = ratio.clamp(1.0 - clip, 1.0 + clip).mul_(cost)
    loss = ratio.mul_(cost)
    summed = torch.maximum(loss, limited).sum()
    error = value - target
    return summed, error.square().sum().mul_(0.5), loss.masked_fill_(loss < limited, 0.0), error
