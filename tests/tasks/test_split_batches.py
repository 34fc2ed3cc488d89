"""Several processes that divide a batch write the rows that one would, word for word."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqrl.batch_share import BatchShare, SharedGenerator, share_batches
from seqrl.trainers.minibatches import Minibatches

sys.path.insert(0, str(Path(__file__).resolve().parent))

from test_evaluation_shares import captions, small_task, text

from seqrl.tasks.writing.reward import RewardConfig
from seqrl.trajectory import Trajectory


def tasks_of(make: Any, parts: int) -> list[tuple[Any, torch.Generator]]:
    """Make a task and a generator for one process, and for each of several."""
    made: list[tuple[Any, torch.Generator]] = []
    for part in range(-1, parts):
        task = make()
        task.config.images_per_batch = task.config.prompts_per_batch = 5
        task.config.captions_per_image, task.config.references_per_prompt, task.config.flip = 2, 1, make is captions
        generator = torch.Generator().manual_seed(3)
        if part >= 0:
            trainer = SimpleNamespace(can_split_batches=True, optimiser=SimpleNamespace(device=generator.device))
            generator = share_batches(trainer, task, part, parts, generator.get_state())
        made.append((task, generator))
    return made


def rows(trajectory: Trajectory) -> list[Any]:
    """Give what a row is, without the padding behind it."""
    found = []
    for row in range(trajectory.batch_size):
        counted = trajectory.counted[row]
        assert trajectory.group is not None
        columns = (trajectory.action, trajectory.logp, trajectory.reward)
        found.append((int(trajectory.group[row]), *([round(float(x), 4) for x in column[row][counted]] for column in columns)))
    return found


@pytest.mark.parametrize("make", [text, captions])
@pytest.mark.parametrize("parts", [2, 3])
def test_rows_and_rewards_are_those_of_one_process(make: Any, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    (alone, generator), *several = tasks_of(make, parts)
    policy = alone.build_policy().eval()
    for forced in (0, 2):
        expected = alone.rollout(policy, num_samples=3, greedy_baseline=True, num_forced_steps=forced, generator=generator)
        found = [task.rollout(policy, num_samples=3, greedy_baseline=True, num_forced_steps=forced, generator=own) for task, own in several]
        assert [row for part in found for row in rows(part)] == rows(expected)
        assert torch.equal(torch.cat([part.baseline for part in found]), expected.baseline)
        shown = alone.demonstrations(expected.group.unique())
        theirs = [task.demonstrations(part.group.unique()) for (task, _), part in zip(several, found, strict=True)]
        assert sorted(row for part in theirs for row in rows(part)) == sorted(rows(shown))
        drawn = [own._num_drawn for _, own in several]
        monkeypatch.setattr("seqrl.batch_share.gather", lambda tensor, where, drawn=drawn: [torch.tensor([number]) for number in drawn])
        for _, own in several:
            own.catch_up()
            assert torch.equal(own.get_state(), generator.get_state())
    shown, theirs = alone.demonstrations(), [task.demonstrations() for task, _ in several]
    assert [row for part in theirs for row in rows(part)] == rows(shown)
    leaf = next(iter(shown.context["image"].values())) if make is text else shown.context["image"]
    pixels = [next(iter(part.context["image"].values())) if make is text else part.context["image"] for part in theirs]
    assert torch.equal(torch.cat(pixels), leaf)


def test_minibatches_hold_the_rows_of_one_process() -> None:
    share = [BatchShare(part, 2) for part in (0, 1)]
    for each in share:
        each.begin(torch.arange(5))
    generators = [SharedGenerator(torch.device("cpu"), each) for each in share]
    for generator in generators:
        generator.manual_seed(9)
    zeros, number = torch.zeros(15, 1), torch.arange(15.0).unsqueeze(1)
    off = zeros.bool()
    batch = Trajectory(action=zeros.long(), logp=number, value=torch.zeros(15, 2), reward=zeros, terminated=off, truncated=off, mask=~off)
    alone = list(Minibatches(batch, 4, "rows", torch.Generator().manual_seed(9)).epoch(target=zeros))
    halves = [batch.select_rows(torch.arange(6)), batch.select_rows(torch.arange(6, 15))]
    theirs = [
        list(Minibatches(half, 4, "rows", generator).epoch(target=half.logp)) for half, generator in zip(halves, generators, strict=True)
    ]
    for part, (whole, *_) in enumerate(alone):
        assert sorted(torch.cat([each[part][0].logp for each in theirs]).flatten().tolist()) == sorted(whole.logp.flatten().tolist())
    with pytest.raises(ValueError, match="set trainer.minibatches=1, or trainer.minibatch_unit=rows"):
        list(Minibatches(halves[0], 4, "steps", generators[0]).epoch(target=halves[0].logp))


def test_what_cannot_be_divided_is_refused() -> None:
    optimiser = SimpleNamespace(device=torch.device("cpu"), generator=torch.Generator())
    trainer, state = SimpleNamespace(can_split_batches=True, optimiser=optimiser), optimiser.generator.get_state()
    with pytest.raises(ValueError, match="AttentionTask cannot divide a batch"):
        share_batches(trainer, small_task(), 0, 2, state)
    with pytest.raises(ValueError, match="SimpleNamespace cannot divide a batch; expected supervised, self_critical"):
        share_batches(SimpleNamespace(optimiser=optimiser), text(), 0, 2, state)
    with pytest.raises(ValueError, match="expected at most 5 processes, as many as items of a batch, got 6"):
        BatchShare(0, 6).begin(torch.arange(5))
    task = text()
    generator = share_batches(trainer, task, 0, 2, state)
    with pytest.raises(ValueError, match="set trainer.scheduled_sampling=0"):
        generator.uniform((2, 3))
    task.config.reward = RewardConfig(metrics={"bleu4_smoothed": 1.0}, ahead=1)
    later = type(task)(task.train.prompts, task.train.references, config=task.config)
    with pytest.raises(ValueError, match="expected task.reward.ahead=0"):
        share_batches(trainer, later, 0, 2, state)
    task.config.draw_by_references = True
    with pytest.raises(ValueError, match="expected task.draw_by_references=false"):
        task.share_batches(generator.share)
