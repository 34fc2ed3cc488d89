"""Rewards that are computed while the next rows are sampled, and the weights of rows that an older policy has sampled."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl import A2C, PPO, TRPO, CrossEntropyMethod, OffPolicy, OffPolicyConfig, Reinforce, SelfCritical, Supervised
from seqrl.ahead import RewardsAhead
from seqrl.functional.importance import row_ratio
from seqrl.functional.reductions import AverageOver, count_of, masked_mean
from seqrl.requirements import require_weights_of_older_rows
from seqrl.trainers.reinforce import ReinforceConfig
from seqrl.trainers.self_critical import SelfCriticalConfig
from seqrl.trajectory import Evaluation, Trajectory

ROWS = torch.tensor(list(itertools.product((0, 1), repeat=2)))  # all that there are, of two steps
REWARDS = torch.tensor([0.3, -1.0, 2.0, 0.7])


class Table(nn.Module):
    """Chooses 0 or 1 twice, the second time by what was chosen first."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(seed)))

    def logp(self, action: Tensor) -> Tensor:
        before = torch.stack([torch.full_like(action[:, 0], 2), action[:, 0]], dim=1)
        return self.logits.log_softmax(dim=1)[before].gather(2, action.unsqueeze(2)).squeeze(2)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        logp = self.logp(trajectory.action)
        return Evaluation(logp, torch.zeros_like(logp), torch.zeros_like(logp))


def rows_of(numbers: list[int], behaviour: Table) -> Trajectory:
    action = ROWS[numbers]
    reward = torch.zeros(len(numbers), 2)
    reward[:, 1] = REWARDS[numbers]
    ended = torch.tensor([[False, True]]).expand(len(numbers), 2)
    no = torch.zeros_like(ended)
    best = torch.full((len(numbers),), 0.25)
    zeros = torch.zeros(len(numbers), 3)
    group = torch.zeros(len(numbers), dtype=torch.long)
    logp = behaviour.logp(action).detach()
    return Trajectory(action, logp, zeros, reward, ended, no, ~no, group=group, baseline=best)


def expected_gradient(trainer: Any, behaviour: Table) -> Tensor:
    """Enumerate all pairs of rows, each as probable as the behaviour makes it."""
    total = torch.zeros_like(behaviour.logits)
    chance = behaviour.logp(ROWS).sum(dim=1).exp().detach()

    def caught(trajectory: Trajectory, loss: Callable[..., Any], *, lags: bool, over: AverageOver, **columns: Tensor) -> dict[str, float]:
        half = trajectory.batch_size // 2  # in two parts, as with accumulation
        for rows in (slice(0, half), slice(half, None)):
            part = trajectory.select_rows(rows)
            terms = loss(part, trainer.policy(part), **{name: column[rows] for name, column in columns.items()})
            mean = masked_mean(terms["loss/policy"], part.mask, count_of(trajectory.mask, over), over=over)
            total.add_(torch.autograd.grad(mean, trainer.policy.logits)[0] * weight)
        return {"optimiser/skipped_share": 0.0}

    trainer.optimiser.minimise = caught
    for first, second in itertools.product(range(4), repeat=2):
        weight = chance[first] * chance[second]
        trainer.update(rows_of([first, second], behaviour))
    return total


TRAINERS: list[Callable[[Table], Any]] = [
    lambda policy: SelfCritical(policy, SelfCriticalConfig(num_samples=2, average_over="rows")),
    lambda policy: SelfCritical(policy, SelfCriticalConfig(baseline="greedy", num_samples=2, average_over="rows")),
    lambda policy: Reinforce(policy, ReinforceConfig(baseline="leave_one_out", num_samples=2, average_over="rows")),
    lambda policy: Reinforce(policy, ReinforceConfig(baseline="none", num_samples=2, average_over="rows", reward_to_go=False)),
]


@pytest.mark.parametrize("make", TRAINERS)
def test_the_expected_gradient_of_older_rows_is_that_of_present_ones(make: Callable[[Table], Any]) -> None:
    policy, behaviour = Table(1), Table(2)
    exact = torch.autograd.grad(-(policy.logp(ROWS).sum(dim=1).exp() * REWARDS).sum(), policy.logits)[0]
    trainer = make(policy)
    torch.testing.assert_close(expected_gradient(trainer, policy), exact)  # rows of its own need no weights
    unweighed = expected_gradient(trainer, behaviour)
    trainer.lags = True
    torch.testing.assert_close(expected_gradient(trainer, behaviour), exact)
    assert (unweighed - exact).abs().max() > 0.03


def test_ratios_by_hand_are_logged() -> None:
    logp = torch.tensor([[0.5, 0.5], [0.2, 0.9]]).log()
    behaviour = torch.tensor([[0.25, 1.0], [0.4, -1.0]])
    behaviour = torch.where(behaviour > 0, behaviour, torch.nan).log()
    mask = torch.tensor([[True, True], [True, False]])
    assert row_ratio(logp, behaviour, mask).tolist() == pytest.approx([1.0, 0.5])
    policy, behaviour_policy = Table(1), Table(2)
    trainer = TRAINERS[0](policy)
    assert not any(key.startswith("importance") for key in trainer.update(rows_of([1, 2], policy)))
    trainer.lags = True
    chances = [(each.logp(ROWS[[1, 2]]).sum(dim=1).exp()).tolist() for each in (policy, behaviour_policy)]
    weights = [present / before for present, before in zip(*chances, strict=True)]
    stats = trainer.update(rows_of([1, 2], behaviour_policy))
    # the update before has moved the weights by one small step of Adam
    assert stats["importance/max"] == pytest.approx(max(weights), rel=0.01)
    assert stats["importance/mean"] == pytest.approx(sum(weights) / 2, rel=0.01)


@dataclass(frozen=True)
class Number:
    """Stands for sampled rows."""

    number: int
    settings: tuple[Any, ...] = ()

    def rewarded(self, score: Callable[..., Any]) -> Any:
        return score(self.number)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}


def ahead(score: Callable[..., Any], timeout_s: float = 20.0) -> tuple[RewardsAhead[Number], Callable[[], Any]]:
    counted = itertools.count()
    queue = RewardsAhead(score, lambda state: Number(state["number"]), timeout_s)
    return queue, lambda: queue.next(lambda: Number(next(counted)), ())


def test_the_score_of_a_batch_runs_while_the_next_one_is_sampled() -> None:
    events: list[tuple[str, int]] = []

    def score(number: int) -> int:
        time.sleep(0.05)
        events.append(("scored", number))
        return 10 * number

    queue, call = ahead(score)
    assert [call() for _ in range(3)] == [0, 10, 20]
    assert events[:3] == [("scored", 0), ("scored", 1), ("scored", 2)]
    assert 0.05 < queue.waited_s
    with pytest.raises(ValueError, match=r"sampled already, with \(\), and now \(5,\) is asked for"):
        queue.next(lambda: Number(9), (5,))


def test_a_failure_names_its_batch_and_is_scored_again() -> None:
    broken = [2]

    def score(number: int) -> int:
        if number in broken:
            raise ZeroDivisionError("no words")
        return number

    queue, call = ahead(score)
    assert [call(), call()] == [0, 1]
    with pytest.raises(ZeroDivisionError) as caught:
        call()
    assert caught.value.__notes__ == ["in the reward of batch 3, which is computed while the next one is sampled"]
    state = queue.state_dict()
    assert state == {"number": 2, "waiting": [{"number": 2}, {"number": 3}]}
    broken.clear()
    again, _ = ahead(score)
    again.load_state_dict(state)
    numbers = iter([4])
    assert [again.next(lambda: Number(next(numbers)), ()) for _ in range(2)] == [2, 3]
    assert call() == 2


def test_what_hangs_is_given_up() -> None:
    _, call = ahead(lambda number: time.sleep(5), timeout_s=0.1)
    with pytest.raises(TimeoutError, match="did not answer for 0.1 seconds"):
        call()


def test_trainers_without_weights_refuse_older_rows_by_name() -> None:
    class Ahead:
        reward_ahead = 1

    task: Any = Ahead()
    for kind in (A2C, CrossEntropyMethod, TRPO, Supervised):
        with pytest.raises(ValueError, match=f"trainer {kind.__name__}: expected rewards that are not computed ahead"):
            require_weights_of_older_rows(task, object.__new__(kind))  # type: ignore[arg-type]
    free = OffPolicyConfig(baseline="none")
    for trainer in (PPO, Reinforce, SelfCritical, OffPolicy(Table(0), free)):
        require_weights_of_older_rows(task, trainer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trainer OffPolicy: expected rewards that are not computed ahead"):
        require_weights_of_older_rows(task, OffPolicy(Table(0), replace(free, weighting="none")))
    with pytest.raises(ValueError, match="expected dropout=false where rewards are computed ahead"):
        task.whole_rows = True
        SelfCritical(Table(0), SelfCriticalConfig(dropout=True)).check_task(task)
