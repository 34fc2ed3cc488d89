from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seqrl.diagnostics import (
    TROUBLES,
    Numbers,
    PolicyStats,
    average_of,
    describe_advantage,
    describe_rollout,
    describe_update,
    explained_variance,
    read,
    said_of,
    warnings_for,
)
from seqrl.distributions import Gaussian
from seqrl.trajectory import Evaluation, Trajectory


def rows(action: list[list[int]], lengths: list[int], reward: list[float], **fields: Any) -> Trajectory:
    tokens, length = torch.tensor(action), torch.tensor(lengths).unsqueeze(1)
    B, T = tokens.shape
    rewards = torch.zeros(B, T)
    rewards[:, 0] = torch.tensor(reward)
    place = torch.arange(T)
    settings: dict[str, Any] = {
        "action": tokens,
        "logp": torch.zeros(B, T),
        "value": torch.zeros(B, T + 1),
        "reward": rewards,
        "terminated": place == length - 1,
        "truncated": torch.zeros(B, T, dtype=torch.bool),
        "mask": place < length,
    }
    return Trajectory(**(settings | fields))


def test_rollout_in_numbers_by_hand() -> None:
    stats = describe_rollout(rows([[5, 6, 7], [5, 6, 0], [8, 0, 0]], [3, 2, 1], [1.0, 4.0, 7.0]))
    assert stats == pytest.approx(
        {
            "reward/mean": 4,
            "reward/std": math.sqrt(6),
            "reward/max": 7,
            "reward/min": 1,
            "rollout/length": 2,
            "rollout/ended": 1,
            "rollout/num_rows": 3,
            "rollout/num_steps": 6,
        }
    )


def test_ended_is_the_share_of_rows_that_were_not_cut_short() -> None:
    terminated = torch.tensor([[False, True], [False, False], [True, False], [False, False]])
    stats = describe_rollout(rows([[1, 1]] * 4, [2] * 4, [0.0] * 4, terminated=terminated, truncated=~terminated))
    assert stats["rollout/ended"] == 0.5


def test_unique_share_compares_counted_actions_within_a_group() -> None:
    # Padding differs in the first two rows, which are the same; the third differs; the fourth is like the first, but in
    # another group; the fifth is longer.
    action = [[5, 6, 9], [5, 6, 8], [5, 7, 9], [5, 6, 9], [5, 6, 4]]
    trajectory = rows(action, [2, 2, 2, 2, 3], [0.0] * 5, group=torch.tensor([3, 3, 3, 4, 3]))
    assert describe_rollout(trajectory)["rollout/unique"] == pytest.approx(4 / 5)
    several = trajectory.replace(action=torch.stack([trajectory.action, torch.zeros_like(trajectory.action)], dim=2))
    assert describe_rollout(several)["rollout/unique"] == pytest.approx(4 / 5)


def test_demonstrations_are_left_out() -> None:
    trajectory = rows([[5, 6], [5, 6]], [2, 0], [3.0, 100.0], baseline=torch.tensor([2.0, 50.0]))
    stats = describe_rollout(trajectory)
    assert (stats["reward/mean"], stats["reward/baseline"], stats["rollout/num_rows"], stats["rollout/num_steps"]) == (3, 2, 1, 2)
    assert describe_rollout(trajectory.select_rows(slice(1, 2))) == {}


def test_advantages_by_hand() -> None:
    mask = torch.tensor([[True, True, False], [True, True, False]])
    stats = describe_advantage(torch.tensor([[1.0, -1.0, math.nan], [3.0, -3.0, 99.0]]), mask)
    assert stats == pytest.approx({"advantage/mean": 0, "advantage/std": math.sqrt(5), "advantage/positive": 0.5})


def test_update_by_hand() -> None:
    # Ratios 2 and 1/2: 2 - 1 - log 2 and 1/2 - 1 + log 2 add up to 1/2.
    trajectory = rows([[1, 1, 1]], [2], [0.0], logp=torch.tensor([[-1.0, -1.0, 1000.0]]))
    logp = torch.tensor([[-1.0 + math.log(2), -1.0 - math.log(2), 0.0]])
    evaluation = Evaluation(logp, torch.tensor([[0.5, 1.5, 70.0]]), torch.zeros(1, 3))
    seen = PolicyStats.of(trajectory, evaluation)
    assert describe_update([seen]) == pytest.approx({"policy/entropy": 1.0, "policy/kl_sampling": 0.25}, abs=1e-6)
    assert describe_update([seen], clip=0.6)["policy/clip_fraction"] == 0.5  # the ratio 2, and not 1/2
    assert describe_update([seen], clip=0.4)["policy/clip_fraction"] == 1.0
    # With a second minibatch, of two steps more at a ratio of 1.
    more = PolicyStats(torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1, 2), 4.0), torch.ones(1, 2, dtype=torch.bool), None)
    assert describe_update([seen, more]) == pytest.approx({"policy/entropy": 2.5, "policy/kl_sampling": 0.125}, abs=1e-6)
    demonstrated = trajectory.replace(mask=torch.zeros_like(trajectory.mask), imitate=trajectory.mask)
    assert describe_update([PolicyStats.of(demonstrated, evaluation)]) == {"policy/entropy": 1.0}


def test_how_far_the_means_lie_apart_by_hand() -> None:
    # Means (0, 0), (2, 0), (4, 6) of the steps that count, deviations (1, 2): variances 8/3 and 8 over 1 + 4.
    mean = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [99.0, 99.0]], [[4.0, 6.0], [-9.0, 9.0], [5.0, 5.0]]])
    chosen = Gaussian(mean, torch.tensor([0.0, math.log(2)]))
    trajectory = rows([[1, 1, 1], [1, 1, 1]], [2, 1], [0.0, 0.0])
    parts = [trajectory.select_rows(slice(0, 1)), trajectory.select_rows(slice(1, 2))]
    noted = [
        PolicyStats.of(
            part, Evaluation(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 3), distribution=Gaussian(means, chosen.log_std))
        )
        for part, means in zip(parts, mean.split(1), strict=True)
    ]
    assert describe_update(noted)["policy/mean_spread"] == pytest.approx(math.sqrt((8 / 3 + 8) / 5), abs=1e-6)
    # A deviation for each step: 1 and 2 of them, 4 + 4 on average over three steps (1 + 1, 1 + 1, 9 + 9 is 22 / 3).
    each = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [7.0, 7.0]], [[3.0, 3.0], [7.0, 7.0], [7.0, 7.0]]]).log()
    every = torch.zeros(2, 3)
    whole = PolicyStats.of(trajectory, Evaluation(every, every, every, distribution=Gaussian(mean, each)))
    assert describe_update([whole])["policy/mean_spread"] == pytest.approx(math.sqrt((8 / 3 + 8) / (22 / 3)), abs=1e-6)
    assert "policy/mean_spread" not in describe_update([PolicyStats.of(trajectory, Evaluation(every, every, every))])


def test_tensors_are_read_as_numbers_in_their_order() -> None:
    assert read({"a": torch.tensor(0.1, dtype=torch.float64), "b": 2, "c": torch.tensor(3.0, requires_grad=True)}) == {
        "a": 0.1,
        "b": 2.0,
        "c": 3.0,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1.0, 2.0, 3.0, 6.0], 1.0),
        ([2.0, 3.0, 4.0, 7.0], 1.0),  # a constant error is no variance
        ([3.0, 3.0, 3.0, 3.0], 0.0),
        ([-1.0, -2.0, -3.0, -6.0], -3.0),  # twice the target is left over
        ([0.5, 1.0, 1.5, 3.0], 0.75),
    ],
)
def test_explained_variance_by_hand(value: list[float], expected: float) -> None:
    target = torch.tensor([[1.0, 2.0, 3.0, 6.0, 50.0]])
    mask = torch.tensor([[True, True, True, True, False]])
    assert explained_variance(torch.tensor([[*value, -9.0]]), target, mask) == pytest.approx(expected, abs=1e-6)


def test_explained_variance_of_constant_targets_is_zero() -> None:
    assert explained_variance(torch.rand(2, 3), torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)) == 0.0


def test_average_is_over_the_entries_that_have_a_number() -> None:
    assert average_of([{"a": 1.0, "b": 4.0}, {"a": 3.0}, {"a": 5.0, "c": 7.0}]) == {"a": 3.0, "b": 4.0, "c": 7.0}
    assert average_of([]) == {}


HEALTHY = {
    "reward/mean": 0.5,
    "reward/std": 0.2,
    "advantage/mean": 0.0,
    "advantage/std": 0.3,
    "rollout/unique": 0.9,
    "rollout/ended": 1.0,
    "policy/entropy": 1.2,
    "policy/kl_sampling": 0.01,
    "policy/clip_fraction": 0.1,
    "policy/optimiser_steps": 16.0,
    "critic/explained_variance": 0.6,
}


def test_nothing_is_said_of_healthy_or_missing_numbers() -> None:
    assert warnings_for(HEALTHY) == {}
    assert warnings_for({}) == {}
    assert warnings_for({"loss/cross_entropy": 0.4, "policy/entropy": 1.0}) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"advantage/std": 0.0, "reward/std": 0.0}, ["advantages", "mean is 0.5, their deviation 0)", "warm start"]),
        ({"advantage/std": 0.0}, ["advantages", "their deviation 0.2)"]),
        ({"rollout/unique": 0.2}, ["20%", "entropy bonus"]),
        ({"policy/entropy": 0.001}, ["deterministic", "entropy bonus"]),
        ({"policy/kl_sampling": 0.4}, ["0.4 nats", "lower learning rate", "target_kl"]),
        ({"policy/clip_fraction": 0.6}, ["60%", "fewer epochs"]),
        ({"policy/clip_fraction": 0.0}, ["hardly moves", "higher learning rate"]),
        ({"critic/explained_variance": -2.0}, ["critic", "-2", "vf_coef"]),
    ],
)
def test_each_trouble_is_named_with_what_to_try(changes: dict[str, float], words: list[str]) -> None:
    (warning,) = warnings_for(HEALTHY | changes).values()
    for word in words:
        assert word in warning


def test_every_trouble_has_a_text() -> None:
    assert all(len(said_of(kind, n=Numbers(HEALTHY))) > 50 for kind in TROUBLES)


def test_texts_are_put_together_only_for_troubles_that_are_there() -> None:
    class Unwritten(float):
        def __format__(self, form: str) -> str:
            pytest.fail("a text of nothing, once an update")

    assert warnings_for({key: Unwritten(number) for key, number in HEALTHY.items()}) == {}


def test_a_trainer_that_weights_may_be_far_from_what_acted() -> None:
    weighted = HEALTHY | {"policy/kl_sampling": 0.5, "importance/effective_share": 0.4}
    assert warnings_for(weighted) == {}
    assert list(warnings_for(weighted | {"importance/effective_share": 0.01})) == ["few_effective"]


def test_rows_that_never_end_matter_without_a_critic_only() -> None:
    assert warnings_for(HEALTHY | {"rollout/ended": 0.0}) == {}
    without = {key: number for key, number in HEALTHY.items() if not key.startswith("critic/")}
    (warning,) = warnings_for(without | {"rollout/ended": 0.0}).values()
    assert "cut off" in warning and "critic" in warning


def test_what_is_natural_is_not_warned_of() -> None:
    assert warnings_for(HEALTHY | {"critic/explained_variance": -0.01}) == {}  # the returns of a solved task hardly vary
    assert warnings_for(HEALTHY | {"policy/entropy": -0.7}) == {}  # a narrow Gaussian
    assert warnings_for(HEALTHY | {"policy/clip_fraction": 0.0, "policy/optimiser_steps": 1.0}) == {}  # nothing has moved yet
    assert warnings_for(HEALTHY | {"reward/std": 0.0}) == {}  # every part of a long game earned the same


def test_several_troubles_come_most_serious_first() -> None:
    found = warnings_for({"policy/kl_sampling": 1.0, "advantage/std": 0.0, "reward/std": 0.0, "reward/mean": 0.0})
    assert list(found) == ["equal_advantages", "far_from_sampling"]
    assert "advantages" in found["equal_advantages"] and "nats" in found["far_from_sampling"]
