from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from corpora import NEED_FILES, as_text, random_corpus
from sacrebleu.significance import PairedTest
from text_metric import SharedWords

from seqrl.metrics.by_name import METRICS, metric_by_name, scores_words
from seqrl.metrics.corpus import Corpus
from seqrl.metrics.resampling import bootstrap, interval, mean_statistics, p_value


def texts(seed: int) -> tuple[list[str], list[list[str]]]:
    hypotheses, references = random_corpus(seed, num_items=40)
    return as_text(hypotheses), [as_text(rows) for rows in references]


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_and_significance_are_those_of_sacrebleu(seed: int) -> None:
    first, references = texts(seed)
    second = [" ".join(text.split()[:-1] + ["w3"]) for text in first[:20]] + first[20:]
    streams = [[rows[k] if k < len(rows) else None for rows in references] for k in range(max(map(len, references)))]
    test = PairedTest([("a", first), ("b", second)], {"BLEU": sacrebleu.BLEU()}, streams, test_type="bs", n_samples=300)  # type: ignore[arg-type]
    _, results = test()
    metric = metric_by_name("sacrebleu")
    both = [Corpus(hypotheses, references).statistics(metric) for hypotheses in (first, second)]
    drawn = bootstrap(both, samples=300)
    for own, peer in zip(drawn, results["BLEU"], strict=True):
        low, high = interval(own)
        assert (own.mean(), (high - low) / 2) == pytest.approx((peer.mean, peer.ci), abs=1e-3)  # there in 32 bits
    p = p_value(drawn[0], drawn[1], both[1].of_all() - both[0].of_all())
    assert p == pytest.approx(results["BLEU"][1].p_value, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_resampled_corpus_score_is_that_of_the_corpus_that_was_drawn(name: str) -> None:
    metric = metric_by_name(name)
    if getattr(metric, "scores_corpus_only", False) or name in NEED_FILES:
        pytest.skip("has no scores of sentences, or needs a model or a program")
    hypotheses, references = texts(3)
    corpus = Corpus(hypotheses, references)
    try:
        found = corpus.statistics(metric)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert corpus.corpus_score(metric) == pytest.approx(metric.corpus(hypotheses, references), abs=1e-9)
    np.testing.assert_allclose(corpus.scores(metric), metric.score(hypotheses, references), rtol=0, atol=1e-12)
    drawn = np.random.default_rng(7).integers(0, 40, size=(3, 40))
    corpus_scores = bootstrap([found], samples=3, seed=7)[0]
    if found.what:
        expected = [corpus.scores(metric)[rows].mean() for rows in drawn]
    elif name in ("cider_d", "cider_r", "cider", "spider"):  # document frequencies stay those of the whole corpus
        expected = [metric.score(hypotheses, references)[rows].mean() for rows in drawn]
    else:
        expected = [metric.corpus([hypotheses[n] for n in rows], [references[n] for n in rows]) for rows in drawn]
        assert found.of_all() == pytest.approx(metric.corpus(hypotheses, references), abs=1e-9)
    np.testing.assert_allclose(corpus_scores, expected, rtol=0, atol=1e-6)
    assert scores_words(name) or name != "cider_d"


def test_corpus_scores_of_statistics_are_those_of_the_metric_where_sentences_do_not_simply_add_up() -> None:
    # METEOR counts no chunk of a sentence that is its reference.
    metric, pairs = metric_by_name("meteor"), (["a dog runs fast", "mat the on cat a"], [["a dog runs fast"], ["the cat sat on a mat"]])
    assert Corpus(*pairs).statistics(metric).of_all() == pytest.approx(metric.corpus(*pairs), abs=1e-12)
    metric, pairs = metric_by_name("slot_error", prefix="@"), (["a b"], [["a c"]])
    for corpus_score in (metric.corpus, lambda *pairs: Corpus(*pairs).statistics(metric)):
        with pytest.raises(ValueError, match="none that requires any"):
            corpus_score(*pairs)


def test_a_metric_that_is_no_mean_says_so() -> None:
    class Odd(SharedWords):
        def corpus(self, hypotheses, references):
            return 0.25

    found = Corpus(["a b", "c"], [["a"], ["c"]]).statistics(Odd())
    assert found.what == "the mean of the sentences' scores" and found.of_all() == 0.75
    assert Corpus(["a b", "c"], [["a"], ["c"]]).statistics(SharedWords()).what == ""


def test_a_metric_offers_its_own_statistics() -> None:
    class Ratio(SharedWords):
        """Shared words over words, of the corpus."""

        calls = 0

        def statistics(self, hypotheses, references):
            Ratio.calls += 1
            scores = super().score(hypotheses, references)
            lengths = np.array([len(text.split()) for text in hypotheses])
            return scores, np.stack([scores * lengths, lengths], axis=1)

        def score(self, hypotheses, references):
            raise AssertionError("scored again")

        def from_statistics(self, sums):
            return sums[:, 0] / sums[:, 1]

    corpus, metric = Corpus(["a b c d", "e"], [["a"], ["e"]]), Ratio()
    found = corpus.statistics(metric)
    assert found.of_all() == 2 / 5 and corpus.scores(metric).tolist() == [0.25, 1.0] and Ratio.calls == 1
    assert set(bootstrap([found], samples=50)[0]) == {0.25, 1.0, 0.4}


def test_draws_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = mean_statistics(np.arange(7.0))
    whole = bootstrap([statistics], samples=11)[0]
    monkeypatch.setattr("seqrl.metrics.resampling._DRAWN_AT_A_TIME", 20)
    np.testing.assert_array_equal(bootstrap([statistics], samples=11)[0], whole)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = interval(bootstrap([mean_statistics(generator.normal(size=60))], samples=200)[0])
        covered += low <= 0.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_p_of_equal_systems_is_not_small_and_of_different_ones_is() -> None:
    scores = np.random.default_rng(0).normal(size=80)
    for shift, low, high in ((0.0, 0.3, 0.5), (1.0, 0.0, 0.01)):  # without a difference P(|z| > E|z|) = 0.42
        first, second = bootstrap([mean_statistics(scores), mean_statistics(scores[::-1] + shift)], samples=500)
        assert low <= p_value(first, second, shift) <= high
        assert p_value(first, first, 0.0) == 1.0


def test_different_sentences_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected statistics of the same sentences, got \[2, 3\]"):
        bootstrap([mean_statistics(np.zeros(2)), mean_statistics(np.zeros(3))])
    with pytest.raises(ValueError, match=r"got \[0\]"):
        bootstrap([mean_statistics(np.zeros(0))])
