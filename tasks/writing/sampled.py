"""Sampled captions on their way to their reward, and as plain tensors for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.decoding import sample, sample_beside_greedy, with_one_end
from seqrl.functional.shaping import score_differences
from seqrl.n_best import best_rows
from seqrl.trajectory import FIELDS, Trajectory, Tree, map_tree


@dataclass(frozen=True)
class Captions:
    """What a reward reads of captions.

    Attributes:
        tokens: [B, T] long.
        lengths: [B] long, tokens of each caption, its end token included.
        items: [B] long, the training image of each.
    """

    tokens: Tensor
    lengths: Tensor
    items: Tensor


@dataclass(frozen=True)
class Sampled:
    """Rows without their rewards.

    Attributes:
        rows: B captions, those of an image next to each other.
        captions: what is scored of them.
        greedy: the greedy captions of the same images, N = B / num_samples, where they are the baseline.
        num_samples: captions of an image.
    """

    rows: Trajectory
    captions: Captions
    greedy: Captions | None
    num_samples: int

    @property
    def settings(self) -> tuple[Any, ...]:
        """What a rollout asked for: samples of an image, and whether there is a greedy baseline."""
        return self.num_samples, self.greedy is not None

    def rewarded(self, pay: Callable[[Sampled], Trajectory]) -> Trajectory:
        """Give the rows as they are paid; see `seqrl.ahead.RewardsAhead`."""
        return pay(self)

    def scored(self, score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Trajectory:
        """Fill the rewards in.

        A row whose score, or greedy baseline, is NaN is left out of learning: none of its steps counts, and no other row is compared
        with it.

        Args:
            score: gives [B] from tokens, lengths and items; or [B, T+1], in column t the score of the first t tokens, of which each token
                is paid what it adds.
        """
        scores = score(self.captions.tokens, self.captions.lengths, self.captions.items)
        baseline = None
        if self.greedy is not None:
            baseline = score(self.greedy.tokens, self.greedy.lengths, self.greedy.items)
            baseline = (baseline if baseline.ndim == 1 else baseline[:, -1]).repeat_interleave(self.num_samples)
        unknown = scores.isnan() if scores.ndim == 1 else scores.isnan().any(dim=1)
        unknown = unknown if baseline is None else unknown | baseline.isnan()
        if not bool(unknown.any()):
            return self._paid(scores, baseline)
        left_out = unknown if baseline is not None or self.num_samples == 1 else self._with_lone_rows(unknown)
        scores = scores.masked_fill(left_out if scores.ndim == 1 else left_out.unsqueeze(1), 0.0)
        rows = self._paid(scores, None if baseline is None else baseline.nan_to_num(0.0))
        return rows.replace(mask=rows.mask & ~left_out.unsqueeze(1), reward=rows.reward.masked_fill(left_out.unsqueeze(1), 0.0))

    def _paid(self, scores: Tensor, baseline: Tensor | None) -> Trajectory:
        paid = scores.unsqueeze(1) * self.rows.terminated if scores.ndim == 1 else credit(scores, self.rows)
        rows = self.rows.replace(reward=self.rows.reward + paid)
        return rows if baseline is None else rows.replace(baseline=baseline)

    def _with_lone_rows(self, unknown: Tensor) -> Tensor:
        """Leave out, too, the one row of an item that has a score: there is nothing to compare it with."""
        known = ~unknown.view(-1, self.num_samples)
        return unknown | ((known.sum(dim=1, keepdim=True) == 1) & known).flatten()

    def state_dict(self) -> dict[str, Any]:
        """Give tensors; what the captions of an image share, once."""
        rows = {name: getattr(self.rows, name) for name in FIELDS if getattr(self.rows, name) is not None}
        if "context" in rows:
            rows["context"] = map_tree(lambda leaf: leaf[:: self.num_samples].clone(), rows["context"])
        greedy = None if self.greedy is None else dict(vars(self.greedy))
        return {"rows": rows, "captions": dict(vars(self.captions)), "greedy": greedy, "num_samples": self.num_samples}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Sampled:
        """Make it of its state."""
        rows, num_samples = dict(state["rows"]), int(state["num_samples"])
        if "context" in rows:
            rows["context"] = map_tree(lambda leaf: leaf.repeat_interleave(num_samples, dim=0), rows["context"])
        greedy = None if state["greedy"] is None else Captions(**state["greedy"])
        return cls(Trajectory.of_known(rows), Captions(**state["captions"]), greedy, num_samples)


def credit(prefix_score: Tensor, rows: Trajectory) -> Tensor:
    """Pay each token that the policy chose what it adds to the score; the first of them what was forced before, too.

    Args:
        prefix_score: [B, T+1], in column t the score of the first t tokens; what stands behind a row's end is the score of the whole.
        rows: whose tokens they are.

    Returns:
        [B, T], of which each row adds up to the score of the whole.
    """
    chosen = torch.nn.functional.pad(rows.mask.cumsum(dim=1), (1, 0)) > 0
    column = torch.arange(prefix_score.shape[1], device=prefix_score.device)
    whole = column >= rows.counted.sum(dim=1, keepdim=True)  # of a row that was forced to its end nothing was chosen
    return score_differences(torch.where(chosen | whole, prefix_score, 0.0), rows.counted)


def sampled_rows(
    policy: nn.Module,
    context: Tree,
    items: Tensor,
    *,
    end: int,
    num_samples: int,
    greedy: bool,
    greedy_baseline: bool,
    forced: Tensor | None,
    generator: torch.Generator | None = None,
    beam: bool = False,
) -> Sampled:
    """Write rows about items, without rewards.

    Args:
        policy: see `seqrl.decoding.sample`.
        context: leaves [N, ...].
        items: [N] long.
        end: token that the vocabulary ends a text with.
        num_samples: rows about each item.
        greedy: write the most probable tokens.
        greedy_baseline: also write the greedy row of each item.
        forced: [N, S] first tokens; None for none.
        generator: draws the tokens.
        beam: write the best rows of a beam search instead.
    """
    if beam and not greedy:
        rows = best_rows(policy, context, num_rows=num_samples, group=items)
        return Sampled(rows, captions_of(rows, policy, end), None, num_samples)
    settings: Any = {"num_samples": num_samples, "forced": forced, "group": items, "generator": generator}
    best: Trajectory | None = None
    if greedy_baseline and not greedy:
        rows, best = sample_beside_greedy(policy, context, **settings)
    else:
        rows = sample(policy, context, greedy=greedy, **settings)
        best = sample(policy, context, greedy=True, group=items) if greedy_baseline else None
    return Sampled(rows, captions_of(rows, policy, end), None if best is None else captions_of(best, policy, end), num_samples)


def captions_of(rows: Trajectory, policy: nn.Module, end: int) -> Captions:
    """Take whole texts, forced tokens included."""
    assert rows.group is not None
    return Captions(with_one_end(rows.action, policy, end), rows.counted.sum(dim=1), rows.group)
