from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from seqrl.metrics.score_command import add_arguments, read_pairs, run

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
HYPOTHESES = ["A dog runs.", "two cats sleep"]
REFERENCES = [["a dog runs fast", "The dog is running."], ["two cats", "cats sleep"]]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_all_forms_read_the_same(tmp_path: Path) -> None:
    forms = [
        ("h.txt", "\n".join(HYPOTHESES) + "\n", "r.txt", "\n".join("\t".join(row) for row in REFERENCES)),
        ("h.json", HYPOTHESES, "r.json", REFERENCES),
        ("h.json", dict(zip("ab", HYPOTHESES, strict=True)), "r.json", {"b": REFERENCES[1], "a": REFERENCES[0], "c": ["more"]}),
        (
            "h.json",
            [{"image_id": index, "caption": text} for index, text in enumerate(HYPOTHESES)],
            "r.json",
            {"images": [], "annotations": [{"image_id": index, "caption": text} for index in (1, 0) for text in REFERENCES[index]]},
        ),
    ]
    for hypothesis_name, hypotheses, reference_name, references in forms:
        read = read_pairs(write(tmp_path / hypothesis_name, hypotheses), write(tmp_path / reference_name, references))
        assert read == (
            [["a", "dog", "runs"], ["two", "cats", "sleep"]],
            [[["a", "dog", "runs", "fast"], ["the", "dog", "is", "running"]], [["two", "cats"], ["cats", "sleep"]]],
        )


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [["a"], ["b"]], "h.json has 1 items, .*r.json 2"),
        ({"a": "x"}, {"b": ["x"]}, "no references for 'a'"),
        (["a", "b"], [["a"], []], "item 2 has no reference, or an empty one"),
        (["a", "b"], [["a"], ["."]], "item 2 has no reference, or an empty one"),
        (["a"], ["a"], "item 1: expected a list of texts, got str"),
        ([1], [["a"]], "item 1: expected text, got int 1"),
        ([], [], "holds no hypothesis"),
        ("{", [["a"]], "h.json: not JSON"),
        (3, [["a"]], "expected a list or a mapping, got int"),
        ([{"image_id": 1, "caption": "a"}] * 2, [["a"]], "'1' has 2 hypotheses"),
        ([{"image_id": 1}], [["a"]], "entry 1 lacks image_id or caption"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, hypotheses: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write(tmp_path / "h.json", hypotheses), write(tmp_path / "r.json", references))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_pairs(tmp_path / "absent.txt", tmp_path / "absent.txt")


def test_published_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = DATA / "coco_metrics" / "captions_1000.json"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    items = json.loads(source.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    files = [write(tmp_path / "h.json", [item["test"] for item in items]), write(tmp_path / "r.json", [item["refs"] for item in items])]
    assert run(parser.parse_args([*map(str, files), "--json", str(tmp_path / "out.json")])) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    published = {"cider_d": 0.600, "bleu1": 0.579, "bleu2": 0.404, "bleu3": 0.279, "bleu4": 0.191}
    assert {name: round(float(shown[name]), 3) for name in published} == published
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["scores"]["cider_d"]) == 1000
    assert sum(written["scores"]["cider_d"]) / 1000 == pytest.approx(written["corpus"]["cider_d"])
