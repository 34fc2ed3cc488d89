"""A policy's own loss beside its trainer's, such as a glimpse policy's classes: how much there is to learn, and what a part weighs.

Each auxiliary loss is a mean, but not always over rows: over words that captions hold, over figures in sight. A part of a batch gives the
mean over the part; weighed by their shares of what is counted, parts, minibatches and processes learn what the whole batch would.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqrl.trajectory import Evaluation, Trajectory


def aux_count(policy: nn.Module, trajectory: Trajectory) -> Tensor:
    """Count what a policy's auxiliary losses are means over, in their shape; rows, [], where it does not tell.

    Args:
        policy: asked for its `aux_count`.
        trajectory: some rows.
    """
    count = getattr(policy, "aux_count", None)
    if callable(count):
        return count(trajectory)  # type: ignore[no-any-return]
    return torch.tensor(float(trajectory.batch_size), device=trajectory.action.device)


def has_aux_loss(policy: nn.Module, trajectory: Trajectory) -> bool:
    """Say, before any work, whether a policy has something of its own to learn from some rows; False where it does not tell.

    Args:
        policy: asked for its `aux_count`.
        trajectory: some rows.
    """
    return hasattr(policy, "aux_count") and bool((aux_count(policy, trajectory) > 0).any())


def refuse_unknown_aux_loss(policy: nn.Module, evaluation: Evaluation, trainer: str) -> None:
    """Refuse an auxiliary loss that its policy does not announce, since it would be learned on the wrong rows or not at all.

    Args:
        policy: has `aux_count` where it announces one.
        evaluation: what it says of some rows.
        trainer: name of the one that has to know.

    Raises:
        ValueError: saying so.
    """
    if evaluation.aux_loss is not None and not hasattr(policy, "aux_count"):
        raise ValueError(
            f"trainer {trainer}: expected a policy that counts what its aux_loss is a mean over, got a {type(policy).__name__} without a "
            "method `aux_count`; add aux_count(trajectory), see seqrl.protocols.Policy, or choose the trainer ppo, a2c or reinforce"
        )


def aux_terms(policy: nn.Module, part: Trajectory, evaluation: Evaluation, total: Tensor | None) -> dict[str, Tensor]:
    """Give a part's share of the auxiliary losses as a loss term, or none where there is nothing to learn.

    sum_k L_k n_k / N_k with L_k the mean over the n_k things in this part, of N_k in all

    Args:
        policy: asked for its `aux_count`, n.
        part: some rows.
        evaluation: what the policy says of them.
        total: N; None where the part is the whole.

    Raises:
        ValueError: when a policy that counts gives another number of losses than of counts.
    """
    loss = evaluation.aux_loss
    if loss is None:
        return {}
    if total is not None:
        if hasattr(policy, "aux_count") and loss.shape != total.shape:  # which would broadcast in silence
            raise ValueError(
                f"aux_loss of {type(policy).__name__}: expected the shape of its aux_count, {list(total.shape)}, got {list(loss.shape)}; "
                "give a loss and a count for each thing that is learned, in one order"
            )
        # Where nothing is to be learned anywhere, 0 / 0 is no number.
        loss = loss * torch.where(total > 0, aux_count(policy, part) / total, 0.0)
    return {"loss/auxiliary": loss.sum()}
