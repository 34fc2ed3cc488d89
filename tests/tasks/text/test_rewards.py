"""Every metric as the reward of a text task, the gain of a corpus, and credit for each token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from seqrl.metrics.by_name import higher_is_better, metric_by_name
from seqrl.tasks.text import DataConfig, PolicyConfig, RewardConfig, TextConfig, TextTask
from seqrl.tasks.writing.sampled import credit
from seqrl.trajectory import Trajectory

PROMPTS = ["inform SLOT_NAME", "bye", "ask SLOT_FOOD", "hello"]
REFERENCES = [
    ["SLOT_NAME is a nice place", "try SLOT_NAME today"],
    ["bye bye now"],
    ["what SLOT_FOOD do you want"],
    ["hello and welcome to you"],
]
REPLIES = ["SLOT_NAME is nice", "bye bye bye bye", "what SLOT_NAME do you want", "bye"]
POLICY = PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=8)


def make(metrics: dict[str, float], *, pieces: int = 0, **reward: Any) -> TextTask:
    config = TextConfig(
        data=DataConfig(source="files", pieces=pieces), policy=POLICY, reward=RewardConfig(metrics=metrics, **reward), prompts_per_batch=4
    )
    return TextTask(PROMPTS, REFERENCES, config=config)


def rows_of(task: TextTask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = [[*task.vocabulary.encode(text.split()), task.vocabulary.end] for text in REPLIES]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [task.vocabulary.pad] * (width - len(row)) for row in rows])
    return tokens, torch.tensor([len(row) for row in rows]), torch.arange(len(REPLIES))


NAMES = ["sentence_bleu", "bleu4_smoothed", "slot_error", "rouge_l", "rouge1", "rouge2", "rouge_lsum", "chrf", "ter", "wer", "cider_d"]
NAMES += ["length_error", "repetition", "exact_match", "edit_distance", "corpus_bleu_gain"]


@pytest.mark.parametrize("pieces", [0, 300], ids=["words", "pieces"])
@pytest.mark.parametrize("name", [*NAMES, pytest.param("meteor", marks=pytest.mark.slow)])
def test_a_metric_pays_what_it_says_of_the_words(name: str, pieces: int) -> None:
    weight = 1.0 if higher_is_better(name) else -1.0
    task = make({name: weight}, pieces=pieces, score_end=False)
    metric = metric_by_name(name, **({"prefix": "SLOT_"} if name == "slot_error" else {}))
    found = task.reward.score(*rows_of(task))
    np.testing.assert_allclose(found, weight * np.asarray(metric.score(REPLIES, REFERENCES)), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_embeddings_pay_in_a_mix() -> None:
    pytest.importorskip("sentence_transformers")
    task = make({"embedding": 1.0, "sentence_bleu": 0.5, "length_error": -0.2}, score_end=False)
    single = [np.asarray(metric_by_name(name).score(REPLIES, REFERENCES)) for name in ("embedding", "sentence_bleu", "length_error")]
    np.testing.assert_allclose(task.reward.score(*rows_of(task)), single[0] + 0.5 * single[1] - 0.2 * single[2], atol=1e-4)


def test_smoothings_are_settings() -> None:
    paid = [make({"sentence_bleu": 1.0}, settings={"sentence_bleu": {"smoothing": name}}) for name in ("exp", "floor", "add-k", "none")]
    scores = [task.reward.score(*rows_of(task))[0].item() for task in paid]
    assert len(set(scores)) == 4 and "smooth:floor[0.1]" in paid[1].reward_signature({}, version="1")
    with pytest.raises(ValueError, match="settings.sentence_bleu: smoothing: expected one of"):
        RewardConfig(settings={"sentence_bleu": {"smoothing": "add_one"}})


@pytest.mark.parametrize("pieces", [0, 300], ids=["words", "pieces"])
def test_each_token_is_paid_what_it_adds(pieces: int) -> None:
    whole, each = (make({"sentence_bleu": 1.0, "length_error": -0.5}, pieces=pieces, per_token=flag) for flag in (False, True))
    torch.manual_seed(0)
    policy = whole.build_policy().eval()
    one, other = (
        task.rollout(policy, num_samples=3, greedy_baseline=True, generator=torch.Generator().manual_seed(1)) for task in (whole, each)
    )
    assert one.action.tolist() == other.action.tolist()
    torch.testing.assert_close(other.score, one.score, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.baseline, one.baseline)
    assert not other.reward[~other.mask].any() and (other.reward != 0).sum() > (one.reward != 0).sum()
    # By brute force: every beginning is scored as a text of its own.
    for row in range(other.batch_size):
        tokens, item = other.action[row][other.mask[row]], other.group[row : row + 1]  # type: ignore[index]
        scores = [0.0, *(whole.reward.score(tokens[None, :t], torch.tensor([t]), item).item() for t in range(1, len(tokens) + 1))]
        found = other.reward[row][other.mask[row]].tolist()
        assert found == pytest.approx([after - before for before, after in pairwise(scores)], abs=1e-6)


def test_what_was_forced_is_paid_to_the_first_chosen_token() -> None:
    task = make({"sentence_bleu": 1.0}, per_token=True)
    plain = make({"sentence_bleu": 1.0})
    torch.manual_seed(0)
    policy = task.build_policy().eval()
    rows, whole = (
        each.rollout(policy, num_samples=2, num_forced_steps=3, generator=torch.Generator().manual_seed(1)) for each in (task, plain)
    )
    torch.testing.assert_close(rows.score, whole.score, rtol=0, atol=1e-6)
    assert not rows.reward[~rows.mask & ~rows.terminated].any()


def test_a_row_that_was_forced_to_its_end_keeps_its_score() -> None:
    mask = torch.tensor([[False, False, False], [False, True, True]])
    imitate = torch.tensor([[True, True, False], [True, False, False]])
    rows = Trajectory(
        action=torch.zeros(2, 3, dtype=torch.long),
        logp=torch.zeros(2, 3),
        value=torch.zeros(2, 4),
        reward=torch.zeros(2, 3),
        terminated=torch.tensor([[False, True, False], [False, False, True]]),
        truncated=torch.zeros(2, 3, dtype=torch.bool),
        mask=mask,
        obs=torch.zeros(2, 4, dtype=torch.long),
        imitate=imitate,
    )
    paid = credit(torch.tensor([[0.0, 0.5, 0.75, 0.75], [0.0, 0.25, 0.5, 1.0]]), rows)
    assert paid.tolist() == [[0.0, 0.75, 0.0], [0.0, 0.5, 0.5]]


def test_credit_is_refused_where_beginnings_have_no_score() -> None:
    with pytest.raises(ValueError, match="per_token: expected false with corpus_bleu_gain"):
        RewardConfig(metrics={"corpus_bleu_gain": 1.0}, per_token=True)
    with pytest.raises(ValueError, match="per_token: expected false with variety"):
        RewardConfig(metrics={"sentence_bleu": 1.0}, variety=0.1, per_token=True)
    assert "credit:token" in make({"sentence_bleu": 1.0}, per_token=True).reward_signature({}, version="1")


def test_credit_comes_one_update_late_with_rewards_ahead() -> None:
    late, now = make({"sentence_bleu": 1.0}, per_token=True, ahead=1), make({"sentence_bleu": 1.0}, per_token=True)
    torch.manual_seed(0)
    policy = now.build_policy().eval()
    first, second = (task.rollout(policy, generator=torch.Generator().manual_seed(0)) for task in (now, late))
    torch.testing.assert_close(first.reward, second.reward)
    assert replace(late.config).reward.ahead == 1
