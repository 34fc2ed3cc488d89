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


def test_gives_the_published_figure():
    hypotheses, references, expected = published()
    np.testing.assert_allclose(RougeL().score(hypotheses, references), expected["per_image"]["ROUGE_L"], rtol=0, atol=1e-6)
    assert round(RougeL().corpus(hypotheses, references), 3) == expected["official_notebook"]["ROUGE_L"]


def test_by_hand():
    # the common subsequence "a b d" has 3 words: precision 3/4, recall 3/5
    precision, recall, beta = 3 / 4, 3 / 5, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert RougeL().score(["a b c d"], [["a b x d y"]])[0] == pytest.approx(expected)
    assert RougeL().score([""], [["a"]])[0] == 0.0
