"""METEOR against the Java program itself, where there is one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from seqrl.metrics.meteor import metric
from seqrl.metrics.meteor.paraphrases import english_paraphrases

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).parents[4] / "shared" / "data")) / "coco_metrics" / "captions_1000.json"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here, so there is nothing to compare with")
@pytest.mark.skipif(not DATA.is_file(), reason="the captions of coco-caption are not here; SEQRL_DATA says where they are")
def test_the_scores_of_java(monkeypatch: pytest.MonkeyPatch) -> None:
    from pycocoevalcap.meteor.meteor import Meteor as JavaMeteor

    monkeypatch.setattr(metric, "english_paraphrases", english_paraphrases)
    rows = json.loads(DATA.read_text())[:300]
    hypotheses = [row["test"] if isinstance(row["test"], str) else row["test"][0] for row in rows]
    references = [row["refs"] for row in rows]
    java = JavaMeteor()
    _, expected = java.compute_score(dict(enumerate(references)), {item: [text] for item, text in enumerate(hypotheses)})
    ours = metric.Meteor().score(hypotheses, references)
    assert (np.abs(ours - np.array(expected)) <= 1e-6).mean() >= 0.98
    assert ours.mean() == pytest.approx(np.mean(expected), abs=1e-3)
