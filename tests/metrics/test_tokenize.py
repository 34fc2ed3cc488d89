from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from corpora import needed

from seqrl.metrics.tokenize import ptb_tokenize

GOLDEN = json.loads(Path(__file__).with_name("ptb_golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_hard_cases_give_the_words_of_the_java_program(row):
    assert ptb_tokenize(row["caption"]) == row["words"]


def test_plain_captions():
    assert ptb_tokenize("A man's dog can't swim , it sinks .") == "a man 's dog ca n't swim it sinks".split()
    assert ptb_tokenize("Two dogs, one cat.") == ["two", "dogs", "one", "cat"]
    assert ptb_tokenize("It is on Main st.") == ["it", "is", "on", "main", "st."]
    assert ptb_tokenize("They cannot see") == ["they", "can", "not", "see"]
    assert ptb_tokenize("a line\nbroken") == ["a", "line", "broken"]
    assert ptb_tokenize("") == ptb_tokenize(" ... !") == []


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["coco", "flickr8k"])
def test_agrees_with_java_on_real_captions(corpus):
    if shutil.which("java") is None:
        pytest.skip("needs java to run the official tokeniser")
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if corpus == "coco":
        annotations = json.loads(needed("coco_metrics/captions_val2017.json").read_text())["annotations"]
        captions = [row["caption"].replace("\n", " ") for row in annotations]
    else:
        captions = [line.split("\t", 1)[1] for line in needed("flickr8k/captions.token.txt").read_text().splitlines()]
    official = PTBTokenizer().tokenize({place: [{"caption": caption}] for place, caption in enumerate(captions)})
    different = [c for place, c in enumerate(captions) if ptb_tokenize(c) != official[place][0].split()]
    # the Java program looks at the first word of the next caption after a single letter and a period
    assert len(different) <= 5, different
