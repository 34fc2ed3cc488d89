from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from corpora import as_text, padded, published, random_corpus
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from seqrl.metrics.bleu import Bleu, count_matches
from seqrl.metrics.reference_index import ReferenceIndex
from seqrl.metrics.rows import pad_rows
from seqrl.metrics.sacre import SacreBleu


def official(hypotheses, references):
    scorer = BleuScorer(n=4)
    for hypothesis, rows in zip(hypotheses, references, strict=True):
        scorer += (hypothesis, rows)
    return scorer.compute_score(option="closest")


@pytest.mark.parametrize("seed", range(4))
def test_equals_coco_caption_and_the_token_path(seed):
    hypotheses, references = random_corpus(seed)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    corpus, scores = official(text, reference_text)
    index = ReferenceIndex(references)
    tokens, lengths = padded(hypotheses, filler=5, extra=3)
    for n in range(1, 5):
        metric = Bleu(n)
        np.testing.assert_allclose(metric.score(text, reference_text), scores[n - 1], rtol=0, atol=1e-12)
        assert metric.corpus(text, reference_text) == pytest.approx(corpus[n - 1], abs=1e-12)
        by_id = metric.prepare(index).score(tokens, lengths, np.arange(len(hypotheses)))
        np.testing.assert_allclose(by_id, metric.score(text, reference_text), rtol=0, atol=1e-9)


def ngrams(row, n):
    return Counter(tuple(row[place : place + n]) for place in range(len(row) - n + 1))


@pytest.mark.parametrize("vocabulary", [1, 2, 30])
def test_matches_equal_those_of_counting_every_ngram(vocabulary):
    hypotheses, references = random_corpus(vocabulary, num_items=30, vocabulary=vocabulary)
    far = {token: 2**31 - 1 - 1024 * token for token in range(3, 40)}  # ids that meet in the table of words
    references = [[[far[token] for token in row] for row in rows] for rows in references]
    items = np.random.default_rng(0).integers(len(references), size=200)
    rows = [[far.get(token, token) for token in hypotheses[k % len(hypotheses)]] for k in range(len(items))]
    counts = count_matches(ReferenceIndex(references, max_n=6), pad_rows(rows, items), 6)
    for place, (row, item) in enumerate(zip(rows, items, strict=True)):
        for n in range(1, 7):
            most = Counter()
            for reference in references[item]:
                most |= ngrams(reference, n)
            assert counts.correct[place, n - 1] == (ngrams(row, n) & most).total()
            assert counts.possible[place, n - 1] == ngrams(row, n).total()
        closest = min((abs(len(reference) - len(row)), len(reference)) for reference in references[item])[1]
        assert (counts.lengths[place], counts.closest[place]) == (len(row), closest)


def test_gives_the_published_corpus_scores():
    hypotheses, references, expected = published()
    for n in range(1, 5):
        assert round(Bleu(n).corpus(hypotheses, references), 3) == expected["official_notebook"][f"Bleu_{n}"]
        per_image = expected["per_image"]["Bleu_1..4"][n - 1]
        np.testing.assert_allclose(Bleu(n).score(hypotheses, references), per_image, rtol=0, atol=1e-6)
    assert [expected["official_notebook"][f"Bleu_{n}"] for n in range(1, 5)] == [0.579, 0.404, 0.279, 0.191]


def test_clipping_and_brevity_by_hand():
    # Papineni et al. 2002, example 2: "the" seven times, of which two count
    assert Bleu(1).score(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])[0] == pytest.approx(
        2 / 7
    )
    # two of four words, all correct: exp(1 - 4 / 2); of references of 1 and 3 words the shorter is the closest to 2
    assert Bleu(1).score(["a b"], [["a b c d"]])[0] == pytest.approx(math.exp(-1))
    assert Bleu(1).score(["a b"], [["a b c", "a"]])[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("smoothing", "name"), [("add_one", "add-k"), ("exponential", "exp")])
@pytest.mark.parametrize("max_n", [2, 4])
def test_smoothed_scores_equal_sacrebleu(smoothing, name, max_n):
    for seed in range(4):
        hypotheses, references = random_corpus(seed)
        text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
        peer = sacrebleu.BLEU(smooth_method=name, tokenize="none", max_ngram_order=max_n, effective_order=False)
        expected = [peer.sentence_score(h, rows).score / 100 for h, rows in zip(text, reference_text, strict=True)]
        np.testing.assert_allclose(Bleu(max_n, smoothing=smoothing).score(text, reference_text), expected, rtol=0, atol=1e-12)


def test_smoothing_gives_short_sentences_a_score():
    assert Bleu(4).score(["a b x d"], [["a b c d"]])[0] < 1e-3
    assert Bleu(4, smoothing="add_one").score(["a b x d"], [["a b c d"]])[0] > 0.3
    with pytest.raises(ValueError, match="unknown smoothing 'plus'"):
        Bleu(4, smoothing="plus")


def test_sacrebleu_corpus_scores_are_those_of_its_function():
    hypotheses = ["The dog ran home.", "A cat sits, it seems.", "no match"]
    references = [["The dog ran to its home.", "A dog ran home."], ["A cat sits."], ["something else entirely"]]
    streams = [[rows[0] for rows in references], [rows[1] if len(rows) > 1 else None for rows in references]]
    assert SacreBleu().corpus(hypotheses, references) == pytest.approx(sacrebleu.corpus_bleu(hypotheses, streams).score)
    first = sacrebleu.sentence_bleu(hypotheses[0], references[0]).score
    assert SacreBleu().score(hypotheses, references)[0] == pytest.approx(first)


def test_sacrebleu_refuses_words_that_have_lost_case_and_punctuation():
    for score in (SacreBleu().score, SacreBleu().corpus):
        with pytest.raises(ValueError, match="sacrebleu scores strings only, as they were written, got the words"):
            score([["a", "dog"]], [[["a", "dog"]]])
    assert SacreBleu(tokenize="none").corpus([["a", "dog"] * 2], [[["a", "dog"] * 2]]) == pytest.approx(100)


def test_empty_hypothesis_and_missing_references():
    assert Bleu(4).score(["", "a"], [["a"], ["a"]])[0] == 0.0
    assert Bleu(4).corpus([""], [["a"]]) == 0.0
    assert Bleu(4, smoothing="add_one").score([""], [["a"]]).tolist() == [0.0]
    with pytest.raises(ValueError, match="item 0 has no references"):
        Bleu(4).score(["a"], [[]])
    with pytest.raises(ValueError, match=r"n-grams up to 1, the metric needs 4"):
        Bleu(4).prepare(ReferenceIndex([[[5]]], max_n=1))
