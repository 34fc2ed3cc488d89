from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from corpora import as_text, random_corpus

from seqrl.metrics.cider import CiderD
from seqrl.metrics.document_frequency import DocumentFrequency, inverse_document_frequency
from seqrl.metrics.ngram_table import NgramTable


def test_counts_each_image_once():
    frequency = DocumentFrequency.from_references([["a b a", "a b"], ["a c", "c"], ["d"]])
    table = dict(zip(frequency.keys.tolist(), frequency.counts.tolist(), strict=True))
    assert frequency.words is not None
    assert table == {frequency.words.index("a"): 2}  # "a b" and "c" stand in one image each
    np.testing.assert_allclose(inverse_document_frequency(frequency.num_images), np.log([3, 3, 1.5, 1]), atol=1e-15)


def test_survives_saving_and_loading(tmp_path):
    _, references = random_corpus(0)
    for frequency in (
        DocumentFrequency.from_references(references, tokenisation="abc", score_end=True, end=2),
        DocumentFrequency.from_references([as_text(rows) for rows in references]),
    ):
        frequency.save(tmp_path / "frequency.npz")
        loaded = DocumentFrequency.load(tmp_path / "frequency.npz")
        assert loaded.fingerprint == frequency.fingerprint
        np.testing.assert_array_equal(loaded.keys, frequency.keys)
        np.testing.assert_array_equal(loaded.counts, frequency.counts)
        assert (loaded.num_images, loaded.score_end, loaded.words) == (frequency.num_images, frequency.score_end, frequency.words)


def test_fingerprint_changes_with_every_setting_and_not_with_the_order_of_images():
    _, references = random_corpus(0)
    base = DocumentFrequency.from_references(references, tokenisation="abc", end=2)
    others = [
        DocumentFrequency.from_references(references, tokenisation="abd", end=2),
        DocumentFrequency.from_references(references, tokenisation="abc", end=2, score_end=True),
        DocumentFrequency.from_references(references[1:], tokenisation="abc", end=2),
        replace(base, counts=base.counts + 1),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert DocumentFrequency.from_references(references[::-1], tokenisation="abc", end=2).fingerprint == base.fingerprint
    words = [as_text(rows) for rows in references]
    assert DocumentFrequency.from_references(words[::-1]).fingerprint == DocumentFrequency.from_references(words).fingerprint


def test_mismatches_are_refused_by_name():
    _, references = random_corpus(0)
    frequency = DocumentFrequency.from_references(references, tokenisation="abc", end=2)
    for settings, message in [
        ({"tokenisation": "abd"}, "tokenisation is 'abc' in the frequencies and 'abd' here"),
        ({"score_end": True}, "score_end is False in the frequencies and True here"),
        ({"max_n": 3}, "max_n is 4 in the frequencies and 3 here"),
    ]:
        with pytest.raises(ValueError, match=message):
            CiderD(document_frequency=frequency, **settings).prepare(references, end=2)
    with pytest.raises(ValueError, match="words is False"):
        CiderD(document_frequency=frequency).score(["a", "b"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="words is True"):
        CiderD(document_frequency=DocumentFrequency.from_references([["a"], ["b"]])).prepare(references)


def test_refuses_one_image_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        DocumentFrequency.from_references([["a b"]])
    with pytest.raises(FileNotFoundError, match="no document frequencies at"):
        DocumentFrequency.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="does not hold document frequencies"):
        DocumentFrequency.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", array=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold document frequencies"):
        DocumentFrequency.load(tmp_path / "other.npz")


def test_table_grows_and_is_rebuilt_from_its_keys():
    keys = np.unique(np.random.default_rng(0).integers(0, 2**50, 5000))
    table = NgramTable.from_keys(keys, np.arange(len(keys), dtype=np.int32))
    table.reserve(20_000)
    np.testing.assert_array_equal(table.keys(), keys)
    np.testing.assert_array_equal(table.document_frequency[: table.size], np.arange(len(keys)))
    assert table.size == len(keys) <= 0.6 * len(table.slots)
