"""SPICE beside the official program's scores and people's ratings of Flickr8k, on images nobody looked at while the parser was written."""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np
import pytest
from corpora import needed
from scipy.stats import kendalltau

from seqrl.metrics.spice import Spice
from seqrl.metrics.tokenize import ptb_tokenize


def candidates(development: bool, words) -> tuple[list[list[str]], list[list[list[str]]], np.ndarray, np.ndarray]:
    """Give hypotheses, references, official counts (matched, of the candidate, of the references) and ratings, see benchmarks/spice.py."""
    found = json.loads(needed("spice/flickr8k_official_spice.json").read_text())
    references = {image: [words(caption) for caption in captions] for image, captions in found["references"].items()}
    hashed = {image: hashlib.sha256(image.encode()).hexdigest()[0] < "8" for image in references}
    looked_at = {image for place, image in enumerate(sorted(references)) if place % 2 == 0 or hashed[image]}
    rows = [row for row in found["candidates"] if (row["image_id"] in looked_at) == development]
    official = [(row["spice"]["tp"], row["spice"]["tp"] + row["spice"]["fp"], row["spice"]["tp"] + row["spice"]["fn"]) for row in rows]
    return (
        [words(row["caption"]) for row in rows],
        [references[row["image_id"]] for row in rows],
        np.array(official),
        np.array([row["ratings"] for row in rows]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [ptb_tokenize, lambda caption: caption.lower().split()], ids=["without_punctuation", "as_written"])
def test_agrees_with_the_official_program_and_with_people(words):
    hypotheses, references, counts, ratings = candidates(False, words)
    official = 2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])
    scores = Spice().score(hypotheses, references)
    assert np.corrcoef(scores, official)[0, 1] > 0.94
    assert abs(scores.mean() - official.mean()) < 0.004
    people = ratings.ravel()
    ours, theirs = (kendalltau(np.repeat(each, 3), people, variant="c").statistic for each in (scores, official))
    assert ours > theirs - 0.01
    by_count = Spice().counts(hypotheses, references)["all"]
    for place, least in enumerate((0.9, 0.9, 0.85)):
        assert np.corrcoef(by_count[:, place], counts[:, place])[0, 1] > least


@pytest.mark.slow
def test_is_fast_enough_for_a_reward():
    hypotheses, references, _, _ = candidates(True, ptb_tokenize)
    distinct = [references[0]]
    items = []
    for each in references:
        if each is not distinct[-1]:
            distinct.append(each)
        items.append(len(distinct) - 1)
    prepared = Spice(cached=0).prepare_words(distinct)
    prepared.score([["dog"]] * len(distinct), range(len(distinct)))
    start = time.process_time()
    prepared.score(hypotheses, items)
    # the aim is 5,000 a second; a machine that is busy with other things gets half of what is demanded
    assert len(hypotheses) / (time.process_time() - start) > 1_000
