"""pycocoevalcap's classes and ours side by side on the same calls."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from corpora import as_text, published, random_corpus
from pycocoevalcap import eval as theirs_eval
from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
from pycocoevalcap.cider.cider import Cider as TheirCider
from pycocoevalcap.rouge.rouge import Rouge as TheirRouge

from seqrl.metrics.by_name import METRICS
from seqrl.metrics.coco import Bleu, Cider, COCOEvalCap, Meteor, PTBTokenizer, Rouge, Spice
from seqrl.metrics.tokenize import ptb_tokenize

NEEDS_JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="needs java to run the official program")
BAD = {1: ["two  spaces", "a b"], 2: ["", "a dog"], 3: ["a", "a dog runs fast"], 4: ["", "x"]}
BAD_CAPTIONS = {1: ["a  two spaces"], 2: ["a dog"], 3: [""], 4: ["y z"]}


def needs(name: str) -> Any:
    return pytest.mark.skipif(name not in METRICS, reason=f"needs the metric {name}")


def calls() -> list[tuple[dict[Any, list[str]], dict[Any, list[str]]]]:
    found: list[tuple[dict[Any, list[str]], dict[Any, list[str]]]] = [(BAD, BAD_CAPTIONS)]
    for seed in range(3):
        hypotheses, references = random_corpus(seed)
        keys = [f"image {9 - n}" for n in range(len(hypotheses))]
        found.append(
            (dict(zip(keys, map(as_text, references), strict=True)), {k: [t] for k, t in zip(keys, as_text(hypotheses), strict=True)})
        )
    return found


def real_call(number: int = 200) -> tuple[dict[Any, list[str]], dict[Any, list[str]]]:
    hypotheses, references, _ = published()
    hypotheses, references = hypotheses[:number], references[:number]
    words = [" ".join(ptb_tokenize(text)) for text in hypotheses]
    return {n: [" ".join(ptb_tokenize(t)) for t in texts] for n, texts in enumerate(references)}, {n: [t] for n, t in enumerate(words)}


def check(ours: Any, theirs: Any) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert type(mine) is type(other)
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("call", [*calls(), "coco"], ids=["bad", "0", "1", "2", "coco"])
def test_the_same_calls_give_the_same_results(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gts, res = real_call() if call == "coco" else call
    check(Cider().compute_score(gts, res), TheirCider().compute_score(gts, res))
    check(Cider(None, None, 4, 2.0).compute_score(gts, res), TheirCider(None, None, 4, 2.0).compute_score(gts, res))
    check(Rouge().compute_score(gts, res), TheirRouge().compute_score(gts, res))
    for n in (4, 2):
        capsys.readouterr()
        theirs, printed = TheirBleu(n).compute_score(gts, res), capsys.readouterr().out
        check(Bleu(n).compute_score(gts, res), theirs)
        assert capsys.readouterr().out == printed
    assert Rouge().calc_score(res[next(iter(res))], gts[next(iter(res))]) == pytest.approx(
        TheirRouge().calc_score(res[next(iter(res))], gts[next(iter(res))]), abs=1e-6
    )


def test_names_are_the_same() -> None:
    assert [metric.method() for metric in (Bleu(), Rouge(), Cider(), Meteor(), Spice())] == ["Bleu", "Rouge", "CIDEr", "METEOR", "SPICE"]


def test_one_image_is_said_to_be_worth_nothing() -> None:
    gts, res = {1: ["a dog"]}, {1: ["a dog"]}
    with pytest.warns(RuntimeWarning, match="CIDEr of one image is 0"):
        check(Cider().compute_score(gts, res), TheirCider().compute_score(gts, res))


@pytest.mark.parametrize(
    ("gts", "res", "message"),
    [
        ({1: ["a"]}, {2: ["a"]}, "got only one of them for 1, 2"),
        ({}, {}, "at least one image"),
        ({1: ["a"]}, {1: ["a", "b"]}, "image 1: expected one caption and at least one reference, got 2 and 1"),
        ({1: []}, {1: ["a"]}, "got 1 and 0"),
        ({1: ["a"]}, {1: "a"}, "image 1: expected a list of strings for its caption"),
        ({1: [["a"]]}, {1: ["a"]}, "image 1: expected a list of strings for its references"),
    ],
)
def test_what_cannot_be_scored_is_named(gts: Any, res: Any, message: str) -> None:
    for metric in (Bleu(), Rouge(), Cider()):
        with pytest.raises(ValueError, match=message):
            metric.compute_score(gts, res)


CAPTIONS = {
    7: [{"caption": "A dog runs.", "id": 1}, {"caption": "The dog's\nrunning, isn't it?"}],
    3: [{"caption": "Two cats (asleep)!"}],
    5: [],
}


def test_captions_are_split_into_words() -> None:
    expected = {7: ["a dog runs", "the dog 's running is n't it"], 3: ["two cats -lrb- asleep -rrb-"]}
    assert PTBTokenizer().tokenize(CAPTIONS) == expected


@NEEDS_JAVA
@pytest.mark.slow
def test_the_tokenizer_agrees_with_java() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer as Theirs

    assert PTBTokenizer().tokenize(CAPTIONS) == Theirs().tokenize(CAPTIONS)


@needs("meteor")
@NEEDS_JAVA
@pytest.mark.slow
def test_meteor_agrees_with_java() -> None:
    from pycocoevalcap.meteor.meteor import Meteor as Theirs

    gts, res = real_call(1000)
    (corpus_score, scores), (their_corpus_score, their_scores) = Meteor().compute_score(gts, res), Theirs().compute_score(gts, res)
    assert type(scores) is type(their_scores) and type(corpus_score) is type(their_corpus_score)
    # Of some captions two alignments are equally good, and the Java program takes the other one; docs/metrics.md says how many.
    different = np.abs(np.array(scores) - their_scores) > 1e-6
    assert different.mean() <= 0.01 and abs(corpus_score - their_corpus_score) < 2e-4


@needs("spice")
def test_spice_has_the_official_form() -> None:
    gts = {2: ["a brown dog runs on the grass", "a dog"], 1: ["two cats"]}
    score, scores = Spice().compute_score(gts, {2: ["a brown dog"], 1: ["a boat"]})
    assert [set(each) for each in scores] == [{"All", "Object", "Relation", "Attribute", "Color", "Cardinality", "Size"}] * 2
    assert scores[0]["All"]["f"] == 0.0 < scores[1]["All"]["f"]  # sorted by id
    assert scores[1]["Color"] == {"pr": 1.0, "re": 1.0, "f": 1.0, "fn": 0, "numImages": 1, "fp": 0, "tp": 1}
    assert type(score) is np.float64 and score == pytest.approx(np.mean([each["All"]["f"] for each in scores]))


class Constant:
    """Stands for a metric that needs Java there."""

    def compute_score(self, gts: dict[Any, list[str]], res: dict[Any, list[str]]) -> tuple[float, list[float]]:
        return 0.5, [float(len(text[0])) for text in res.values()]

    def method(self) -> str:
        return "METEOR"


def test_the_whole_evaluation_is_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    captions = {n: [{"image_id": n, "caption": text}] for n, text in enumerate(("A dog runs.", "Two cats sleep", "a red car"))}
    references = {n: [{"image_id": n, "caption": text} for text in texts] for n, texts in enumerate(REFERENCES)}
    coco, found = SimpleNamespace(getImgIds=lambda: [2, 0, 1], imgToAnns=references), SimpleNamespace(imgToAnns=captions)
    from seqrl.metrics import coco as ours_module

    for module in (theirs_eval, ours_module):
        for name in ("Meteor", "Spice"):
            monkeypatch.setattr(module, name, Constant)
    monkeypatch.setattr(theirs_eval, "PTBTokenizer", PTBTokenizer)
    ours, theirs = COCOEvalCap(coco, found), theirs_eval.COCOEvalCap(coco, found)
    ours.params["image_id"] = theirs.params["image_id"] = [0, 2]
    theirs.evaluate()
    printed = [line for line in capsys.readouterr().out.splitlines() if re.fullmatch(r"\w+: \d+\.\d{3}", line)]
    ours.evaluate()
    assert len(printed) == 8 and printed == capsys.readouterr().out.splitlines()
    assert ours.eval.keys() == theirs.eval.keys() and list(ours.imgToEval) == list(theirs.imgToEval)
    for name in theirs.eval:
        assert ours.eval[name] == pytest.approx(theirs.eval[name], abs=1e-6)
    for mine, other in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        assert mine == pytest.approx(other, abs=1e-6)


REFERENCES = [["a dog runs fast", "The dog is running."], ["two cats", "cats sleep"], ["a red car is parked", "the car"]]

IMPORTED = """
import sys, time
start = time.process_time()
from seqrl.metrics.by_name import METRICS
from seqrl.metrics.coco import Cider
print(time.process_time() - start)
print(*{name.partition(".")[0] for name in sys.modules} & {"torch", "numba", "numpy", "transformers", "sacrebleu", "scipy"})
from seqrl.metrics import CiderD
import seqrl
print(*{name.partition(".")[0] for name in sys.modules} & {"torch", "numba", "transformers", "sacrebleu", "scipy"})
Cider().compute_score({1: ["a dog"], 2: ["a cat"]}, {1: ["a dog"], 2: ["a cat"]})
print("numba" in sys.modules, "torch" in sys.modules)
"""


def test_to_import_is_cheap() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    seconds, first, all_metrics, scored = done.stdout.splitlines()
    assert float(seconds) < 0.3 and first == all_metrics == "", done.stdout
    assert scored == "True False"
