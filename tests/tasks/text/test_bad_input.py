"""What is wrong with texts that people bring along: it is named with its place, and nothing of the rest is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqrl.tasks.text import DataConfig, Pairs, PolicyConfig, RewardConfig, TextConfig, TextTask, load_pairs
from seqrl.tasks.text.evaluation import score_replies
from seqrl.tasks.text.pair_files import read_aligned, read_json_pairs
from seqrl.tasks.text.rnnlg import Rnnlg
from seqrl.tasks.writing.decoded import Decoded

POLICY = PolicyConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, max_tokens=6)
BOM = b"\xef\xbb\xbf"


def domain(tmp_path: Path, test: bytes) -> Rnnlg:
    (tmp_path / "special_values.txt").write_bytes(BOM + b'{"none": ["none"], "dontcare": ["dontcare", "dont_care"]}')
    (tmp_path / "detect.pair").write_bytes(BOM + b'{"general": {"name": "SLOT_NAME"}, "binary": {}}')
    (tmp_path / "feat_template.txt").write_bytes(BOM + b"sv.name._1\r\nsv.pricerange._1\r\n")
    (tmp_path / "mapping.pair").write_bytes(BOM + b"kids\tkid -s\n")
    (tmp_path / "diner").mkdir()
    for name in ("train", "valid"):
        (tmp_path / "diner" / f"{name}.json").write_text('[["inform(name=chow)", "chow", "chow"]]')
    (tmp_path / "diner" / "test.json").write_bytes(test)
    return Rnnlg(tmp_path, "diner")


def test_byte_order_marks_are_no_part_of_any_text(tmp_path: Path) -> None:
    data = domain(tmp_path, BOM + b'[["inform(name=chow;price_range=cheap)", "chow is cheap", "chow"]]')
    assert data.pairs()["test"].prompts == ["inform SLOT_NAME SLOT_PRICERANGE"] and data.errors("SLOT_NAME", data.lines["test"][0].act) == (
        1,
        0,
        0,
    )
    (tmp_path / "a.jsonl").write_bytes(BOM + b'{"prompt": "hi", "reference": "hello"}\n')
    assert read_json_pairs(tmp_path / "a.jsonl") == Pairs(["hi"], [["hello"]], [f"{tmp_path / 'a.jsonl'}, line 1"])
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.txt").write_text("grüße\n", encoding=encoding)
        assert read_aligned(tmp_path / "a.txt", tmp_path / "a.txt").prompts == ["grüße"]


def test_an_unknown_slot_of_an_act_is_named_with_line_and_column(tmp_path: Path) -> None:
    rows = [["inform(name=chow)", "chow", "chow"], ["inform(name=chow;price_rang=cheap)", "chow is cheap", "chow"]]
    data = domain(tmp_path, json.dumps(rows, indent=1).encode())
    with pytest.raises(ValueError, match=r"test.json, line 8, column 18: there is no slot 'pricerang' in .*; did you mean 'pricerange'"):
        _ = data.lines


@pytest.mark.parametrize("name", ["special_values.txt", "detect.pair", "feat_template.txt", "mapping.pair", "diner/test.json"])
def test_what_is_no_utf8_is_named_with_file_and_line(name: str, tmp_path: Path) -> None:
    data = domain(tmp_path, b'[["inform(name=chow)", "chow", "chow"]]')
    content = (data.folder / name).read_bytes()
    (data.folder / name).write_bytes(content.replace(b"\xef\xbb\xbf", b"") + b"\n\xff")
    with pytest.raises(ValueError, match=rf"{name}, line \d+, character 1: expected UTF-8"):
        _ = Rnnlg(data.folder, "diner").lines


def test_json_lines_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "hi", "reference": "hello"}\n{"prompt": "\xe9", "reference": "x"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 2, character 13: expected UTF-8"):
        read_json_pairs(tmp_path / "a.jsonl")


@pytest.mark.parametrize("part", ["", "dev_", "test_"])
def test_files_of_different_length_are_refused_in_every_split(part: str, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    (tmp_path / "three.txt").write_text("one\ntwo\nthree\n")
    files = {f"{each}{side}": "two.txt" for each in ("", "dev_", "test_") for side in ("prompts", "references")}
    config = DataConfig(source="files", path=str(tmp_path), **(files | {f"{part}references": "three.txt"}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"three.txt: expected 2 lines, as .*two.txt has, got 3"):
        load_pairs(config)


def test_slots_that_nobody_has_learned_are_told(caplog: pytest.LogCaptureFixture) -> None:
    dev = Pairs(["inform SLOT_NAME", "inform SLOT_FOD"], [["SLOT_NAME"], ["SLOT_FOD"]])
    pairs = (["inform SLOT_NAME", "inform SLOT_FOOD"], ["SLOT_NAME is nice", "SLOT_FOOD is served"])
    task = TextTask(*pairs, "sentence_bleu", dev=dev, config=TextConfig(policy=POLICY))
    assert "dev: no training pair has these slots, so that no reply can say them: SLOT_FOD (pair 1)" in caplog.text
    policy = task.build_policy()
    assert len(task.reply(policy, ["inform SLOT_FOOD"])) == 1
    with pytest.raises(ValueError, match=r"prompt 1: no training pair has the slot SLOT_FOD; did you mean 'SLOT_FOOD'"):
        task.reply(policy, ["inform SLOT_NAME", "inform SLOT_FOD"])
    assert all(torch.isfinite(torch.tensor(list(task.evaluate(policy).values()))))


@pytest.mark.parametrize("references", [[["a"], [""]], [["a"], [" \t"]], [["a"], []]])
def test_an_empty_reference_is_named(references: Any) -> None:
    with pytest.raises(ValueError, match="pair 1: (an empty reference|expected at least one reference)"):
        TextTask(["x", "y"], references, "sentence_bleu", config=TextConfig(policy=POLICY))


def test_a_reply_of_padding_or_of_nothing_is_scored_and_shown(tmp_path: Path) -> None:
    weights = {
        "sentence_bleu": 1.0,
        "bleu4_smoothed": 1.0,
        "chrf": 0.01,
        "rouge_l": 1.0,
        "rouge1": 1.0,
        "slot_error": -1.0,
        "repetition": -1.0,
    }
    for pieces in (0, 300):
        config = TextConfig(data=DataConfig(source="files", pieces=pieces), policy=POLICY, reward=RewardConfig(metrics=weights))
        task = TextTask(["inform SLOT_NAME", "bye"], [["SLOT_NAME is nice"], ["bye now"]], config=config)
        padding = torch.full((2, 5), task.vocabulary.pad)
        ended = padding.clone()
        ended[:, 0] = task.vocabulary.end
        for tokens, length in ((padding, 5), (padding, 0), (ended, 1)):
            scores = task.reward.score(tokens, torch.full((2,), length), torch.arange(2))
            assert scores.isfinite().all() and scores[0] < task.reward.score(*_right(task))[0]
        part = task.splits["train"]
        replies = [Decoded([], True)] * 2
        found_metrics = score_replies(replies, part, task.vocabulary, list(weights), task.config.reward.settings)
        assert (
            all(torch.isfinite(torch.tensor(list(found_metrics.values()))))
            and found_metrics["length_ratio"] == 0
            and found_metrics["sentence_bleu"] == 0
        )


def _right(task: TextTask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    row = [*task.vocabulary.encode("SLOT_NAME is nice".split()), task.vocabulary.end]
    return torch.tensor([row]), torch.tensor([len(row)]), torch.tensor([0])
