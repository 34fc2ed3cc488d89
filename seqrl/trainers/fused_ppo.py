"""PPO's minibatch on a small actor-critic, forwards and backwards, without autograd's graph; `optimiser.fused: off` switches it off.

On a network of two layers of 64 the graph takes as long as the arithmetic. What it must equal, to rounding: the gradients of `PPO.loss` on
`ActorCritic.forward`, averaged by `Optimiser.accumulate`. That is, `losses.ppo_clip`, `losses.value` and the entropy of `Categorical` on
two `MLP` of `nn.Linear` and tanh. Each trainer compares the two ways when it is made, so that whoever edits one of these gets what is
written there: where they differ, the plain way runs, and the run's first lines say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.diagnostics import PolicyStats
from seqrl.functional.reductions import AverageOver
from seqrl.optimiser import Loss, Optimiser
from seqrl.policies.actor_critic import ActorCritic
from seqrl.policies.networks import MLP
from seqrl.trainers.ppo_config import PPOConfig
from seqrl.trajectory import Trajectory

HOW = "ppo goes without autograd's graph (seqrl/trainers/fused_ppo.py, equal on a test batch), where every step of a minibatch counts"
FEW_ROWS = 64
MINUS_ONE = torch.tensor(-1.0)
SMALLEST_LOGP = -1e6  # instead of -inf, whose product with a probability of 0 is not a number
LARGEST_DIFFERENCE = 1e-3  # of two gradients, as a share of their length; rounding makes 1e-6


def why_not(policy: nn.Module, config: PPOConfig, optimiser: Optimiser, loss: Loss) -> str:
    """Say why `gradients` does not serve a trainer; nothing where it does.

    Args:
        policy: to be trained.
        config: of the trainer.
        optimiser: of the trainer.
        loss: the one that `gradients` stands for.
    """
    reasons = {
        "optimiser.fused is off": optimiser.config.fused == "off",
        f"advantage is {config.advantage}": config.advantage != "gae",
        "average_over is row_means": config.average_over == "row_means",
        "the critic's error is clipped, or Huber's": bool(config.clip_range_vf or config.value_huber),
        "the loss holds a penalty for leaving the reference": bool(config.kl_coef) and config.kl_in == "loss",
        "the loss holds cross-entropy": bool(config.imitation.weight or config.imitation.final_weight),
        "vf_coef is 0, so that the critic learns nothing": not config.vf_coef,
        "several processes or parts, half precision, a GPU or compile": not optimiser.takes_gradients,
        "the policy is no actor and critic of tanh layers over one choice": not is_small(policy),
    }
    found = next((reason for reason, holds in reasons.items() if holds), "")
    return found or ("" if _agree(policy, config, optimiser, loss) else "its loss or its layers differ from what fused_ppo stands for")


def is_small(policy: nn.Module) -> bool:
    """Whether a policy has an actor and a critic of tanh layers each, over a single choice."""
    if type(policy) is not ActorCritic or not policy.actions.num_actions or policy.actions.num_dimensions:
        return False
    parts = policy.actor, policy.critic
    plain = policy.trunk is None and all(isinstance(part, MLP) and part.activation is torch.tanh for part in parts)
    linear = plain and all(type(layer) is nn.Linear and layer.bias is not None for part in parts for layer in part.layers)  # type: ignore[union-attr]
    return linear and all(parameter.requires_grad for parameter in policy.parameters())


def _agree(policy: nn.Module, config: PPOConfig, optimiser: Optimiser, loss: Loss) -> bool:
    """Compare both ways on a batch with ratios within and beyond the clip, and advantages of both signs."""
    assert isinstance(policy, ActorCritic)
    shape, weights, generator = (32, 2), list(policy.parameters()), torch.Generator().manual_seed(0)
    size, nobody = policy.inputs.size, torch.zeros(shape, dtype=torch.bool)
    seen = (32, 3, *size.shape)
    obs = torch.randint(size.num_categories, seen, generator=generator) if size.num_categories else torch.randn(seen, generator=generator)
    action = torch.randint(policy.actions.num_actions, shape, generator=generator)
    random = torch.randn(6, *shape, generator=generator).to(weights[0].dtype)
    value, flags = torch.zeros(32, 3, dtype=random.dtype), (nobody, nobody, ~nobody)
    part = Trajectory(action, random[0], value, random[1], *flags, obs=obs)
    with torch.no_grad():
        part = part.replace(logp=policy(part).logp + 2 * config.clip_range * random[2])
    advantage, target, over = random[3], random[4], config.average_over
    terms, _ = optimiser.accumulate(part, loss, over=over, all_chosen=True, advantage=advantage, target=target)
    plain = [weight.grad for weight in weights]
    coefficients = {"clip": config.clip_range, "vf_coef": config.vf_coef, "ent_coef": config.ent_coef}
    fused_terms, _ = gradients(policy, part, advantage, target, **coefficients, over=over)
    pairs = [(weight.grad, grad) for weight, grad in zip(weights, plain, strict=True)]
    for weight in weights:
        weight.grad = None
    same = terms.keys() == fused_terms.keys() and all(grad is not None for grad in plain)
    pairs += [(fused_terms[name], term) for name, term in terms.items()] if same else []
    return same and all(float((a - b).norm()) <= LARGEST_DIFFERENCE * float(b.norm()) + 1e-7 for a, b in pairs)  # type: ignore[operator, union-attr]


@torch.no_grad()
def gradients(
    policy: nn.Module,
    trajectory: Trajectory,
    advantage: Tensor,
    target: Tensor,
    *,
    clip: float,
    vf_coef: float,
    ent_coef: float,
    over: AverageOver,
) -> tuple[dict[str, Tensor], list[PolicyStats]]:
    """Set the weights' gradients to those of PPO's clipped objective, the critic's error and the entropy bonus.

    Args:
        policy: for which `is_small`.
        trajectory: [B, T], of which all steps count; its observations are a tensor.
        advantage: [B, T] float.
        target: [B, T] float.
        clip: largest change of the probability ratio, in 0..1.
        vf_coef: of the critic's error.
        ent_coef: of the entropy bonus.
        over: "steps" or "rows", by whose number the sums are divided.

    Returns:
        The loss terms, and what was seen of the policy.
    """
    obs, shape = trajectory.obs, trajectory.action.shape
    count = float(max(1, trajectory.mask.numel() if over == "steps" else trajectory.batch_size))
    assert isinstance(obs, Tensor) and isinstance(policy, ActorCritic) and isinstance(policy.actor, MLP) and isinstance(policy.critic, MLP)
    x = policy.inputs(obs[:, :-1]).flatten(0, 1)
    actor, critic = weights_of(policy.actor), weights_of(policy.critic)
    actor_inputs, logits = tanh_layers(x, actor)
    critic_inputs, value = tanh_layers(x, critic)
    numbers = categorical_numbers(logits.view(*shape, -1), trajectory.action)
    policy_loss, error, for_logp, for_value = ppo_gradients(numbers.chosen, value.view(shape), trajectory.logp, advantage, target, clip)
    terms = {"loss/policy": policy_loss / count, "loss/value": error * (vf_coef / count)}
    for_entropy = None
    if ent_coef:
        terms["loss/entropy"] = numbers.entropy.sum() * (-ent_coef / count)
        for_entropy = torch.full_like(numbers.entropy, -ent_coef)
    for_logits = categorical_slope(numbers, for_logp, for_entropy).div_(count)
    for weights, inputs, grad in (
        (actor, actor_inputs, for_logits.flatten(0, 1)),
        (critic, critic_inputs, (for_value * (vf_coef / count)).view(-1, 1)),
    ):
        for weight, gradient in zip(weights, layer_gradients(grad, inputs, weights), strict=True):
            weight.grad = gradient
    return terms, [PolicyStats(numbers.chosen, trajectory.logp, numbers.entropy, trajectory.mask, trajectory.imitate)]


def ppo_gradients(
    logp: Tensor, value: Tensor, old_logp: Tensor, advantage: Tensor, target: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum both losses; also give the gradient of each step's losses by logp and by value, [B, T] each.

    With r = exp(logp - old): the gradient of -min(r A, clip(r) A) is -r A where that is the one taken, and 0 elsewhere.
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

    On some CPUs PyTorch's tanh is four times as slow as 2 sigmoid(2x) - 1, which is the same to 1e-7; a few rows are
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
    """What a categorical distribution says of actions, and what its gradients take.

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


def categorical_slope(numbers: CategoricalNumbers, for_chosen: Tensor, for_entropy: Tensor | None) -> Tensor:
    """Give the gradient by the logits, [..., N], from those by log p(a) and H: d log p(a) / dl = 1(a) - p,  dH / dl = -p (log p + H)."""
    for_chosen = for_chosen.unsqueeze(-1)
    found = (numbers.probability * for_chosen).neg_().scatter_add_(-1, numbers.action, for_chosen)
    if for_entropy is not None:
        found.sub_((numbers.logp + numbers.entropy.unsqueeze(-1)).mul_(numbers.probability).mul_(for_entropy.unsqueeze(-1)))
    return found
