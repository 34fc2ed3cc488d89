from __future__ import annotations

import numpy as np
import pytest
from corpora import as_text, padded, published, random_corpus
from pycocoevalcap.rouge.rouge import Rouge

from seqrl.metrics.rouge import RougeL


@pytest.mark.parametrize("seed", range(3))
def test_equals_coco_caption_and_the_token_path(seed):
    hypotheses, references = random_corpus(seed)
    text, reference_text = as_text(hypotheses), [as_text(rows) for rows in references]
    expected = [Rouge().calc_score([h], rows) for h, rows in zip(text, reference_text, strict=True)]
    np.testing.assert_allclose(RougeL().score(text, reference_text), expected, rtol=0, atol=1e-12)
    tokens, lengths = padded(hypotheses, filler=4, extra=1)
    by_id = RougeL().prepare(references).score(tokens, lengths, np.arange(len(hypotheses)))
    np.testing.assert_allclose(by_id, expected, rtol=0, atol=1e-12)


def test_gives_the_published_corpus_score():
    hypotheses, references, expected = published()
    np.testing.assert_allclose(RougeL().score(hypotheses, references), expected["per_image"]["ROUGE_L"], rtol=0, atol=1e-6)
    assert round(RougeL().corpus(hypotheses, references), 3) == expected["official_notebook"]["ROUGE_L"]


def longest_common(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, j in np.ndindex(len(first), len(second)):
        table[i + 1, j + 1] = table[i, j] + 1 if first[i] == second[j] else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


@pytest.mark.parametrize("length", [1, 62, 63, 64, 65, 90])
def test_rows_around_the_number_of_bits_of_a_word(length):
    rng = np.random.default_rng(length)
    for vocabulary in (1, 2, 9):
        row, reference = rng.integers(3, 3 + vocabulary, size=length), rng.integers(3, 3 + vocabulary, size=70)
        common, beta = longest_common(row, reference), 1.2
        precision, recall = common / length, common / 70
        expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if common else 0.0
        assert RougeL().prepare([[reference]]).score(row[None], [length], [0])[0] == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # the common subsequence "a b d" has 3 words: precision 3/4, recall 3/5
    precision, recall, beta = 3 / 4, 3 / 5, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert RougeL().score(["a b c d"], [["a b x d y"]])[0] == pytest.approx(expected)
    assert RougeL().score([""], [["a"]])[0] == 0.0
