"""Evaluations that several processes share: every item once, and the metrics of one process."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "attention"))

from small import small_task

from seqrl.tasks.captioning import CaptioningConfig
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.evaluation import EvaluationConfig as CaptionEvaluation
from seqrl.tasks.captioning.policies import PolicyConfig as CaptionPolicy
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.text import TextTask
from seqrl.tasks.text.evaluation import EvaluationConfig
from seqrl.tasks.text.policy import PolicyConfig
from seqrl.tasks.text.task import TextConfig
from seqrl.tasks.writing.decoded import batches_of, in_order


def text() -> Any:
    words = "a b c d e f g".split()
    prompts = [f"{one} {other}" for one in words for other in words]
    policy = PolicyConfig(dim=8, num_layers=1, num_heads=2, max_tokens=6, dropout=0)
    config = TextConfig(policy=policy, evaluation=EvaluationConfig(beam_size=2, prompts_per_batch=8))
    return TextTask(prompts, [f"{prompt} {prompt}" for prompt in prompts], config=config)


def captions() -> Any:
    scenes = ScenesConfig(num_train=8, num_dev=11, num_test=4)
    policy = CaptionPolicy(type="att_lstm", encoder="patches", dim=8, num_heads=2, max_tokens=6, dropout=0)
    evaluation = CaptionEvaluation(images_per_batch=4, beam_size=2)
    return CaptioningConfig(data=DataConfig(source="scenes", image_size=32, scenes=scenes), policy=policy, evaluation=evaluation).build(0)


@pytest.mark.parametrize("make", [text, captions, small_task])
def test_metrics_are_those_of_one_process(make: Any) -> None:
    torch.manual_seed(0)
    task = make()
    policy = task.build_policy()
    with torch.no_grad():
        for parameter in policy.parameters():  # so that items are told apart
            parameter.mul_(4.0)
    split = "train" if make is text else "dev"
    alone = task.evaluate(policy, split=split)
    for parts in (2, 3, 50):
        shares = [pickle.loads(pickle.dumps(task.evaluation_share(policy, split=split, part=part, parts=parts))) for part in range(parts)]
        together = task.evaluation_metrics(shares, split=split)
        assert together == pytest.approx(alone, rel=1e-6), parts
        assert list(together) == list(alone)


def test_every_item_once_and_in_order() -> None:
    for count, size, parts in ((10, 3, 2), (10, 3, 3), (7, 100, 2), (1, 4, 3), (12, 4, 3)):
        shares = [[list(range(count))[rows] for rows in batches_of(count, size, part, parts)] for part in range(parts)]
        assert in_order(shares) == list(range(count))
        assert all(len(batch) <= size for share in shares for batch in share)
    assert batches_of(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert batches_of(8, 100, 1, 2) == [slice(4, 8)]  # one process would have had nothing to do
