"""Signatures of scores, against lines written by hand."""

from __future__ import annotations

import dataclasses

import pytest

from seqrl.metrics.bleu import Bleu
from seqrl.metrics.by_name import METRICS, metric_by_name
from seqrl.metrics.cider import CiderD
from seqrl.metrics.signature import Signature, joined, number_of_references, parse, signature_of
from seqrl.metrics.spice import PARSER_VERSION, Spice, Synonyms
from seqrl.metrics.spice import parse as parse_scene

SCORED = {"docs": 1000, "nrefs": "5", "version": "0.1.0"}
BY_HAND = {
    "cider_d": "CIDEr-D|tok:ptb|end:no|df:references|docs:1000|nrefs:5|n:4|sigma:6.0|clip:yes|version:0.1.0",
    "cider": "CIDEr|tok:ptb|end:no|df:references|docs:1000|nrefs:5|n:4|clip:no|version:0.1.0",
    "bleu1": "BLEU-1|tok:ptb|end:no|nrefs:5|n:1|smooth:none|version:0.1.0",
    "bleu4_smoothed": "BLEU-4|tok:ptb|end:no|nrefs:5|n:4|smooth:add_one|version:0.1.0",
    "rouge_l": "ROUGE-L|tok:ptb|end:no|nrefs:5|beta:1.2|version:0.1.0",
    "sacrebleu": "sacreBLEU|tok:13a|case:mixed|nrefs:5|n:4|smooth:exponential|version:0.1.0",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_metric_as_written_by_hand(name: str) -> None:
    written = str(signature_of(name, **SCORED))
    assert written == BY_HAND[name]
    assert [str(each) for each in parse(written)] == [written]


def test_what_a_reward_adds() -> None:
    settings = {"version": "0.1.0", "end": True, "df": "train", "weight": 0.5, "base": "leave_one_out", "samples": 5}
    written = str(signature_of("cider_d", **settings))
    assert written == ("CIDEr-D|weight:0.5|tok:ptb|end:yes|df:train+end|n:4|sigma:6.0|clip:yes|base:leave_one_out|samples:5|version:0.1.0")
    assert parse(written)[0].fields["df"] == "train+end"


def test_metrics_of_words_never_count_the_end() -> None:
    assert str(signature_of("wer", version="1", end=True)) == "WER|tok:ptb|end:no|version:1"
    assert str(signature_of("rouge_l", version="1", end=True)) == "ROUGE-L|tok:ptb|end:yes|beta:1.2|version:1"


def test_the_settings_of_a_metric_count() -> None:
    metrics = [CiderD(), CiderD(sigma=5.0), CiderD(max_n=3), Bleu(), Bleu(max_n=3), Bleu(smoothing="exponential")]
    metrics += [CiderD()] * 3
    settings = [{}] * 6 + [{"tok": "characters"}, {"end": True}, {"df": "file"}]
    written = [str(signature_of(metric, version="1", **more)) for metric, more in zip(metrics, settings, strict=True)]
    assert len(set(written)) == len(written)


# Where and how fast, not what; document frequencies, end and tokenisation are what `signature_of` is told.
NO_SETTINGS = {
    "batch_size",
    "device",
    "cached",
    "jar",
    "heap",
    "timeout_s",
    "cache_size",
    "document_frequency",
    "score_end",
    "tokenisation",
}
OTHERS = {
    ("bleu4", "smoothing"): "add_one",
    ("distinct1", "over"): "ngrams",
    ("spice", "parser"): parse_scene,
    ("spice", "synonyms"): Synonyms({}),
    ("spider", "spice"): Spice(parser=parse_scene),
    ("meteor", "weights"): (1.0, 0.6, 0.8, 0.5),
    ("ref_clip_score", "prompt"): " a | b + c ",
    ("sentence_bleu", "smoothing"): "none",
    ("slot_error", "keywords"): "kids=child,kid",
}


@pytest.mark.parametrize(
    "name", [name for name in METRICS if name not in ("bleu1", "bleu2", "bleu3", "bleu4_smoothed", "rouge2", "distinct2")]
)
def test_no_setting_of_a_metric_is_left_out(name: str) -> None:
    metric = metric_by_name(name, **({"prefix": "SLOT_"} if name == "slot_error" else {}))  # keywords need one
    for each in dataclasses.fields(metric) if dataclasses.is_dataclass(metric) else ():
        if each.name in NO_SETTINGS or (name, each.name) == ("sentence_bleu", "value"):  # the value stands with the smoothing
            continue
        value = getattr(metric, each.name)
        other = OTHERS.get((name, each.name))
        if other is None:
            other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v / 2 or 0.5, str: lambda v: f"{v}other"}[type(value)](
                value
            )
        told = str(signature_of(dataclasses.replace(metric, **{each.name: other}), version="1"))
        assert told != str(signature_of(metric, version="1")), each.name
        assert str(parse(told)[0]) == told


def test_meteor_and_clip_by_hand() -> None:
    told = str(signature_of("meteor", version="1", beam=3, alpha=0.7))
    assert told == "METEOR-1.5|tok:ptb|end:no|parameters:0.85,0.2,0.6,0.75|weights:1.0,0.6,0.8,0.6|beam:3|alpha:0.7|version:1"
    assert str(signature_of("ref_clip_score", version="1")) == "RefCLIPScore|w:2.5|prompt:A+photo+depicts+|version:1"


def test_a_metric_of_ones_own_goes_by_its_class() -> None:
    class Mine:
        max_n = 1

    assert str(signature_of(Mine(), version="2")) == "Mine|tok:ptb|end:no|version:2"


def test_sums_are_read_back_in_any_order_of_fields() -> None:
    one, other = Signature("A", {"version": "1", "tok": "ptb", "function": "module:name"}), Signature("B", {"weight": "0.5"})
    text = joined([one, other])
    assert text == "A|function:module:name|tok:ptb|version:1 + B|weight:0.5"
    assert parse(text) == [one, other] and parse("A|version:1|tok:ptb|function:module:name") == [one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A|tok", "expected NAME|key:value"),
        ("A|tok:ptb|tok:ptb", "each key once"),
        ("A|sigm:6.0", "there is no field sigm"),
        ("", "expected a text of one line"),
        ("A|tok:", "expected a text of one line"),
    ],
)
def test_what_is_no_signature(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("|", r"\|")):
        parse(text)
    with pytest.raises(ValueError, match="one line"):
        Signature("A", {"tok": "a|b"})


def test_numbers_of_references() -> None:
    assert number_of_references([["a"] * 5] * 2) == "5"
    assert number_of_references([["a"], ["a"] * 5, ["a"] * 3]) == "1-5"


def test_spider_counts_its_own_frequencies_without_ends() -> None:
    written = str(signature_of("spider", version="1", end=True, df="train", docs=8))
    assert written == f"SPIDEr|tok:ptb|end:no|df:train|docs:8|n:4|sigma:6.0|clip:yes|parser:{PARSER_VERSION}|version:1"


def test_what_reads_text_says_which_words_it_was_given_in_its_place() -> None:
    assert str(signature_of("chrf", version="1", text="ptb")) == "chrF|text:ptb|case:mixed|beta:2|nc:6|nw:0|space:no|version:1"
    assert str(signature_of("wer", version="1", text="ptb")) == "WER|tok:ptb|end:no|version:1"
