"""Which items are written about next, and the rows about them with their rewards: the state that tasks of written texts share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seqrl.ahead import RewardsAhead
from seqrl.batch_share import BatchShare
from seqrl.distributed import gather
from seqrl.tasks.item_order import ItemOrder
from seqrl.tasks.writing.imitated_references import ImitatedReferences
from seqrl.tasks.writing.memory import context_of
from seqrl.tasks.writing.reward import TextReward
from seqrl.tasks.writing.sampled import Sampled, sampled_rows
from seqrl.trajectory import Trajectory, Tree

Part = TypeVar("Part")
# See `seqrl.protocols.Task`.
HINTS = {"rows_of_the_present": "set task.reward.ahead=0", "critic": "set task.policy.critic=true"}


class Rollouts:
    """Goes through the training items, and has rows about them rewarded, now or one batch later.

    Args:
        num_items: of the training split.
        reward: pays for the rows; its `ahead` says when.
        seed: of the order of the items and of what else is drawn.

    Attributes:
        share: of a batch that several processes divide; None where each has one of its own.
        generator: of what is drawn beside the tokens.
        lag: by how many updates rows are older than the policy that learns from them.
    """

    def __init__(self, num_items: int, reward: TextReward, *, seed: int) -> None:
        self._reward = reward
        config = reward.config
        self.lag = config.ahead
        self._ahead = RewardsAhead(self._paid, Sampled.of_state, config.timeout_s) if config.ahead else None
        self._scored: deque[dict[str, float]] = deque()  # metrics of batches that have a reward and were not given yet
        self._given, self._gathered = 0, list[dict[str, float]]()
        self._order = ItemOrder(num_items, seed=seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.share: BatchShare | None = None

    @property
    def seconds_in_reward(self) -> float:
        """Time spent on scores so far; with `reward.ahead` the time spent waiting for them."""
        return self._reward.seconds if self._ahead is None else self._ahead.waited_s

    def next_items(self, count: int) -> Tensor:
        """Give the numbers of the next training items, [count] long, those of all processes where they divide a batch."""
        items = self._order.next(count)
        if self.share is not None:
            self.share.begin(items)
        return items

    def divide(self, share: BatchShare) -> None:
        """Divide each batch with other processes from now on.

        Raises:
            ValueError: when rewards are computed ahead, of rows that a run with more or fewer processes could not go on with.
        """
        if self._ahead is not None:
            raise ValueError("split_batches: expected task.reward.ahead=0, since rows that wait for a reward are of one process's share")
        self.share = share

    def own(self, tree: Tree) -> Tree:
        """Take this process's part of something with a row for each of the next items."""
        return tree if self.share is None or tree is None else self.share.of(tree)

    def around(self, group: Tensor) -> Tensor:
        """Give the items of the whole batch that this process has a part of, in the order that one process would ask for them.

        Args:
            group: the items that this process asks for.
        """
        if self.share is None:
            return group
        items = self.share.items
        return items.unique() if bool((group[1:] >= group[:-1]).all()) else items

    def own_rows(self, rows: Trajectory, group: Tensor | None) -> Trajectory:
        """Take of demonstrations for the whole batch those of this process's items, or of `group`."""
        if self.share is None or rows.group is None:
            return rows
        wanted = self.share.items[self.share.own] if group is None else group.to(rows.group.device)
        return rows.select_rows(torch.isin(rows.group, wanted).nonzero().squeeze(1))

    def write(
        self,
        policy: nn.Module,
        draw: Callable[[], tuple[Tensor, Tree]],
        references: ImitatedReferences,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        **how: Any,
    ) -> Trajectory:
        """Write rows about the next items, with their rewards; with `reward.ahead` those that the last call wrote.

        Args:
            policy: writes; the other keywords are those of `seqrl.protocols.Task.rollout`, and `beam`, see `sampled_rows`.
            draw: gives the numbers of the next items [N] and what is written about, leaves [N, ...].
            references: rows begin with these where steps are forced.
            num_samples: rows about each item.
            greedy: write the most probable tokens; these rows are always scored at once.
            greedy_baseline: also write the greedy row of each item.
            num_forced_steps: first tokens of a row that are those of a reference.
            how: `generator` and `beam`.

        Raises:
            ValueError: when reward functions leave out all rows, those of all processes.
        """

        def sampled() -> Sampled:
            items, inputs = draw()
            own: Any = self.own
            forced = own(references.beginnings(items, num_forced_steps, self.generator)) if num_forced_steps else None
            settings: Any = {"num_samples": num_samples, "greedy": greedy, "greedy_baseline": greedy_baseline, **how}
            return sampled_rows(
                policy, own(context_of(policy, inputs)), own(items), end=self._reward.vocabulary.end, forced=forced, **settings
            )

        if greedy:
            return sampled().scored(self._reward.paid)
        rows = self._paid(sampled()) if self._ahead is None else self._ahead.next(sampled, (num_samples, greedy_baseline))
        self._given += 1
        if metrics := self._scored.popleft():
            self._gathered.append(metrics)
        if self._reward.own is not None and self._reward.own.may_leave_out:
            _require_some(rows, compared=num_samples > 1 and not greedy_baseline)
        return rows

    def _paid(self, sampled: Sampled) -> Trajectory:
        """Reward a batch, and keep what functions of one's own have logged of it."""
        self._reward.begin_batch()
        rows = sampled.scored(self._reward.paid)
        self._scored.append(self._reward.end_batch())
        return rows

    def pop_metrics(self) -> dict[str, float]:
        """Give the means of what functions of one's own have logged of the batches that were given since the last call."""
        gathered, self._gathered = self._gathered, []
        names = dict.fromkeys(name for metrics in gathered for name in metrics)
        return {name: fmean(metrics[name] for metrics in gathered if name in metrics) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Give the position in the data, the state of the draws, and the rows whose rewards are not there yet."""
        ahead = {} if self._ahead is None else {"ahead": self._ahead.state_dict()}
        return {"order": self._order.state_dict(), "generator": self.generator.get_state(), "batches": self._given, **ahead}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        self._order.load_state_dict(state["order"])
        self.generator.set_state(state["generator"])
        self._given = self._reward.batches = state.get("batches", 0)
        self._scored.clear()
        if self._ahead is not None and "ahead" in state:
            self._ahead.load_state_dict(state["ahead"])


def _require_some(rows: Trajectory, *, compared: bool) -> None:
    """Refuse a batch of which all rows, of all processes, were left out.

    Args:
        rows: of this process.
        compared: whether rows about one item are compared with each other.
    """
    counts = rows.mask.any().float().view(1)
    if not bool(torch.stack(gather(counts, "for the rewards")).any()):
        least = "two rows about one item" if compared else "one row"
        raise ValueError(
            f"the reward functions gave None for so many of the {rows.batch_size} rows that nothing is left to learn from; expected "
            f"numbers for {least} at least"
        )


def split_named(name: str, splits: Mapping[str, Part], what: str) -> Part:
    """Look a split up.

    Args:
        name: of the split.
        splits: train, dev and test, of which some may be empty.
        what: they hold.

    Raises:
        ValueError: when there is no such split, or nothing in it.
    """
    if name not in splits:
        raise ValueError(f"split: expected train, dev or test, got {name!r}")
    part: Any = splits[name]
    if not len(part):
        raise ValueError(f"split: {name} has no {what} in this data set; hold some out with task.data.num_dev or num_test")
    return splits[name]
