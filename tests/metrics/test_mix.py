from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from corpora import NEED_FILES, as_text, padded, random_corpus

from seqrl.metrics import by_name
from seqrl.metrics.by_name import METRICS, metric_by_name
from seqrl.metrics.mix import MetricMix
from seqrl.metrics.rows import WordNumbers, number_references


def test_every_name_makes_a_metric_that_scores():
    hypotheses, references = random_corpus(0)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    for name in set(METRICS) - {"spice_official"}:  # its Java program is not on every machine: test_spice_official.py
        metric = metric_by_name(name)
        if name in NEED_FILES or hasattr(metric, "scores_corpus_only"):  # there is no score of a sentence
            continue
        scores = metric.score(text, reference_text)
        assert scores.shape == (len(text),) and scores.dtype == np.float64 and np.isfinite(scores).all(), name
        assert np.isfinite(metric.corpus(text, reference_text)), name


def test_unknown_names_give_the_nearest():
    with pytest.raises(ValueError, match="unknown metric 'cidr_d': did you mean 'cider_d'"):
        metric_by_name("cidr_d")


def test_mix_is_the_weighted_sum_of_its_parts():
    hypotheses, references = random_corpus(1)
    tokens, lengths = padded(hypotheses)
    items = np.arange(len(hypotheses))
    mix = MetricMix({"cider_d": 1.0, "bleu4": 0.5, "rouge_l": -2.0}, references)
    parts = mix.parts(tokens, lengths, items)
    alone = {name: metric_by_name(name).prepare(references).score(tokens, lengths, items) for name in parts}
    for name in parts:
        np.testing.assert_array_equal(parts[name], alone[name])
    expected = alone["cider_d"] + 0.5 * alone["bleu4"] - 2.0 * alone["rouge_l"]
    np.testing.assert_allclose(mix.score(tokens, lengths, items), expected, rtol=0, atol=1e-12)


def test_mix_refuses_what_it_cannot_score():
    references = [[[5]], [[6]]]
    with pytest.raises(ValueError, match="at least one weight"):
        MetricMix({}, references)
    with pytest.raises(ValueError, match="expected a finite number as its weight"):
        MetricMix({"bleu4": float("nan")}, references)
    with pytest.raises(ValueError, match="sacrebleu scores strings only"):
        MetricMix({"sacrebleu": 1.0}, references)
    with pytest.raises(ValueError, match="at least 2 images"):
        MetricMix({"cider_d": 1.0}, references[:1])
    assert MetricMix({"bleu4": 1.0}, references[:1]).score([[5]], [1], [0]).shape == (1,)


def test_metrics_of_words_are_scored_with_those_of_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_name, "HOMES", {**by_name.HOMES, "shared": ("text_metric", "SharedWords", {})})
    numbers = WordNumbers({word: place for place, word in enumerate("<pad> <begin> <end> dog cat".split())})
    references = number_references([["a dog", "the dog"], ["cat cat"]], numbers)  # a, the: 5 and 6
    mix = MetricMix({"shared": 2.0, "bleu1": 1.0}, references, end=2, score_end=True, numbers=numbers)
    rows = [[3, 5, 2, 9], [numbers["new"], 4, 4, 0], [2, 3, 3, 3]]  # dog a; new cat cat; nothing: what follows the end is never read
    parts = mix.parts(rows, [4, 3, 4], [0, 1, 1])
    assert list(parts) == ["shared", "bleu1"] and parts["shared"].tolist() == [1.0, 2 / 3, 0.0]  # by hand; the end is no word there
    np.testing.assert_array_equal(mix.score(rows, [4, 3, 4], [0, 1, 1]), 2 * parts["shared"] + parts["bleu1"])
    alone = MetricMix({"shared": 1.0}, references[:1], end=2, numbers=numbers)
    assert alone.score([[3, 6, 0]], [2], [0]).tolist() == [1.0]
    with pytest.raises(ValueError, match="shared scores words, and nothing says which words"):
        MetricMix({"shared": 1.0}, references)
    for make in (lambda: alone.score([[3, 99]], [2], [0]), lambda: MetricMix({"shared": 1.0}, [[[3], [99]]], numbers=numbers)):
        with pytest.raises(ValueError, match=r"token ids: expected those of 8 words \(numbers\), got 99"):
            make()
    with pytest.raises(ValueError, match="ids 0, 1, 2"):
        MetricMix({"shared": 1.0}, references, numbers={"a": 1})


def test_metrics_of_words_are_scored_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_name, "HOMES", {**by_name.HOMES, "shared": ("text_metric", "SharedWords", {})})
    mix = MetricMix({"shared": 1.0}, [[[0]]], numbers={"a": 0})
    inside, together = [], []

    def score(words, items):
        inside.append(words)
        time.sleep(0.005)
        together.append(len(inside))
        inside.pop()
        return np.ones(len(words))

    monkeypatch.setitem(mix.texts, "shared", SimpleNamespace(score=score))
    with ThreadPoolExecutor(4) as threads:
        assert [float(scores[0]) for scores in threads.map(lambda _: mix.score([[0]], [1], [0]), range(8))] == [1.0] * 8
    assert together == [1] * 8


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_a_reward_or_says_why_not(name: str) -> None:
    numbers = WordNumbers({"<pad>": 0, "<begin>": 1, "<end>": 2})
    references = number_references([["a dog runs fast", "the dog runs"], ["two cats sleep"]], numbers)
    try:
        by_name.require_rewardable(name)
    except ValueError as error:
        assert "seqrl score --metrics" in str(error) or (name == "ref_clip_score" and "prepare(images" in str(error))
        return
    if name in NEED_FILES:
        pytest.skip("needs a model or a program")
    mix = MetricMix({name: 1.0 if by_name.higher_is_better(name) else -1.0}, references, end=2, numbers=numbers)
    right, wrong = mix.score([[3, 4, 5, 6, 2], [numbers["boats"]] * 4 + [2]], [5, 5], [0, 0]).tolist()
    assert right > wrong or (name == "length_error" and right == wrong == 0)  # both are as long as a reference


@pytest.mark.slow
def test_works_where_no_cache_can_be_written():
    program = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # as numba finds it when every folder is read-only
        "from seqrl.metrics.rouge import RougeL\n"
        "print(RougeL().score(['a b'], [['a b']])[0])\n"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "1.0", result.stderr
    assert "set NUMBA_CACHE_DIR" in result.stderr
