"""The detectors beside a captioner: what they are taught with, and that parts of a batch teach them what the whole does."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl import PPOConfig, ReinforceConfig, SelfCriticalConfig, SupervisedConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.tasks.captioning.data import DataConfig, load_data
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.policies.captioner import WordDetector
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trajectory import Trajectory, concatenate

DRAWN = DataConfig(image_size=16, scenes=ScenesConfig(num_train=6, num_dev=2, num_test=0))
SIZES = PolicyConfig(dim=16, num_layers=1, num_heads=2, max_tokens=8, dropout=0.0, word_detection=0.3, figure_detection=0.5)


@cache
def data() -> Any:
    return load_data(DRAWN)


@pytest.fixture
def task(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> CaptioningTask:
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    config = CaptioningConfig(data=DRAWN, policy=SIZES, images_per_batch=4, captions_per_image=2)
    return CaptioningTask(config, data())


def captions(actions: list[list[int]], imitate: list[list[int]], mask: list[list[int]]) -> Trajectory:
    action, zeros = torch.tensor(actions), torch.zeros(len(actions), len(actions[0]))
    off = torch.zeros_like(zeros, dtype=torch.bool)
    return Trajectory(
        action, zeros, torch.zeros(len(actions), len(actions[0]) + 1), zeros, off, off,
        mask=torch.tensor(mask).bool(), imitate=torch.tensor(imitate).bool(),
    )  # fmt: skip


def test_only_whole_demonstrations_say_what_is_there() -> None:
    # Tokens 0 to 2 are no words. Rows: a demonstration, a sample, a forced beginning with its continuation, a short demonstration.
    actions = [[4, 5, 4, 2], [3, 3, 6, 2], [4, 6, 5, 2], [6, 2, 0, 0]]
    imitate = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    mask = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    torch.manual_seed(0)
    detector, rows = WordDetector(5, 7, ignored=(0, 1, 2)), captions(actions, imitate, mask)
    which, words = detector.demonstrated(rows)
    assert which.tolist() == [0, 3] and [row.nonzero().flatten().tolist() for row in words] == [[4, 5], [6]]
    # Word by word: p_w = 1 - prod_r (1 - p_rw), the cross-entropy summed and divided by the three words that are there.
    nn.init.normal_(detector.project.weight)
    nn.init.normal_(detector.project.bias)
    regions, image, total = torch.randn(2, 3, 5), torch.tensor([1, 0]), 0.0
    for row, there in ((1, {4, 5}), (0, {6})):
        p = detector.project(regions[row]).sigmoid()
        for word in range(7):
            seen = 1 - math.prod(1 - float(p[region, word].detach()) for region in range(3))
            total -= math.log(seen) if word in there else math.log(1 - seen)
    assert detector(regions, words, image).item() == pytest.approx(total / 3, rel=1e-5)
    nothing = captions(actions, [[0] * 4] * 4, [[1] * 4] * 4)
    assert float(detector(regions, detector.demonstrated(nothing)[1], image[:0])) == 0.0
    assert detector.demonstrated(dataclasses.replace(nothing, imitate=None))[0].tolist() == []


def test_counts_of_parts_add_up_and_so_do_their_losses(task: CaptioningTask) -> None:
    policy: Any = task.build_policy()
    shown = task.demonstrations()
    counts = policy.aux_count(shown)
    parts = [shown.select_rows(slice(start, start + 3)) for start in range(0, 8, 3)]
    assert counts.tolist() == sum(policy.aux_count(part) for part in parts).tolist() and (counts > 4).all()  # type: ignore[union-attr]
    whole = policy(shown).aux_loss
    torch.testing.assert_close(sum(policy(part).aux_loss * policy.aux_count(part) for part in parts) / counts, whole)


def gradient_of_first_step(config: Any, task: CaptioningTask, rows: Trajectory) -> tuple[Tensor, dict[str, float]]:
    """AdamW's average after one step is a tenth of its gradient."""
    torch.manual_seed(0)
    trainer = config.build(task.build_policy(), seed=0, num_updates=2)
    stats = trainer.update(rows)
    return torch.cat([moment["exp_avg"].flatten() for moment in trainer.optimiser.state_dict()["adamw"]["state"].values()]), stats


PLAIN = OptimiserConfig(max_grad_norm=0.0)
TRAINERS: dict[str, Any] = {
    "supervised": SupervisedConfig(optimiser=PLAIN),
    "self_critical": SelfCriticalConfig(optimiser=PLAIN, num_samples=2, imitation=ImitationConfig(weight=0.3)),
    "reinforce": ReinforceConfig(optimiser=PLAIN, num_samples=2, imitation=ImitationConfig(weight=0.3)),
    "forced": ReinforceConfig(optimiser=PLAIN, num_samples=2, imitation=ImitationConfig(weight=0.3, forced_steps=3)),
    "ppo": PPOConfig(
        optimiser=PLAIN, advantage="leave_one_out", num_samples=2, epochs=1, minibatches=1, imitation=ImitationConfig(weight=0.3)
    ),
    "cem": CrossEntropyConfig(optimiser=PLAIN, num_samples=4, percentile=50, gradient_steps=1),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_accumulation_changes_no_gradient(name: str, task: CaptioningTask) -> None:
    config = TRAINERS[name]
    torch.manual_seed(0)
    rows = config.build(task.build_policy(), seed=0, num_updates=2).collect(task)
    parts = dataclasses.replace(config, optimiser=dataclasses.replace(PLAIN, accumulation=4))
    (whole, stats), (summed, summed_stats) = (gradient_of_first_step(each, task, rows) for each in (config, parts))
    torch.testing.assert_close(summed, whole, rtol=0, atol=1e-6 * float(whole.abs().max()))
    # Prefixes and elites are no captions that were given.
    taught = name not in ("forced", "cem")
    assert ("loss/auxiliary" in stats and stats["loss/auxiliary"] > 0) == taught
    if taught:
        assert summed_stats["loss/auxiliary"] == pytest.approx(stats["loss/auxiliary"], rel=1e-4)


def test_minibatches_teach_what_the_whole_does(task: CaptioningTask) -> None:
    """Eight samples and four captions in four parts, one of which may well be without any: without moving, the gradients average."""
    still = OptimiserConfig(learning_rate=1e-12, beta1=0.0, max_grad_norm=0.0)
    config = dataclasses.replace(TRAINERS["ppo"], optimiser=still, normalise_advantage=False)
    rows = config.build(task.build_policy(), seed=0, num_updates=2).collect(task)
    found = [gradient_of_first_step(dataclasses.replace(config, minibatches=number), task, rows)[1] for number in (1, 4)]
    assert found[1]["loss/auxiliary"] == pytest.approx(found[0]["loss/auxiliary"], rel=1e-5)


def test_samples_beside_demonstrations_change_nothing(task: CaptioningTask) -> None:
    policy: Any = task.build_policy()
    group = torch.arange(3)
    shown = task.demonstrations(group)
    samples = shown.replace(mask=shown.imitate, imitate=None, action=shown.action.flip(0))
    alone, beside = (policy(rows).aux_loss for rows in (shown, concatenate([samples, shown])))
    torch.testing.assert_close(beside, alone)
    assert not any(policy.aux_count(samples).tolist())


def test_counts_have_one_shape_whatever_the_rows_hold(task: CaptioningTask) -> None:
    """Processes average them, and one may have no captions to learn from, or no figures."""
    policy: Any = task.build_policy()
    shown = task.demonstrations()
    context: Any = shown.context
    blind = {name: leaf for name, leaf in context.items() if name != "figures"}
    assert "figures" in context and (policy.aux_count(shown) > 0).tolist() == [True, True]
    for rows, teach in (
        (shown.replace(mask=shown.imitate, imitate=None), [False, True]),
        (shown.replace(context=blind), [True, False]),
        (shown.replace(mask=shown.imitate, imitate=None, context=blind), [False, False]),
    ):
        assert (policy.aux_count(rows) > 0).tolist() == teach
        loss = policy(rows).aux_loss
        assert (None if loss is None else (loss > 0).tolist()) == (teach if any(teach) else None)
