"""Tasks whose policy writes tokens and is scored for whole rows: their rollout, and one that is made of three functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.decoding import repeated, sample, sample_beside_greedy
from seqrl.policies.tokens import evaluation_mode, first_leaf
from seqrl.rollout import evaluation_seed, refuse_forced_steps, unroll
from seqrl.sources import TokenSource
from seqrl.time_limit import time_limit
from seqrl.trajectory import Trajectory, Tree, map_tree

# As long as many calls of a slow judge may take.
SCORE_TIMEOUT_S = 300.0
EVALUATION_SEEDS = {"dev": 1, "test": 2}


class TokenTask:
    """Write about contexts that are drawn, and be scored for each row; see `seqrl.protocols.Task`.

    Args:
        draw: gives contexts, leaves [N, ...], from N and a generator.
        score: gives [B] from B rows and their contexts, see `token_rollout`; an evaluation gives its mean under its name.
        build_policy: makes the policy, for instance a `seqrl.TokenPolicy` around any module that gives logits.
        batch_size: contexts of a rollout.
        num_evaluated: contexts of an evaluation, the same ones each time.
        seed: of the contexts that are learned from.
    """

    def __init__(
        self,
        draw: Callable[[int, torch.Generator], Tree],
        score: Callable[[Trajectory, Any], Tensor],
        build_policy: Callable[[], nn.Module],
        *,
        batch_size: int = 32,
        num_evaluated: int = 256,
        seed: int = 0,
    ) -> None:
        self._draw, self._score, self.build_policy = draw, score, build_policy
        self._batch_size, self._num_evaluated = batch_size, num_evaluated
        self._generator = torch.Generator().manual_seed(seed)

    def rollout(self, policy: nn.Module, **settings: Any) -> Trajectory:
        """Write about new contexts; the trainer's settings are those of `token_rollout`."""
        return token_rollout(policy, self._draw(self._batch_size, self._generator), self._score, **settings)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Score greedy rows about the split's contexts.

        Raises:
            ValueError: when there is no such split.
        """
        seed = evaluation_seed(split, EVALUATION_SEEDS)
        contexts = self._draw(self._num_evaluated, torch.Generator().manual_seed(seed))
        return {self._score.__name__: float(token_rollout(policy, contexts, self._score, greedy=True).score.mean())}

    def state_dict(self) -> dict[str, Any]:
        """Give what the next contexts depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it."""
        self._generator.set_state(state["generator"])


def token_rollout(
    policy: Any,
    context: Tree,
    score: Callable[[Trajectory, Any], Tensor],
    *,
    group: Tensor | None = None,
    forced: Tensor | None = None,
    num_samples: int = 1,
    greedy: bool = False,
    greedy_baseline: bool = False,
    num_forced_steps: int = 0,
    generator: torch.Generator | None = None,
    score_timeout_s: float = SCORE_TIMEOUT_S,
) -> Trajectory:
    """Let a token policy write rows for each context, and reward the last token of a row with its score.

    The keywords but `group`, `forced` and `score_timeout_s` are those of `seqrl.protocols.Task.rollout`, which hands them on.

    Args:
        policy: see `seqrl.TokenPolicy`; one with `next_logits` writes by `seqrl.decoding.sample`, one that can only `act` by
            `seqrl.rollout.unroll`.
        context: what is written about, leaves [N, ...].
        score: gives [B] from a trajectory of B = N * num_samples rows, those of one context next to each other, and from their
            context, leaves [B, ...].
        group: [N] numbers of the contexts; 0..N-1 when None.
        forced: [N, S] long, the right tokens of each context, of which the first `num_forced_steps` are taken; None where none are known.
        num_samples: rows drawn for each context.
        greedy: write the most probable tokens.
        greedy_baseline: also set `baseline` to the score of the greedy row of the same context.
        num_forced_steps: first tokens of drawn rows that are `forced`; must be 0 without these, or where a policy can only `act`.
        generator: draws the tokens.
        score_timeout_s: seconds after which a score that does not answer is given up; 0 for never. See `seqrl.time_limit`.

    Raises:
        ValueError: when forced steps are asked for, or a score is not one finite number a row.
        TimeoutError: when the score does not answer.
    """
    if forced is None:
        refuse_forced_steps(num_forced_steps)
    elif num_forced_steps and not hasattr(policy, "next_logits"):
        raise ValueError(
            f"forced steps: expected 0 for a policy that can only act, since {type(policy).__name__} has no `next_logits`, got "
            f"{num_forced_steps}; set imitation.forced_steps to 0, or mix demonstrations in by imitation.weight alone"
        )
    device = next(policy.parameters()).device
    context = map_tree(lambda leaf: leaf.to(device), context)
    N = first_leaf(context).shape[0]
    group = torch.arange(N, device=device) if group is None else group.to(device)

    def scored(trajectory: Trajectory) -> Trajectory:
        with time_limit(score_timeout_s, "the score (score_timeout_s)"):
            scores = score(trajectory, repeated(context, trajectory.batch_size // N))
        return trajectory.replace(reward=trajectory.reward + finite_scores(scores, trajectory.reward).unsqueeze(1) * trajectory.terminated)

    begun: Any = {} if forced is None or not num_forced_steps else {"forced": forced[:, :num_forced_steps].to(device)}
    best: Trajectory | None = None
    if greedy_baseline and not greedy and hasattr(policy, "next_logits"):
        trajectory, best = sample_beside_greedy(policy, context, num_samples=num_samples, group=group, generator=generator, **begun)
    else:
        trajectory = _written(policy, context, group, num_samples, greedy=greedy, generator=generator, **begun)
        best = _written(policy, context, group, 1, greedy=True, generator=generator) if greedy_baseline else None
    trajectory = scored(trajectory)
    return trajectory if best is None else trajectory.replace(baseline=scored(best).score.repeat_interleave(num_samples))


def _written(
    policy: Any,
    context: Tree,
    group: Tensor,
    count: int,
    *,
    greedy: bool,
    generator: torch.Generator | None,
    forced: Tensor | None = None,
) -> Trajectory:
    """Write `count` rows about each context; a policy that can only `act` is asked for every row until the last one has ended."""
    if hasattr(policy, "next_logits"):
        return sample(policy, context, num_samples=count, greedy=greedy, forced=forced, group=group, generator=generator)
    rows, num_rows = repeated(context, count), group.shape[0] * count
    source = TokenSource(num_rows, begin=policy.begin, end=policy.end, max_tokens=policy.max_tokens, device=group.device)
    settings: Any = {"max_steps": policy.max_tokens, "context": rows, "group": group.repeat_interleave(count)}
    with evaluation_mode(policy):
        return unroll(policy, source, greedy=greedy, generator=generator, **settings)[0]


def finite_scores(given: Tensor, reward: Tensor) -> Tensor:
    """Give the scores of rows in the dtype of their rewards.

    Args:
        given: [B] scores.
        reward: [B, T] float.

    Raises:
        ValueError: when they are not one number a row, or one is not finite in that format.
    """
    if given.shape != reward.shape[:1]:
        raise ValueError(f"the score gave numbers of shape {list(given.shape)} for {reward.shape[0]} rows; expected one number each")
    scores = given.to(reward)
    finite = scores.isfinite()
    if not bool(finite.all()):
        row = int(finite.int().argmin())
        largest = torch.finfo(reward.dtype).max
        raise ValueError(f"the score gave {given[row].item():g} for row {row}; expected a finite number, at most {largest:.2g}")
    return scores
