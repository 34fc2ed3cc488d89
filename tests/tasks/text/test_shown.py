"""Replies before and after a training beside each other, slots marked, and counted where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.run import inspect_run
from seqrl.run.config import read_config
from seqrl.run.train import train
from seqrl.tasks.text import Pairs, PolicyConfig, TextConfig, TextTask
from seqrl.tasks.text.shown import Written, write_replies
from seqrl.tasks.text.slots import Slots

PAIRS = Pairs(
    ["inform SLOT_NAME SLOT_FOOD", "where is it <b>"], [["SLOT_NAME serves SLOT_FOOD", "SLOT_FOOD at SLOT_NAME"], ["it is in SLOT_AREA"]]
)
SLOTS = Slots.of("SLOT_", PAIRS)


def test_slots_are_told_apart_by_hand() -> None:
    assert SLOTS.known == {"SLOT_NAME", "SLOT_FOOD", "SLOT_AREA"}
    # A prompt that names none asks for those of its references.
    assert [SLOTS.wanted(*each) for each in zip(PAIRS.prompts, PAIRS.references, strict=True)] == [
        {"SLOT_NAME", "SLOT_FOOD"},
        {"SLOT_AREA"},
    ]
    assert (
        SLOTS.marked("SLOT_NAME in SLOT_AREA SLOT_FO xSLOT_NAME", {"SLOT_NAME"}) == "[SLOT_NAME] in [SLOT_AREA?] [SLOT_FO!] [xSLOT_NAME!]"
    )
    replies = ["SLOT_NAME in SLOT_AREA".split(), "in SLOT_AREA SLOT_".split()]
    assert SLOTS.metrics(replies, PAIRS) == {"unknown_slots": 1 / 2, "broken_slots": 1 / 2}
    plain = Slots.of("SLOT_", Pairs(["a"], [["b"]]))
    assert plain.metrics([["a", "SLOT_X"]], Pairs(["a"], [["b"]])) == {} and plain.marked("SLOT_X") == "SLOT_X"


def test_before_and_after_stand_beside_each_other(tmp_path: Path) -> None:
    columns = {
        "before": Written(["SLOT_NAME", "no"], [0.25, 0]),
        "after": Written(["SLOT_NAME serves SLOT_FOOD", "in SLOT_NAME"], [1, 0.5]),
    }
    text, page, lines = write_replies(PAIRS, columns, SLOTS, tmp_path)
    shown = text.read_text().splitlines()
    assert shown[:5] == [
        "input      inform [SLOT_NAME] [SLOT_FOOD]",
        "reference  [SLOT_NAME] serves [SLOT_FOOD]",
        "reference  [SLOT_FOOD] at [SLOT_NAME]",
        "before     [SLOT_NAME]  0.250  (left out: SLOT_FOOD)",
        "after      [SLOT_NAME] serves [SLOT_FOOD]  1.000",
    ]
    assert "after      in [SLOT_NAME?]  0.500  (left out: SLOT_AREA)" in shown
    html = page.read_text()
    assert "<th>input</th><th>references</th><th>before</th><th>after</th>" in html and "&lt;b&gt;" in html and "<b>" not in html
    assert '<mark class="unknown">SLOT_NAME</mark>' in html and "left out: SLOT_FOOD" in html
    first = json.loads(lines.read_text().splitlines()[0])
    assert first["before"] == "SLOT_NAME" and first["after_score"] == 1 and first["references"] == list(PAIRS.references[0])


def test_what_is_shown_is_what_was_paid(tmp_path: Path) -> None:
    config = TextConfig(policy=PolicyConfig(dim=16, num_layers=1, num_heads=2, max_tokens=6))
    task = TextTask(PAIRS.prompts, PAIRS.references, {"sentence_bleu": 1.0, "slot_error": -0.5}, config=config)
    torch.manual_seed(0)
    path = task.keep_samples(task.build_policy(), tmp_path / "samples", before=task.build_policy())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.name == "samples.jsonl" and [row["prompt"] for row in rows] == list(PAIRS.prompts)
    for row in rows:
        bleu, slots = (_metric(name, row["after"], row["references"]) for name in ("sentence_bleu", "slot_error"))
        assert row["after_score"] == pytest.approx(bleu - 0.5 * slots)


def _metric(name: str, reply: str, references: list[str]) -> float:
    from seqrl.metrics.by_name import metric_by_name

    metric: Any = metric_by_name(name, **({"prefix": "SLOT_"} if name == "slot_error" else {}))
    return float(metric.score([reply], [references])[0])


def test_a_run_shows_what_it_started_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "first.yaml").write_text(
        "name: first\nnum_updates: 1\nnum_threads: 1\ntask: {type: text, policy: {dim: 16, num_layers: 1, max_tokens: 6}, data: {max_pairs: 4}}\n"
        "trainer: {type: supervised, optimiser: {precision: fp32}}\n"
    )
    runs = f"--runs_folder={tmp_path}"
    train(read_config(tmp_path / "first.yaml", [runs]), display=False)
    train(read_config(tmp_path / "first.yaml", [runs, "--name=second", f"--init_from={tmp_path / 'first'}"]), display=False)
    text, *_ = inspect_run.sample(tmp_path / "second", count=2)
    assert text.read_text().count("before     ") == text.read_text().count("after      ") == 2
    inspect_run.evaluate(tmp_path / "second")
    kept = [json.loads(line) for line in (tmp_path / "second" / "evaluation_dev_samples.jsonl").read_text().splitlines()]
    assert len(kept) == 4 and {"prompt", "references", "before", "after"} <= set(kept[0])
    text, *_ = inspect_run.sample(tmp_path / "first", count=1)
    assert "output     " in text.read_text()
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    text, *_ = inspect_run.sample(tmp_path / "second", count=1)
    assert "output     " in text.read_text() and "what the run started from is not shown" in caplog.text
