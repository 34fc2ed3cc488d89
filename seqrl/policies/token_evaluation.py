"""What a policy says of the tokens that were written, without ever holding a logit for each word of each step at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqrl.policies.linear_evaluation import evaluate_linear
from seqrl.policies.packing import pack, unpack
from seqrl.trajectory import Evaluation, Trajectory

# Up to so many logits a call costs more than what it saves; measured from 800 steps of 60 words to 1,600 of 50,257.
FEW_LOGITS = 100_000


@dataclass(frozen=True)
class LinearHead:
    """A head whose logits are (W x + b) / temperature; `evaluate_tokens` makes them in pieces.

    Attributes:
        weight: W [V, D].
        bias: b [V], or None for none.
        temperature: divides the logits.
    """

    weight: Tensor
    bias: Tensor | None = None
    temperature: float = 1.0

    def __call__(self, features: Tensor) -> Tensor:
        """Give all logits [..., V] of features [..., D] at once."""
        logits = torch.nn.functional.linear(features, self.weight, self.bias)
        return logits if self.temperature == 1 else logits / self.temperature  # at training's size the division costs 5% of an update


def evaluate_tokens(
    features: Tensor,
    head: Callable[[Tensor], Tensor],
    trajectory: Trajectory,
    value: Tensor | None = None,
    *,
    wrong: Sequence[int] = (),
) -> Evaluation:
    """Evaluate the actions that count: log p(a), H = -sum_k p_k log p_k and mean_k log p_k, the mean over k that can be right.

    The head, which is often the dearest part, sees only the steps with `mask` or `imitate`; all others get zeros.

    Args:
        features: [B, T, D] float, or [M, D] of the M steps that count, as `seqrl.policies.packing.pack` orders them.
        head: takes [M, D], gives logits [M, V]; a `LinearHead` costs less time and no memory for [M, V].
        trajectory: the actions [B, T], long.
        value: [B, T] the critic's values; zeros when None.
        wrong: tokens that are never right, see `never_right`; the mean leaves them out, and those that the logits forbid.
    """
    counted = trajectory.counted
    features = features if features.ndim == 2 else pack(features, counted)
    action = pack(trajectory.action, counted)
    if isinstance(head, LinearHead) and _is_large(head, features):
        shares = _shares(head.weight.shape[0], head.weight, wrong)
        found = evaluate_linear(features, head.weight, head.bias, head.temperature, action, shares)
    else:
        found = evaluate_logits(head(features), action, wrong)
    logp, entropy, mean_logp = (unpack(numbers, counted) for numbers in found)
    return Evaluation(logp=logp, entropy=entropy, value=torch.zeros_like(logp) if value is None else value, mean_logp=mean_logp)


def evaluate_logits(logits: Tensor, action: Tensor, wrong: Sequence[int] = ()) -> tuple[Tensor, Tensor, Tensor]:
    """Give log p(a), H and mean_k log p_k, [M] each, from logits [M, V], -inf for what is forbidden, and actions [M]."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    all_logp = logits.log_softmax(dim=-1)
    # A forbidden token has probability 0 and the log-probability -inf; their product would be NaN.
    finite = all_logp.clamp(min=torch.finfo(logits.dtype).min)
    entropy = -(logits.softmax(dim=-1) * finite).sum(dim=-1)
    return all_logp.gather(1, action.unsqueeze(1)).squeeze(1), entropy, _mean_logp(finite, wrong)


def _is_large(head: LinearHead, features: Tensor) -> bool:
    """Say whether the pieces pay; a forbidden token asks for the way that leaves it out."""
    large = features.shape[0] * head.weight.shape[0] > FEW_LOGITS
    return large and (head.bias is None or bool(head.bias.isfinite().all()))


def _mean_logp(finite: Tensor, wrong: Sequence[int]) -> Tensor:
    """Average log-probabilities [M, V] over the tokens that can be right, [M]; forbidden ones have the smallest number there is."""
    shares = _shares(finite.shape[1], finite, wrong)
    # In bf16, which autocast would take, the smallest number is -inf, and three digits are few for a sum over words.
    with torch.autocast(finite.device.type, enabled=False):
        mean = finite @ shares
    # Looking at every entry costs as much as the rest; a single forbidden token shows in the mean.
    smallest = torch.finfo(finite.dtype).min
    if bool((mean <= smallest / (2 * finite.shape[1])).any()):
        allowed = (finite > smallest) * (shares > 0)
        mean = (finite * allowed).sum(dim=1) / allowed.sum(dim=1).clamp(min=1)
    return mean


def _shares(num_words: int, like: Tensor, wrong: Sequence[int]) -> Tensor:
    """Give each token's share [num_words] in the mean over those that can be right, in the type of a tensor, or in float32."""
    possible = torch.ones(num_words, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    possible[torch.tensor(wrong, dtype=torch.long, device=like.device)] = 0
    return possible / possible.sum()
