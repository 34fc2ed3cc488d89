from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from small import small_task
from torch import Tensor

from seqrl.rollout import unroll
from seqrl.tasks.attention.classification import read_steps
from seqrl.tasks.attention.looking import given_locations, grid, look
from seqrl.tasks.attention.retina import Retina
from seqrl.trajectory import Trajectory, Tree


def seen(trajectory: Trajectory, name: str) -> Tensor:
    assert isinstance(trajectory.obs, Mapping)
    leaf = trajectory.obs[name]
    assert isinstance(leaf, Tensor)
    return leaf


class GlimpseSource:
    """Glimpses for the core's own sampling loop."""

    def __init__(self, retina: Retina, images: Tensor, num_actions: int) -> None:
        self._retina, self._images, self._num_actions = retina, images, num_actions
        self.active = torch.ones(images.shape[0], dtype=torch.bool)
        self.finished, self._left = False, num_actions
        self.obs: Tree = self._see(torch.zeros(images.shape[0], 2))

    def _see(self, location: Tensor) -> Tree:
        step = torch.full_like(self.active, self._num_actions - self._left, dtype=torch.long)
        return {"glimpse": self._retina.cut(self._images, location), "location": location, "step": step}

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        self._left -= 1
        self.obs, self.finished = self._see(action.clamp(-1, 1)), self._left == 0
        ended = torch.full_like(self.active, self.finished)
        return self.obs, torch.zeros(len(action)), ended, torch.zeros_like(ended)


@pytest.mark.parametrize("core", ["relu_rnn", "lstm"])
def test_looking_is_what_the_cores_sampling_loop_does(core: str) -> None:
    task = small_task(policy={"type": core})
    policy: Any = task.build_policy()
    images, label = task.data.batch(torch.arange(6), torch.Generator().manual_seed(1))
    place = given_locations("learned", "centre", grid(4), 6, None, torch.device("cpu"))
    trajectory, hidden = look(policy, task.retina, task.retina.prepare(images), place, {"label": label}, num_glimpses=4, greedy=True)
    source = GlimpseSource(task.retina, images, num_actions=3)
    expected, state = unroll(policy, source, max_steps=3, context={"label": label}, greedy=True)
    for name in ("action", "logp", "value", "reward", "terminated", "truncated", "mask"):
        torch.testing.assert_close(getattr(trajectory, name), getattr(expected, name), msg=name)
    for name in ("glimpse", "location"):
        torch.testing.assert_close(seen(trajectory, name), seen(expected, name))
    last, _ = policy.core.advance(*(seen(expected, name)[:, -1] for name in ("glimpse", "location")), state)
    torch.testing.assert_close(hidden[-1], last)


def test_sampled_locations_are_the_means_plus_noise_of_the_set_deviation() -> None:
    task = small_task(policy={"location_std": 0.25}, images_per_batch=40)
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, num_samples=50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        evaluation = policy(trajectory)
    torch.testing.assert_close(evaluation.logp, trajectory.logp)
    torch.testing.assert_close(evaluation.value, trajectory.value[:, :-1])
    noise = trajectory.action - evaluation.distribution.mean
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 0.25) < 0.005
    assert torch.equal(seen(trajectory, "location")[:, 1:], trajectory.action.clamp(-1, 1))
    assert float(trajectory.action.abs().max()) <= 1 + 5 * 0.25
    normal = torch.distributions.Normal(evaluation.distribution.mean, 0.25)
    torch.testing.assert_close(trajectory.logp, normal.log_prob(trajectory.action).sum(dim=2))
    torch.testing.assert_close(evaluation.entropy, normal.entropy().sum(dim=2))


def test_paths_over_one_image_share_its_group_and_see_it() -> None:
    task = small_task()
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, num_samples=3, generator=torch.Generator().manual_seed(0))
    assert trajectory.batch_size == 18 and trajectory.group is not None
    assert trajectory.group.view(6, 3).unique(dim=1).shape == (6, 1) and len(trajectory.group.unique()) == 6
    images, _ = task.data.batch(trajectory.group, torch.Generator())  # centred: always the same
    for step in range(4):
        expected = task.retina.cut(images, seen(trajectory, "location")[:, step])
        torch.testing.assert_close(seen(trajectory, "glimpse")[:, step], expected)


def test_a_reward_of_one_for_the_right_class_at_the_last_step() -> None:
    task = small_task(images_per_batch=30)
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.context, Mapping)
    with torch.no_grad():
        hidden = policy.core.run(seen(trajectory, "glimpse").transpose(0, 1), seen(trajectory, "location").transpose(0, 1))[1]
    right = policy.classify(hidden).argmax(dim=1) == trajectory.context["label"][:, 0]  # type: ignore[index]
    assert 0 < int(right.sum()) < 30
    assert torch.equal(trajectory.reward[:, -1], right.float()) and not trajectory.reward[:, :-1].any()
    assert trajectory.terminated[:, -1].all() and not trajectory.terminated[:, :-1].any() and not trajectory.truncated.any()


def test_the_log_probability_as_a_reward() -> None:
    task = small_task(reward="log_probability")
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(-trajectory.reward[:, -1].mean(), policy(trajectory).aux_loss)


def test_information_gains_add_up_to_the_log_probability_gained() -> None:
    task = small_task(reward="information_gain", policy={"early_classification": 0.5})
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.context, Mapping)
    with torch.no_grad():
        hidden = policy.core.run(seen(trajectory, "glimpse").transpose(0, 1), seen(trajectory, "location").transpose(0, 1))[0]
        logp = policy.classify(hidden).log_softmax(dim=2)
    for row, label in enumerate(trajectory.context["label"][:, 0].tolist()):  # type: ignore[index, union-attr]
        gains = [logp[step + 1, row, label] - logp[step, row, label] for step in range(3)]
        torch.testing.assert_close(trajectory.reward[row], torch.stack(gains))


def test_the_means_start_where_they_are_told() -> None:
    task = small_task(start="grid", first_location="grid", grid_spacing=0.6)
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, greedy=True)
    torch.testing.assert_close(seen(trajectory, "location"), grid(4, 0.6).expand(6, -1, -1), atol=0.02, rtol=0)


def test_each_object_of_a_pair_is_read_and_rewarded_after_its_own_glimpses() -> None:
    task = small_task(data={"placement": "pair", "canvas_size": 30}, num_glimpses=6, images_per_batch=30)
    policy: Any = task.build_policy()
    assert read_steps(6, task.config.data.num_objects) == [2, 5]
    trajectory = task.rollout(policy, generator=torch.Generator().manual_seed(0))
    assert isinstance(trajectory.context, Mapping)
    label = trajectory.context["label"]
    assert isinstance(label, Tensor) and tuple(label.shape) == (30, 2)
    with torch.no_grad():
        hidden = policy.core.run(seen(trajectory, "glimpse").transpose(0, 1), seen(trajectory, "location").transpose(0, 1))[0]
        logits = torch.stack([policy.classify(hidden[2]), policy.classify(hidden[5])], dim=1)
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), label.flatten())
        torch.testing.assert_close(policy(trajectory).aux_loss, expected)
    right = (logits.argmax(dim=2) == label).float() / 2
    assert torch.equal(trajectory.reward[:, [1, 4]], right) and not trajectory.reward[:, [0, 2, 3]].any()


@pytest.mark.parametrize("looking", ["random", "centre", "grid"])
def test_where_the_policy_does_not_choose_nothing_counts(looking: str) -> None:
    task = small_task(looking=looking)
    trajectory = task.rollout(task.build_policy(), generator=torch.Generator().manual_seed(0))
    assert not trajectory.mask.any()
    locations = seen(trajectory, "location")
    assert torch.equal(locations[:, 1:], trajectory.action)
    if looking == "random":
        assert locations.std() > 0.4 and locations.abs().max() <= 1
    else:
        expected = torch.zeros(4, 2) if looking == "centre" else torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])
        assert torch.equal(locations, expected.expand(6, -1, -1))


def test_grids() -> None:
    third = 2 / 3
    inner_first = torch.tensor([[-0.5, 0.0], [0.5, 0], [-0.5, -third], [0.5, -third], [-0.5, third], [0.5, third]])
    torch.testing.assert_close(grid(6), inner_first)
    torch.testing.assert_close(
        grid(6, spacing=0.4), torch.tensor([[-0.2, 0.0], [0.2, 0], [-0.2, -0.4], [0.2, -0.4], [-0.2, 0.4], [0.2, 0.4]])
    )
    torch.testing.assert_close(grid(3), torch.tensor([[0.0, 0], [0, -third], [0, third]]))
    assert grid(8).unique(dim=0).shape == (8, 2)
    torch.testing.assert_close(grid(5), inner_first[:5])  # the grid of six, without a corner
    assert grid(7).unique(dim=0).shape == (7, 2) and grid(7)[:, 0].unique().shape == (2,)


def test_a_random_first_location() -> None:
    first = given_locations("learned", "random", grid(4), 2000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert first.shape == (2000, 1, 2) and first.abs().max() <= 1
    assert abs(float(first.std()) - 1 / math.sqrt(3)) < 0.02


def test_the_mean_path_is_the_baseline_of_self_critical_training() -> None:
    task = small_task(images_per_batch=20)
    policy: Any = task.build_policy()
    trajectory = task.rollout(policy, num_samples=2, greedy_baseline=True, generator=torch.Generator().manual_seed(0))
    other = small_task(images_per_batch=20).rollout(policy, greedy=True)
    assert trajectory.baseline is not None and torch.equal(trajectory.baseline, other.score.repeat_interleave(2))
