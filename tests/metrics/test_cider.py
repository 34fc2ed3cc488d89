from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from corpora import as_text, padded, published, random_corpus
from pycocoevalcap.cider.cider_scorer import CiderScorer

from seqrl.metrics.cider import Cider, CiderD, CiderR
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.reference_index import ReferenceIndex


def official(hypotheses, references):
    scorer = CiderScorer()
    for hypothesis, rows in zip(hypotheses, references, strict=True):
        scorer += (hypothesis, rows)
    mean, scores = scorer.compute_score()
    return float(mean), scores


def gaussian(hypothesis, row):
    return math.exp(-((len(hypothesis) - len(row)) ** 2) / 72)


def brute_force(hypotheses, references, corpus, clipped, penalty_of=gaussian):
    """CIDEr, CIDEr-D or CIDEr-R from dictionaries of n-grams; document frequencies from `corpus`."""

    def grams(row, n):
        return Counter(tuple(row[i : i + n]) for i in range(len(row) - n + 1))

    scores = []
    for hypothesis, rows in zip(hypotheses, references, strict=True):
        total = 0.0
        for n in range(1, 5):
            frequency = Counter(gram for item in corpus for gram in set().union(*(grams(row, n) for row in item)))

            def vector(row, n=n, frequency=frequency):
                return {g: c * math.log(len(corpus) / max(1, frequency[g])) for g, c in grams(row, n).items()}

            own = vector(hypothesis)
            for row in rows:
                other = vector(row)
                product = sum((min(own[g], other[g]) if clipped else own[g]) * other[g] for g in own if g in other)
                scale = math.sqrt(sum(v * v for v in own.values()) * sum(v * v for v in other.values()))
                penalty = penalty_of(hypothesis, row) if clipped else 1.0
                total += penalty * product / scale / len(rows) if scale else 0.0
        scores.append(10 * total / 4)
    return np.array(scores)


@pytest.mark.parametrize("seed", range(4))
def test_cider_d_equals_the_official_code(seed):
    hypotheses, references = random_corpus(seed)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    mean, scores = official(text, reference_text)
    np.testing.assert_allclose(CiderD().score(text, reference_text), scores, rtol=0, atol=1e-12)
    assert CiderD().corpus(text, reference_text) == pytest.approx(mean, abs=1e-12)


def test_cider_d_gives_the_published_corpus_scores():
    hypotheses, references, expected = published()
    scores = CiderD().score(hypotheses, references)
    np.testing.assert_allclose(scores, expected["per_image"]["CIDEr"], rtol=0, atol=1e-6)
    assert round(float(scores.mean()), 3) == expected["official_notebook"]["CIDEr"] == 0.6


@pytest.mark.parametrize("seed", range(3))
def test_ids_words_and_strings_score_alike(seed):
    hypotheses, references = random_corpus(seed)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    tokens, lengths = padded(hypotheses, filler=5, extra=2)  # the filler is a word: padding must not be read
    by_id = CiderD().prepare(references).score(tokens, lengths, np.arange(len(hypotheses)))
    np.testing.assert_allclose(by_id, CiderD().score(text, reference_text), rtol=0, atol=1e-9)
    split = [row.split() for row in text], [[row.split() for row in rows] for rows in reference_text]
    np.testing.assert_array_equal(CiderD().score(*split), CiderD().score(text, reference_text))


@pytest.mark.parametrize(("metric", "clipped"), [(CiderD, True), (Cider, False)])
def test_frequencies_of_another_corpus(metric, clipped):
    hypotheses, references = random_corpus(1)
    _, corpus = random_corpus(2, num_items=20)
    hypotheses, references = hypotheses[:-1], references[:-1]  # the official length of nothing is that of one word
    frequency = DocumentFrequency.from_references(corpus, tokenisation="ids")
    tokens, lengths = padded(hypotheses)
    scores = metric(document_frequency=frequency).prepare(references).score(tokens, lengths, np.arange(len(hypotheses)))
    np.testing.assert_allclose(scores, brute_force(hypotheses, references, corpus, clipped), rtol=0, atol=1e-12)
    words = DocumentFrequency.from_references([as_text(rows) for rows in corpus])
    by_word = metric(document_frequency=words).score(as_text(hypotheses), [as_text(rows) for rows in references])
    np.testing.assert_allclose(by_word, scores, rtol=0, atol=1e-12)


def test_order_of_rows_batch_split_and_item_reuse_change_nothing():
    hypotheses, references = random_corpus(5)
    prepared = CiderD().prepare(references)
    tokens, lengths = padded(hypotheses)
    items = np.arange(len(hypotheses))
    whole = prepared.score(tokens, lengths, items)
    order = np.random.default_rng(0).permutation(np.tile(items, 3))
    np.testing.assert_array_equal(prepared.score(tokens[order], lengths[order], items[order]), whole[order])
    single = [prepared.score(tokens[i : i + 1], lengths[i : i + 1], items[i : i + 1])[0] for i in items]
    np.testing.assert_array_equal(single, whole)


def test_large_token_ids_do_not_collide():
    hypotheses, references = random_corpus(3)

    def moved(rows):
        return [[2**31 - 200 + token for token in row] for row in rows]

    items = np.arange(len(hypotheses))
    small = CiderD().prepare(references).score(*padded(hypotheses), items)
    large = CiderD().prepare([moved(rows) for rows in references]).score(*padded(moved(hypotheses)), items)
    np.testing.assert_array_equal(large, small)


def test_plain_cider_is_raised_by_repetition_and_cider_d_is_not():
    references = [["a red bird sits"], ["two dogs run"], ["a man cooks"]]
    once, repeated = ["bird", "dogs", "man"], ["bird bird bird bird", "dogs dogs dogs dogs", "man man man man"]
    longer = ["bird sits and a", "dogs and run it", "man and cooks it"]
    assert Cider().score(repeated, references)[0] == pytest.approx(Cider().score(once, references)[0])
    assert CiderD().score(repeated, references)[0] < 0.5 * CiderD().score(longer, references)[0]


def test_scored_end_token_tells_a_caption_that_breaks_off():
    end = 2
    references = [[[5, 6, 7]], [[8, 9, 10]], [[5, 11, 12]]]
    rows = np.array([[5, 6, 7, end], [5, 6, 7, 0]])  # the second broke off at the longest length
    items = np.array([0, 0])
    without = CiderD().prepare(references, end=end).score(rows, [4, 3], items)
    scored = CiderD(score_end=True).prepare(references, end=end).score(rows, [4, 3], items)
    assert without[0] == without[1] == pytest.approx(7.5)  # three words hold no 4-gram
    assert scored[0] == pytest.approx(10.0)
    assert scored[1] < 0.8 * scored[0]


def test_scored_end_token_in_strings_equals_a_word_at_each_end():
    hypotheses, references = random_corpus(4)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    _, scores = official([row + " END" for row in text], [[row + " END" for row in rows] for rows in reference_text])
    np.testing.assert_allclose(CiderD(score_end=True).score(text, reference_text), scores, rtol=0, atol=1e-12)
    assert np.abs(CiderD().score(text, reference_text) - scores).max() > 0.01


def test_what_follows_the_end_token_is_not_read():
    prepared = CiderD().prepare([[[5, 6, 7, 8]], [[9, 10]]], end=2)
    rows = np.array([[5, 6, 2, 7, 8], [5, 6, 0, 0, 0]])
    scores = prepared.score(rows, [5, 2], [0, 0])
    assert scores[0] == scores[1] > 0


def test_empty_hypotheses_score_zero():
    assert CiderD().score(["", "b"], [["a"], ["b"]])[0] == 0.0
    assert CiderD().prepare([[[5]], [[6]]], end=2).score([[2, 0], [6, 2]], [1, 2], [0, 1]).tolist()[0] == 0.0
    assert CiderD().prepare([[[5]], [[6]]]).score(np.zeros((0, 4), np.int64), [], []).shape == (0,)
    assert CiderD().prepare([[[5]], [[6]]]).score(np.zeros((1, 0), np.int64), [0], [1]).tolist() == [0.0]


@pytest.mark.parametrize("metric", [CiderD, Cider])
def test_one_image_is_refused_with_the_reason(metric):
    with pytest.raises(ValueError, match=r"at least 2 images, got 1.*every CIDEr score is 0"):
        metric().score(["a cat"], [["a cat"]])
    with pytest.raises(ValueError, match="at least 2 images"):
        metric().prepare([[[5, 6]]])


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([[[5, 6]], []], "item 1 has no references"),
        ([[[5, 6]], [[7], []]], "reference 1 of item 1 is empty"),
        ([[[5, -1]], [[7]]], "must lie in 0"),
        ([[[5, 2]], [[7]]], "holds the end token 2"),
    ],
)
def test_bad_references_are_named(references, message):
    with pytest.raises(ValueError, match=message):
        CiderD().prepare(references, end=2)


def test_bad_hypotheses_are_named():
    prepared = CiderD().prepare([[[5]], [[6]]])
    with pytest.raises(ValueError, match="items must lie in 0..1"):
        prepared.score([[5]], [1], [2])
    with pytest.raises(ValueError, match=r"expected tokens \[N, T\]"):
        prepared.score([5], [1], [0])
    with pytest.raises(ValueError, match="token ids must lie"):
        prepared.score([[-5]], [1], [0])
    with pytest.raises(ValueError, match="3 hypotheses and 2 lists"):
        CiderD().score(["a", "b", "c"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="one string"):
        CiderD().score(["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="score_end=True needs"):
        CiderD(score_end=True).prepare([[[5]], [[6]]])


def test_an_index_is_shared_by_metrics():
    hypotheses, references = random_corpus(6)
    tokens, lengths = padded(hypotheses)
    items = np.arange(len(hypotheses))
    index = ReferenceIndex(references)
    for metric in (CiderD(), Cider()):
        np.testing.assert_array_equal(
            metric.prepare(index).score(tokens, lengths, items), metric.prepare(references).score(tokens, lengths, items)
        )


# SacreEOS 1.0.2, which takes the paper's lengths in words.
ROBUST = (
    ["a dog a dog runs", "the red bus", "a cat"],
    [["a dog runs fast on the grass", "the dog runs"], ["a red bus stops", "the bus"], ["a cat sits", "one"]],
    [1.5496904177944881, 2.34641647687505, 1.7289165132235178],
)


def test_cider_r_gives_the_corpus_scores_of_another_implementation():
    hypotheses, references, expected = ROBUST
    np.testing.assert_allclose(CiderR().score(hypotheses, references), expected, rtol=0, atol=1e-12)


def test_cider_r_on_captions_of_coco():
    hypotheses, references, _ = published()
    assert CiderR().corpus(hypotheses, references) == pytest.approx(0.6243616957066707, abs=1e-9)  # SacreEOS 1.0.2


@pytest.mark.parametrize("seed", range(3))
def test_cider_r_is_its_equation(seed):
    hypotheses, references = random_corpus(seed)

    def penalty(hypothesis, row):
        own, other = Counter(hypothesis), Counter(row)
        repeated = [1 / (1 + (abs(own[word] - other[word]) if word in other else own[word] - 1)) for word in own] or [1.0]
        length = math.exp(-((len(hypothesis) - len(row)) ** 2) / (2.0 * len(row) ** 2))
        return math.prod(repeated) ** (0.3 / len(repeated)) * length**0.9

    metric = CiderR(repetition_weight=0.3, length_weight=0.9, alpha=2.0)
    scores = metric.score(as_text(hypotheses), [as_text(rows) for rows in references])
    np.testing.assert_allclose(scores, brute_force(hypotheses, references, references, True, penalty), rtol=0, atol=1e-12)


def test_cider_r_refuses_an_alpha_of_nothing():
    with pytest.raises(ValueError, match="alpha: expected a number above 0, got 0"):
        CiderR(alpha=0)
