"""Rewards in TRL's form: what they are told, what they may answer, and what a row without a score does to the others."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.optimiser import OptimiserConfig
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.tasks.text import PolicyConfig, TextConfig, TextTask
from seqrl.tasks.text.pair_files import read_json_pairs
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.tasks.writing.reward_workers import RewardWorkers
from seqrl.tasks.writing.trl_form import Notes, TrainerState, has_trl_form
from seqrl.trainers.ppo import PPOConfig
from seqrl.trainers.reinforce import ReinforceConfig
from seqrl.trainers.self_critical import SelfCriticalConfig

PROMPTS = ["one two", "two three four", "three", "four one"]
REFERENCES = [["two one", "two then one"], ["four three two"], ["three"], ["one four"]]
CONFIG = TextConfig(policy=PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=6), prompts_per_batch=3)
OPTIMISER = OptimiserConfig(precision="fp32", learning_rate=0.01)


def task_of(reward: Any, **settings: Any) -> TextTask:
    return TextTask(**{"prompts": PROMPTS, "references": REFERENCES, "reward": reward, "config": CONFIG} | settings)


def rolled(reward: Any, num_samples: int = 2, **settings: Any) -> tuple[TextTask, Any]:
    task = task_of(reward, **settings)
    torch.manual_seed(0)
    policy = task.build_policy().eval()
    return task, task.rollout(policy, num_samples=num_samples, generator=torch.Generator().manual_seed(0))


def words(completions: Any, **kwargs: Any) -> list[float]:
    return [float(len(text.split())) for text in completions]


async def waits(completions: Any, **kwargs: Any) -> list[float]:
    return [1.0] * len(completions)


class Judge:
    async def __call__(self, completions: Any, **kwargs: Any) -> list[float]:
        return [1.0] * len(completions)


@pytest.mark.parametrize(
    ("function", "by_keyword"),
    [
        (words, True),
        (waits, True),
        (Judge(), True),
        (functools.partial(waits, temperature=1.0), True),
        (lambda **kwargs: [], True),
        (lambda *, completions, references: [], True),
        (lambda prompts, **kwargs: [], True),
        (lambda completions, answer, **kwargs: [], True),
        (lambda prompts, completions, completion_ids, trainer_state, log_extra, log_metric: [], True),
        (lambda replies, references: [], False),
        (lambda completions, references: [], False),
        (lambda prompts, completions, references: [], False),
        (lambda replies, references, **settings: [], False),
        (lambda *args, **kwargs: [], False),
        (len, False),
    ],
)
def test_the_form_is_told_by_the_arguments(function: Callable[..., Any], by_keyword: bool) -> None:
    assert has_trl_form(function) is by_keyword


def test_all_comes_by_keyword_and_columns_with_it() -> None:
    seen: list[dict[str, Any]] = []

    def reward(**kwargs: Any) -> list[float]:
        seen.append(kwargs)
        return [float(number) for number in kwargs["number"]]

    task, rows = rolled(reward, columns={"number": [10, 11, 12, 13], "prompt": ["x"] * 4})
    (given,) = seen
    assert set(given) == {
        *("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"),
        *("references", "number"),
    }
    items = rows.group.tolist()
    assert given["prompts"] == [PROMPTS[item] for item in items] and given["references"] == [REFERENCES[item] for item in items]
    assert rows.score.tolist() == [10.0 + item for item in items] and given["trainer_state"].global_step == 0
    for ids, text, action, mask in zip(given["completion_ids"], given["completions"], rows.action, rows.mask, strict=True):
        assert ids == action[mask].tolist() and text == " ".join(task.vocabulary.decode(ids))
    with pytest.raises(AttributeError, match=r"global_step alone here, no 'max_steps'"):
        _ = given["trainer_state"].max_steps


def test_completions_are_messages_where_prompts_are() -> None:
    conversations = [[{"role": "system", "content": "answer"}, {"role": "user", "content": prompt}] for prompt in PROMPTS]
    seen: list[Any] = []

    def reward(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
        seen.extend(zip(prompts, completions, strict=True))
        return [float(len(each[0]["content"].split())) for each in completions]

    task, rows = rolled(reward, prompts=conversations)
    assert task.train.prompts[0] == "answer | one two" and all(prompt in conversations for prompt, _ in seen)
    assert {(len(each), each[0]["role"]) for _, each in seen} == {(1, "assistant")}
    assert rows.score.tolist() == [float(len(each[0]["content"].split())) for _, each in seen]


def test_json_lines_bring_columns_and_messages(tmp_path: Path) -> None:
    message = [{"role": "user", "content": "hi"}]
    lines = [{"prompt": message, "references": ["a"], "level": 1}, {"prompt": message, "reference": "b", "hint": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pairs = read_json_pairs(tmp_path / "a.jsonl")
    assert pairs.prompts == ["hi", "hi"] and pairs.messages == [message, message]
    assert pairs.columns == {"level": [1, None], "hint": [None, None]} and pairs.part(slice(1, None)).columns["level"] == [None]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, [lines[0], {"prompt": "hi", "reference": "b"}])))
    with pytest.raises(ValueError, match=r"b.jsonl: prompts: expected texts or lists of messages, got 1 lists of messages among 2"):
        read_json_pairs(tmp_path / "b.jsonl")


def test_async_functions_are_awaited_together() -> None:
    met = []

    def meeting(mine: int) -> Any:
        async def meet(completions: Any, **kwargs: Any) -> list[float]:
            met.append(mine)
            for _ in range(1000):
                if len(met) == 2:
                    return [float(mine)] * len(completions)
                await asyncio.sleep(0.001)
            raise AssertionError("the other one was not called meanwhile")

        meet.__qualname__ = f"meet{mine}"
        return meet

    _, rows = rolled({meeting(1): 1.0, meeting(10): 2.0, words: 0.0})
    assert rows.score.tolist() == [21.0] * 6


def test_functions_can_be_awaited_where_a_loop_runs_already() -> None:
    async def notebook() -> Any:
        return rolled(waits)[1].score.tolist()

    assert asyncio.run(notebook()) == [1.0] * 6


def test_none_takes_a_function_out_of_a_row_alone() -> None:
    def some(completions: Any, **kwargs: Any) -> list[float | None]:
        return [None if row % 2 else 4.0 for row in range(len(completions))]

    def own_form(replies: Any, references: Any) -> list[float]:
        return [1.0] * len(replies)

    task, rows = rolled({some: 0.5, own_form: 3.0})
    assert rows.score.tolist() == [5.0, 3.0] * 3 and rows.mask.any(dim=1).all()
    metrics = task.pop_metrics()
    assert metrics["reward/mean_some"] == 4.0 and metrics["reward/mean_own_form"] == 1.0 and metrics["reward/left_out"] == 0.0
    assert task.pop_metrics() == {}


def none_for(*left_out: int) -> Callable[..., list[float | None]]:
    def reward(completions: Any, completion_ids: Any, **kwargs: Any) -> list[float | None]:
        scores = [float(sum(ids) % 7) for ids in completion_ids]
        return [None if row in left_out and len(scores) > 3 else score for row, score in enumerate(scores)]

    return reward


TRAINERS = [
    *(ReinforceConfig(baseline=name, num_samples=4, optimiser=OPTIMISER) for name in ("none", "moving_average", "leave_one_out")),
    *(ReinforceConfig(baseline=name, num_samples=4, optimiser=OPTIMISER, reward_to_go=False) for name in ("leave_one_out", "group_norm")),
    *(ReinforceConfig(baseline=name, num_samples=4, optimiser=OPTIMISER) for name in ("greedy", "minimum_risk")),
    *(SelfCriticalConfig(baseline=name, num_samples=4, optimiser=OPTIMISER) for name in ("greedy", "leave_one_out")),
    *(PPOConfig(advantage=name, num_samples=4, epochs=1, minibatches=1, optimiser=OPTIMISER) for name in ("group_norm", "group_mean")),
]


@pytest.mark.parametrize(
    "config",
    TRAINERS,
    ids=lambda config: f"{type(config).__name__}-{getattr(config, 'baseline', '')}{config.__dict__.get('advantage', '')}",
)
def test_a_row_without_a_score_teaches_nothing(config: Any) -> None:
    """Training is the same as with that row taken out."""
    task = task_of(none_for(1, 6, 7), config=CONFIG)
    torch.manual_seed(1)
    start = task.build_policy()
    after = []
    for take_out in (False, True):
        policy = copy.deepcopy(start)
        trainer = config.build(policy, seed=3, num_updates=4)
        trajectory = trainer.collect(task_of(none_for(1, 6, 7)))
        kept = trajectory.mask.any(dim=1)
        assert (~kept).nonzero().flatten().tolist() == [1, 6, 7] and trajectory.score[~kept].abs().sum() == 0
        trainer.update(trajectory.select_rows(kept) if take_out else trajectory)
        after.append(torch.cat([weight.detach().flatten() for weight in policy.parameters()]))
    before = torch.cat([weight.detach().flatten() for weight in start.parameters()])
    assert (after[0] - before).abs().max() > 1e-3
    torch.testing.assert_close(after[0], after[1], atol=2e-5, rtol=0)


def test_the_last_row_of_an_item_has_nothing_to_be_compared_with() -> None:
    _, rows = rolled(none_for(0), num_samples=2)
    assert rows.mask.any(dim=1).tolist() == [False, False, True, True, True, True]


def test_what_is_left_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    task, _ = rolled(none_for(1, 2), num_samples=3)
    (record,) = caplog.records
    assert "gave None for 2 of 9 texts" in record.getMessage() and "the prompt" in record.getMessage()
    task.rollout(task.build_policy().eval(), num_samples=3)
    assert len(caplog.records) == 1 and task.pop_metrics()["reward/left_out"] == pytest.approx(2 / 9)


def test_a_greedy_row_without_a_score_leaves_its_item_out() -> None:
    def reward(completions: Any, **kwargs: Any) -> list[float | None]:
        return [None, 1.0, 1.0] if len(completions) == 3 else [2.0] * len(completions)

    task = task_of(reward)
    rows = task.rollout(task.build_policy().eval(), num_samples=2, greedy_baseline=True)
    assert rows.mask.any(dim=1).tolist() == [False, False, True, True, True, True] and rows.baseline.isfinite().all()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            lambda n: [None] * n,
            "gave None for so many of the 6 rows that nothing is left to learn from; expected numbers for two rows about one",
        ),
        (lambda n: [1.0] * (n - 1), "gave 5 answers for 6 texts; expected one number, or None, each"),
        (lambda n: "good", "gave 'good'; expected a list of 6 numbers, or None for a row that does not count"),
        (lambda n: 1.0, r"gave '1.0'; expected a list of 6 numbers"),
        (lambda n: {"a": 1}, "expected a list of 6 numbers"),
        (lambda n: None, "gave 'None'; expected a list"),
        (lambda n: ["0.5"] * n, "gave '0.5' for row 0; expected a number or None"),
        (lambda n: [1.0, float("nan")] * (n // 2), "gave NaN for row 1; expected a number, or None for a row that does not count"),
        (lambda n: [1.0, float("inf")] * (n // 2), "gave inf for sample 1.*expected a finite number"),
        (lambda n: [[1.0]] * n, r"gave '\[1.0\]' for row 0"),
    ],
)
def test_wrong_answers_are_told(answer: Any, problem: str) -> None:
    def reward(completions: Any, **kwargs: Any) -> Any:
        return answer(len(completions))

    with pytest.raises(ValueError, match=problem):
        rolled(reward)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"reward": lambda completions, answer, **kwargs: []},
            r"asks for 'answer', and the data have no such column; they have references, beside",
        ),
        ({"reward": words, "columns": {"prompts": [1] * 4}}, "the data have a column 'prompts'.*rename it"),
        ({"reward": words, "columns": {"level": [1] * 3}}, "column 'level': expected a value for each of 4 prompts, got 3"),
        ({"reward": {words: float("nan")}}, "expected a finite number as the weight of .*words, got nan"),
        ({"reward": [words, "bleu4"]}, "expected the name of a metric.*a list of functions or weights by function"),
        ({"reward": [lambda **kwargs: [], lambda **kwargs: []]}, "two functions are called 'reward'"),
        ({"reward": words, "prompts": [[{"role": "user", "content": "hi"}], "a", "b", "c"]}, "got 1 lists of messages among 4"),
    ],
)
def test_wrong_questions_are_told(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        rolled(**given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"functions": {"bleu4": 1.0}},
            r"functions: expected module:name, got 'bleu4'; metrics are weighed in reward.metrics, \{bleu4: 1.0\}",
        ),
        ({"functions": {"a:f": 1.0}, "function": "a:f"}, "functions: expected none beside function='a:f'"),
        ({"functions": {"a:f": float("inf")}}, "functions.a:f: expected a finite weight"),
    ],
)
def test_wrong_settings_are_told(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RewardConfig(**given)


FUNCTIONS = """
seen = []

def level(completions, level, log_metric, log_extra, **kwargs):
    log_metric("level", sum(level) / len(level))
    log_extra("level", level)
    return [None if each is None else float(each) for each in level]

async def step(prompts, completion_ids, trainer_state, **kwargs):
    seen.append((len(prompts), trainer_state.global_step))
    return [float(len(ids)) + trainer_state.global_step for ids in completion_ids]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"trl_form_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return name


def test_workers_give_the_same(module: str) -> None:
    names = [f"{module}:level", f"{module}:step"]
    ids = [[4, 2], [5, 5, 2], [2], [4, 4, 4, 2], [2]]
    asked = Asked(["a", "b c", "", "d d d", ""], [["x"]] * 5, ["p"] * 5, None, ids, {"level": [1, 2, 3, 4, None]})
    notes = Notes()
    with pytest.raises(Exception, match="raised TypeError"):  # sum of None
        RewardWorkers(names, 2, 60.0).score(asked, TrainerState(7), notes, [0, 1])
    asked = replace(asked, columns={"level": [1, 2, 3, 4, 5]})
    scores, counts = RewardWorkers(names, 2, 60.0).score(asked, TrainerState(7), notes, [0, 1])
    assert scores.tolist() == [[1, 2, 3, 4, 5], [9, 10, 8, 11, 8]] and counts.all()
    assert notes.metrics == {"level": [1.5, 4.0]} and notes.extra == {"level": [1, 2, 3, 4, 5]}
    with pytest.raises(ValueError, match="columns go to other processes as JSON, and .*set workers=0"):
        RewardWorkers(names, 1, 60.0).score(replace(asked, columns={"level": [object()] * 5}), TrainerState(), notes)


def test_a_run_rewards_functions_and_logs_what_they_log(module: str, tmp_path: Path) -> None:
    lines = [
        {"prompt": prompt, "references": texts, "level": row} for row, (prompt, texts) in enumerate(zip(PROMPTS, REFERENCES, strict=True))
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines * 3)))
    (tmp_path / "run.yaml").write_text(f"""
name: run
num_updates: 3
eval_every: 3
save_every: 2
log_every: 1
num_threads: 1
task:
  type: text
  data: {{source: jsonl, pairs: {tmp_path}/pairs.jsonl, num_dev: 4}}
  policy: {{dim: 16, num_layers: 1, num_heads: 2, max_tokens: 6}}
  prompts_per_batch: 2
  reward: {{functions: {{"{module}:level": 1.0, "{module}:step": 0.5}}}}
trainer: {{type: reinforce, num_samples: 2, optimiser: {{precision: fp32}}}}
""")
    assert main(["train", str(tmp_path / "run.yaml"), "--quiet"]) == 0
    logged = [row for row in read_metrics(tmp_path / "runs" / "run") if "reward/mean" in row]
    for step, row in enumerate(logged):
        assert row["reward/mean_level"] == pytest.approx(row["logged/level"]) and row["reward/left_out"] == 0
        assert row["reward/mean"] == pytest.approx(row["reward/mean_level"] + 0.5 * row["reward/mean_step"], abs=1e-5)
        assert row["reward/mean_step"] == pytest.approx(row["rollout/length"] + step, abs=1e-5)
    final = [row for row in read_metrics(tmp_path / "runs" / "run") if "dev/step" in row][-1]
    assert final["dev/level"] == pytest.approx(1.5) and final["dev/step"] > 0
    assert f"function|weight:0.5|function:{module}:step" in (tmp_path / "runs" / "run" / "env.json").read_text()
    assert main(["sample", str(tmp_path / "runs" / "run"), "--allow-code"]) == 0
    samples = [json.loads(line) for line in (tmp_path / "runs" / "run" / "samples" / "replies.jsonl").read_text().splitlines()]
    assert [row["output_level"] for row in samples] == [0, 1, 2, 3]
    assert main(["resume", str(tmp_path / "runs" / "run"), "--num_updates=4", "--quiet", "--allow-code"]) == 0
    last = [row for row in read_metrics(tmp_path / "runs" / "run") if "reward/mean" in row][-1]
    assert last["reward/mean_step"] == pytest.approx(last["rollout/length"] + 3, abs=1e-5)


def test_names_in_somebody_elses_run_are_not_imported(module: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f'task: {{type: text, reward: {{functions: {{"{module}:level": 1.0}}}}}}\ntrainer: {{type: reinforce}}\nnum_updates: 1\nname: a\n'
    )
    with pytest.raises(ValueError, match=f"task.reward.functions names '{module}:level'"):
        read_config(path, [], allow_code=False)
    typed = read_config(path, [f"--task.reward.functions={{'{module}:step': 2.0}}"], allow_code=False)
    assert typed.task.reward.named == {f"{module}:step": 2.0}


def test_captions_are_told_which_image_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqrl.tasks.captioning.data_config import DataConfig
    from seqrl.tasks.captioning.policies import PolicyConfig as CaptionerConfig
    from seqrl.tasks.captioning.scenes import ScenesConfig
    from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask, load_data

    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path))
    config = CaptioningConfig(
        data=DataConfig(image_size=16, scenes=ScenesConfig(num_train=6, num_dev=3, num_test=2)),
        policy=CaptionerConfig(dim=16, num_layers=1, num_heads=2, max_tokens=4),
        images_per_batch=3,
    )
    data = load_data(config.data)
    seen: list[Any] = []

    def length(prompts: Any, completions: Any, image_id: Any, references: Any, **kwargs: Any) -> list[float | None]:
        seen.extend(zip(prompts, image_id, references, strict=True))
        return [
            None if each == data.dev.image_ids[0] else float(len(text.split())) for text, each in zip(completions, image_id, strict=True)
        ]

    task = CaptioningTask(config, data, reward=[length])
    policy = task.build_policy().eval()
    rows = task.rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(0))
    assert seen == [("", data.train.image_ids[item], data.train.references[item]) for item in rows.group.tolist()]
    assert rows.score.sum() > 0 and set(task.pop_metrics()) == {"reward/left_out", "reward/mean_length", "reward/std_length"}
    assert task.evaluate(policy)["reward_length"] > 0


async def never(completions: Any, **kwargs: Any) -> list[float]:
    await asyncio.sleep(60)
    return [1.0] * len(completions)


def test_what_is_awaited_for_too_long_is_given_up() -> None:
    config = replace(CONFIG, reward=replace(CONFIG.reward, timeout_s=0.2))
    with pytest.raises(TimeoutError, match=r"never \(task.reward.timeout_s\) did not answer for 0.2 seconds"):
        rolled([words, never], config=config)
