"""Which metrics an evaluation reports, so that any of them can be watched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seqrl import SelfCritical, Supervised
from seqrl.metrics import by_name
from seqrl.run.config import EarlyStop
from seqrl.run.loop import fit, watch
from seqrl.tasks.captioning.data_config import DataConfig
from seqrl.tasks.captioning.evaluation import METRICS, EvaluationConfig
from seqrl.tasks.captioning.policies import PolicyConfig
from seqrl.tasks.captioning.scenes import ScenesConfig
from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
from seqrl.tasks.writing.reward import RewardConfig


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


def test_a_gallery_shows_captions_before_and_after(make, tmp_path: Path) -> None:
    task = make()
    files = task.sample(task.build_policy(), tmp_path, count=1, before=task.build_policy())
    (page,) = [path.read_text() for path in files if path.suffix == ".html"]
    assert 0 < page.index("before") < page.index("after")


@pytest.mark.parametrize("metric", ["bleu4_smoothed", "beam/bleu4_smoothed"])
def test_a_metric_that_is_watched_is_reported(metric: str, make) -> None:
    task = make(evaluation=EvaluationConfig(beam_size=2))
    result = fit(Supervised(task.build_policy()), task, num_updates=1, eval_every=1, early_stop=EarlyStop(metric))
    assert result.best_value == max(result.best_value, result.evaluation[metric])


@pytest.mark.parametrize("metric", ["wer", "beam/wer"])
def test_of_what_less_is_better_the_least_is_kept(metric: str, make) -> None:
    task = make(evaluation=EvaluationConfig(beam_size=2))
    with pytest.raises(ValueError, match=f"early_stop.mode: less is better for {metric}, .*set early_stop.mode=min"):
        watch(task, EarlyStop(metric))
    watch(task, EarlyStop(metric, mode="min"))
    assert metric in task.evaluation_signatures("dev", version="1")
    watch(task, EarlyStop("bleu4", mode="min"))  # whoever asks for the worst gets it


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_that_no_beam_can_search_at_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature: expected a positive, finite number or null"):
        EvaluationConfig(beam_size=2, temperature=temperature)


def test_unknown_metrics_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no metric 'rouge_ll'; did you mean 'rouge_l'"):
        EvaluationConfig(metrics=["rouge_ll"])


OWN = """
calls = []

def words(captions, references):
    calls.append(len(captions))
    assert all(isinstance(text, str) for texts in references for text in texts)
    return [float(len(caption.split())) for caption in captions]

def length(captions, references):
    return words(captions, references)

def reward_length(captions, references):
    return words(captions, references)

def templates(captions, references):
    return [0.25] * len(captions)

facts_right = shapes_right = cider_d = templates

def nothing(captions, references):
    return [0.5] * len(captions)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_functions_of_ones_own_are_reported_and_watched(make, own: str) -> None:
    evaluation = EvaluationConfig(metrics=[f"{own}:words", f"{own}:nothing"], beam_size=2, images_per_batch=3)
    task = make(evaluation=evaluation)
    result = fit(Supervised(task.build_policy()), task, num_updates=1, eval_every=1, early_stop=EarlyStop("words"))
    values = result.evaluation
    assert values["words"] == values["length"] and values["beam/words"] == values["beam/length"] and values["nothing"] == 0.5
    assert result.best_value == max(result.best_value, values["words"])
    assert set(sys.modules[own].calls) == {3, 1}  # 4 images, 3 a batch
    assert f"function:{own}:words" in task.evaluation_signatures("dev", version="1")["words"]


def test_the_rewarded_function_is_reported(make, own: str) -> None:
    for workers in (0, 1):
        task = make(reward=RewardConfig(function=f"{own}:words", workers=workers), evaluation=EvaluationConfig(metrics=[f"{own}:words"]))
        result = fit(SelfCritical(task.build_policy()), task, num_updates=1, eval_every=1, early_stop=EarlyStop("words"))
        assert result.evaluation["words"] == result.evaluation["length"]
    # One whose name is taken has been rewarded before such metrics were reported.
    task = make(reward=RewardConfig(function=f"{own}:length"))
    values = task.evaluate(task.build_policy())
    assert values["reward_length"] == values["length"]


def test_a_reward_that_is_an_object_is_reported(make) -> None:
    task = make()
    mine = CaptioningTask(task.config, task.data, reward=lambda captions, references: [1.5] * len(captions))
    assert mine.evaluate(mine.build_policy())["reward"] == 1.5


def test_names_of_functions_are_refused_where_they_stand_for_two_metrics(make, own: str) -> None:
    for names in ([f"{own}:length"], [f"{own}:cider_d"], [f"{own}:words", "other:words"]):
        with pytest.raises(ValueError, match="names two metrics; give the function another name"):
            EvaluationConfig(metrics=names)
    for name in ("facts_right", "shapes_right", "templates"):  # of drawn scenes, and of these alone
        with pytest.raises(
            ValueError, match=f"evaluation.metrics: '{own}:{name}' is called as another metric of evaluations, {name}; give"
        ):
            make(evaluation=EvaluationConfig(metrics=[f"{own}:{name}"]))
    task = make(reward=RewardConfig(function=f"{own}:templates"))
    values = task.evaluate(task.build_policy())
    assert values["reward_templates"] == 0.25 and values["templates"] >= 1.0
    with pytest.raises(ValueError, match=f"evaluation.metrics: 'reward_length' names the metric of the reward {own}:length, too"):
        make(reward=RewardConfig(function=f"{own}:length"), evaluation=EvaluationConfig(metrics=[f"{own}:reward_length"]))
    with pytest.raises(ValueError, match=r"evaluation.metrics: cannot import 'absent:words'"):
        make(evaluation=EvaluationConfig(metrics=["absent:words"]))
    with pytest.raises(ValueError, match="metrics: sacrebleu scores strings only"):
        EvaluationConfig(metrics=["sacrebleu"])


def test_a_metric_of_words_is_rewarded_and_reported(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "metrics")
    monkeypatch.setattr(by_name, "HOMES", {**by_name.HOMES, "shared": ("text_metric", "SharedWords", {})})
    monkeypatch.setattr(by_name, "METRICS", tuple(by_name.HOMES))
    task = make(reward=RewardConfig(metrics={"shared": 1.0, "cider_d": 0.5}))
    result = fit(SelfCritical(task.build_policy()), task, num_updates=2, eval_every=1, early_stop=EarlyStop("shared"))
    assert 0.0 <= result.evaluation["shared"] <= 1.0 and "cider_d" in result.evaluation
    with pytest.raises(
        ValueError, match="metrics.shared: expected a weight below 0, since less is better there, got 1.0; write {shared: -1.0}"
    ):
        monkeypatch.setattr(sys.modules["text_metric"].SharedWords, "higher_is_better", False, raising=False)
        RewardConfig(metrics={"shared": 1.0})
