"""Which metrics an evaluation reports, so that any of them can be watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqrl.run.config import EarlyStop
from seqrl.run.loop import fit
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.evaluation import METRICS, EvaluationConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.reward import RewardConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.trainers import Supervised


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))

    def task(**settings) -> CaptioningTask:
        data = DataConfig(image_size=32, scenes=ScenesConfig(num_train=8, num_dev=4, num_test=0))
        return CaptioningConfig(data=data, policy=PolicyConfig(dim=16, num_layers=1, max_tokens=6), images_per_batch=2, **settings).build(0)

    return task


def reported(task: CaptioningTask) -> list[str]:
    return list(task.evaluate(task.build_policy()))


def test_the_rewards_metrics_and_those_of_the_setting_are_reported(make) -> None:
    assert reported(make())[: len(METRICS) + 1] == [*METRICS, "length"]
    task = make(reward=RewardConfig(metrics={"bleu4_smoothed": 1.0, "cider_d": 0.5}), evaluation=EvaluationConfig(metrics=["bleu4"]))
    assert reported(task)[: len(METRICS) + 2] == [*METRICS, "bleu4_smoothed", "length"]


@pytest.mark.parametrize("metric", ["bleu4_smoothed", "beam/bleu4_smoothed"])
def test_a_metric_that_is_watched_is_reported(metric: str, make) -> None:
    task = make(evaluation=EvaluationConfig(beam_size=2))
    result = fit(Supervised(task.build_policy()), task, steps=1, eval_every=1, early_stop=EarlyStop(metric))
    assert result.best_value == max(result.best_value, result.evaluation[metric])


def test_unknown_metrics_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no metric 'rouge'; did you mean 'rouge_l'"):
        EvaluationConfig(metrics=["rouge"])
