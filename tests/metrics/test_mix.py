from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpora import as_text, padded, random_corpus

from seqrl.metrics.by_name import METRICS, metric_by_name
from seqrl.metrics.mix import MetricMix


def test_every_name_makes_a_metric_that_scores():
    hypotheses, references = random_corpus(0)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    for name in set(METRICS) - {"spice_official"}:  # its Java program is not on every machine: test_spice_official.py
        metric = metric_by_name(name)
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
    with pytest.raises(ValueError, match="must be a finite number"):
        MetricMix({"bleu4": float("nan")}, references)
    with pytest.raises(ValueError, match="sacrebleu scores strings only"):
        MetricMix({"sacrebleu": 1.0}, references)
    with pytest.raises(ValueError, match="at least 2 images"):
        MetricMix({"cider_d": 1.0}, references[:1])
    assert MetricMix({"bleu4": 1.0}, references[:1]).score([[5]], [1], [0]).shape == (1,)


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
