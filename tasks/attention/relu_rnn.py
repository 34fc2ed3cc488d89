"""The paper's network over a row of glimpses, with its derivative written out.

While it chooses where to look, the network has to go glimpse by glimpse; its derivative need not. All glimpses are known by then,
so that each weight's gradient is one large matrix product over all of them, and only the recurrence itself goes step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

relu_gradient = torch.ops.aten.threshold_backward


class ReluRNNWeights(NamedTuple):
    """The weights of glimpse network and core, in the order of the core's parameters; matrices are [outputs, inputs].

    seen_t = relu(glimpse p_t + glimpse_bias),  placed_t = relu(location x_t + location_bias)
    joined_t = relu(join_glimpse seen_t + join_location placed_t + join_bias)
    hidden_t = relu(enter joined_t + recur hidden_{t-1} + enter_bias),  hidden_{-1} = 0

    with p_t [P] the glimpse and x_t [2] its location.

    Source: Mnih et al. 2014 (Recurrent models of visual attention), section 4.
    """

    glimpse: Tensor
    glimpse_bias: Tensor
    location: Tensor
    location_bias: Tensor
    join_glimpse: Tensor
    join_bias: Tensor
    join_location: Tensor
    enter: Tensor
    enter_bias: Tensor
    recur: Tensor

    def to(self, dtype: torch.dtype) -> ReluRNNWeights:
        """Give constants of the same values in a dtype."""
        return ReluRNNWeights(*(weight.detach().to(dtype) for weight in self))


@dataclass(frozen=True)
class Activations:
    """What a pass over N glimpses of B images computed, time first and in the pass's dtype.

    Attributes:
        glimpse: [N, B, P] what the retina saw.
        location: [N, B, 2] where.
        seen: [N, B, G] hidden layer over the glimpse.
        placed: [N, B, G] hidden layer over the location.
        joined: [N, B, J] what the glimpse network gives.
        hidden: [N, B, H] the core's state after each glimpse.
    """

    glimpse: Tensor
    location: Tensor
    seen: Tensor
    placed: Tensor
    joined: Tensor
    hidden: Tensor

    @classmethod
    def empty(cls, glimpse: Tensor, location: Tensor, weights: ReluRNNWeights) -> Activations:
        """Make room for a pass over the glimpses [N, B, P] at the locations [N, B, 2], both of which may be filled in later."""
        sizes = weights.glimpse.shape[0], weights.location.shape[0], weights.enter.shape[1], weights.recur.shape[0]
        return cls(glimpse, location, *(glimpse.new_empty(*glimpse.shape[:2], size) for size in sizes))


def take_in(weights: ReluRNNWeights, activations: Activations, steps: slice) -> None:
    """Run the glimpse network on the glimpses of some steps, and set `seen`, `placed`, `joined` and the core's input there.

    Args:
        weights: in the activations' dtype.
        activations: whose `hidden` gets what enters the core, before the recurrence.
        steps: which ones.
    """
    glimpse, location, seen, placed, joined, entered = (part[steps].flatten(0, 1) for part in vars(activations).values())
    torch.addmm(weights.glimpse_bias, glimpse, weights.glimpse.t(), out=seen).relu_()
    torch.addmm(weights.location_bias, location, weights.location.t(), out=placed).relu_()
    torch.addmm(weights.join_bias, seen, weights.join_glimpse.t(), out=joined).addmm_(placed, weights.join_location.t()).relu_()
    torch.addmm(weights.enter_bias, joined, weights.enter.t(), out=entered)


def recur(weights: ReluRNNWeights, activations: Activations, step: int) -> Tensor:
    """Turn what enters the core at a step into its state there, and give it, [B, H]."""
    hidden = activations.hidden[step]
    if step:
        hidden.addmm_(activations.hidden[step - 1], weights.recur.t())
    return hidden.relu_()


def gradients(weights: ReluRNNWeights, activations: Activations, for_hidden: Tensor | None, for_last: Tensor | None) -> list[Tensor]:
    """Give the gradient of each weight, in the weights' order and dtype.

    With e_t the loss's gradient by hidden_t itself: δ_t = (e_t + recurᵀ δ_{t+1}) ⊙ [hidden_t > 0], then

    ∂L/∂recur = Σ_t δ_t hidden_{t-1}ᵀ,  ∂L/∂enter = Σ_t δ_t joined_tᵀ, and so on down the glimpse network.

    Args:
        weights: in the activations' dtype.
        activations: of the pass.
        for_hidden: [N, B, H] gradient by each state, in that format; None for zeros.
        for_last: [B, H] gradient by the last state alone, added to the former's; None for zeros.
    """
    grads = torch.empty_like(activations.hidden)
    num_steps = grads.shape[0]
    following: Tensor | None = for_last
    for step in reversed(range(num_steps)):
        if for_hidden is not None:
            following = for_hidden[step] if following is None else following + for_hidden[step]
        assert following is not None
        relu_gradient(following, activations.hidden[step], 0, grad_input=grads[step])
        following = grads[step] @ weights.recur if step else None
    flat = grads.flatten(0, 1)
    glimpse, location, seen, placed, joined, _ = (part.flatten(0, 1) for part in vars(activations).values())
    later, before = grads[1:].flatten(0, 1), activations.hidden[:-1].flatten(0, 1)
    for_joined = relu_gradient(flat @ weights.enter, joined, 0)
    for_seen = relu_gradient(for_joined @ weights.join_glimpse, seen, 0)
    for_placed = relu_gradient(for_joined @ weights.join_location, placed, 0)
    return [
        for_seen.t() @ glimpse,
        for_seen.sum(dim=0),
        for_placed.t() @ location,
        for_placed.sum(dim=0),
        for_joined.t() @ seen,
        for_joined.sum(dim=0),
        for_joined.t() @ placed,
        flat.t() @ joined,
        flat.sum(dim=0),
        later.t() @ before,
    ]


class ReluRNNPass(torch.autograd.Function):
    """A pass as one node of autograd's graph: all states [N, B, H], and the last one [B, H] again.

    The last state is given by itself because a classifier's gradient comes to it alone.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, cast: ReluRNNWeights, activations: Activations, states: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the states [N, B, H] of a pass that has been computed with `cast`, the weights in the pass's dtype."""
        ctx.set_materialize_grads(False)
        ctx.cast, ctx.activations = cast, activations
        return states.detach(), states[-1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, for_hidden: Tensor | None, for_last: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        """Give the gradient of each weight."""
        if for_hidden is None and for_last is None:
            return None, None, None, *(None for _ in ctx.cast)
        dtype = ctx.activations.hidden.dtype
        grads = (None if grad is None else grad.to(dtype) for grad in (for_hidden, for_last))
        like = for_hidden if for_hidden is not None else for_last
        assert like is not None
        return None, None, None, *(gradient.to(like.dtype) for gradient in gradients(ctx.cast, ctx.activations, *grads))


def run_pass(weights: Sequence[Tensor], glimpse: Tensor, location: Tensor, dtype: torch.dtype) -> tuple[ReluRNNWeights, Activations]:
    """Compute a whole pass over glimpses whose locations are known: all but the recurrence at once.

    Args:
        weights: of the core.
        glimpse: [N, B, P].
        location: [N, B, 2].
        dtype: dtype of the pass.
    """
    cast = ReluRNNWeights(*weights).to(dtype)
    activations = Activations.empty(glimpse.to(dtype).contiguous(), location.to(dtype).contiguous(), cast)
    with torch.no_grad():
        take_in(cast, activations, slice(None))
        for step in range(glimpse.shape[0]):
            recur(cast, activations, step)
    return cast, activations
