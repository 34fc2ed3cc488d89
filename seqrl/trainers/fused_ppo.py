"""PPO's minibatch on a small actor-critic, forwards and backwards, without autograd's graph.

On a network of two layers of 64 the graph takes as long as the arithmetic. The result is that of the plain way to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.diagnostics import Seen
from seqrl.policies.actor_critic import ActorCritic
from seqrl.policies.networks import MLP
from seqrl.trajectory import Trajectory

FEW_ROWS = 64
MINUS_ONE = torch.tensor(-1.0)
SMALLEST_LOGP = -1e6  # instead of -inf, whose product with a probability of 0 is not a number


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
    actor, critic = weights_of(policy.actor), weights_of(policy.critic)
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
        for weight, gradient in zip(weights, layer_gradients(slope, inputs, weights), strict=True):
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


def weights_of(mlp: MLP) -> list[Tensor]:
    """Give the layers' weights and biases in turns."""
    # Asking a module for a parameter by name takes four times as long.
    return [parameter for layer in mlp.layers for parameter in layer._parameters.values()]  # type: ignore[misc]


def tanh_layers(x: Tensor, weights: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Run an MLP with tanh on [N, num_inputs]; give the input of each layer, and the output.

    On some processors PyTorch's tanh is four times as slow as 2 sigmoid(2x) - 1, which is the same to 1e-7; a few rows are
    faster with the one call all the same.
    """
    inputs = [x]
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        if x.shape[0] <= FEW_ROWS:
            inputs.append(F.linear(inputs[-1], weight, bias).tanh_())
        else:
            doubled = torch.addmm(bias, inputs[-1], weight.t(), beta=2, alpha=2)
            sigmoid = doubled.sigmoid_()
            inputs.append(torch.add(MINUS_ONE, sigmoid, alpha=2, out=sigmoid))
    return inputs, F.linear(inputs[-1], weights[-2], weights[-1])


def layer_gradients(gradient: Tensor, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """Take the derivative of `tanh_layers`, from that of its output [N, num_outputs] and the inputs of each layer.

    Returns:
        The gradient of each weight, in the weights' order.
    """
    found: list[Tensor] = []
    for index in reversed(range(len(inputs))):
        before = inputs[index]
        # x'g and its transpose instead of g'x: several times as fast where there are few inputs.
        found += [gradient.sum(dim=0), gradient.t() @ before if index else (before.t() @ gradient).t().contiguous()]
        if index:
            gradient = torch.ops.aten.tanh_backward(gradient @ weights[2 * index], before)
    return found[::-1]


class CategoricalNumbers(NamedTuple):
    """What a categorical distribution says of actions, and what its slopes take.

    Attributes:
        chosen: [...] log-probability of each action, nats.
        entropy: [...] nats.
        logp: [..., N] log-probabilities of all actions, finite.
        probability: [..., N].
        action: [..., 1] the actions.
    """

    chosen: Tensor
    entropy: Tensor
    logp: Tensor
    probability: Tensor
    action: Tensor


def categorical_numbers(logits: Tensor, action: Tensor) -> CategoricalNumbers:
    """Give log p(a) and H = -Σ p log p of softmax(logits), for logits [..., N] and actions [...]."""
    logp = logits.log_softmax(dim=-1)
    probability, action = logp.exp(), action.unsqueeze(-1)
    chosen = logp.gather(-1, action).squeeze(-1)
    logp = logp.clamp_(min=SMALLEST_LOGP)
    return CategoricalNumbers(chosen, (probability * logp).sum(dim=-1).neg_(), logp, probability, action)


def categorical_slope(numbers: CategoricalNumbers, for_chosen: Tensor | None, for_entropy: Tensor | None) -> Tensor:
    """Give the slope by the logits, [..., N], from those by log p(a) and H: d log p(a) / dl = 1(a) - p,  dH / dl = -p (log p + H)."""
    found = torch.zeros_like(numbers.logp)
    if for_chosen is not None:
        for_chosen = for_chosen.unsqueeze(-1)
        found = (numbers.probability * for_chosen).neg_().scatter_add_(-1, numbers.action, for_chosen)
    if for_entropy is not None:
        found.sub_((numbers.logp + numbers.entropy.unsqueeze(-1)).mul_(numbers.probability).mul_(for_entropy.unsqueeze(-1)))
    return found
