"""Pairs of texts: where they come from, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from seqrl.tasks.text.data_config import DataConfig, load_pairs
from seqrl.tasks.text.pair_files import read_aligned, read_json_pairs
from seqrl.tasks.text.pairs import Pairs, merged
from seqrl.tasks.text.restaurant import RestaurantConfig, builtin_pairs


def test_builtin_acts_are_said_in_six_ways_with_their_slots() -> None:
    parts = builtin_pairs(RestaurantConfig(seed=3))
    acts = [set(part.prompts) for part in parts.values()]
    assert sum(map(len, acts)) == len(set.union(*acts)) > 250 and [len(part) for part in parts.values()][:2] == [40, 40]
    for part in parts.values():
        for act, references in zip(part.prompts, part.references, strict=True):
            assert len(set(references)) == 6
            wanted = sorted(word for word in act.split() if word.startswith("SLOT_"))
            for text in references:
                assert sorted(word for word in text.split() if word.startswith("SLOT_")) == wanted, (act, text)
                assert ("kid" in text or "children" in text) == ("kidsallowed" in act)
    assert builtin_pairs(RestaurantConfig(seed=3)) == parts
    with pytest.raises(ValueError, match="fewer than .* acts"):
        builtin_pairs(RestaurantConfig(num_dev=150, num_test=150))


def test_aligned_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    pairs = read_aligned(tmp_path / "a.txt", tmp_path / "b.txt.gz")
    assert pairs.prompts == ["one", "two"] and pairs.references == [["eins"], ["zwei"]]
    config = DataConfig(source="files", path=str(tmp_path), prompts="a.txt", references="b.txt.gz", num_dev=1)
    assert [list(part.prompts) for part in load_pairs(config).values()] == [["one"], ["two"], []]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"eins\n", "b.txt: expected 2 lines, as .*a.txt has, got 1"),
        (b"eins\n \n", "b.txt, line 2: an empty reference"),
        (b"eins\nzw\xffei\n", "b.txt, line 2, character 3: expected UTF-8"),
    ],
)
def test_wrong_files_are_refused_by_line(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        read_aligned(tmp_path / "a.txt", tmp_path / "b.txt")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n")[:-6])
    with pytest.raises(ValueError, match="a.txt.gz: expected a gzip file"):
        read_aligned(tmp_path / "a.txt.gz", tmp_path / "a.txt.gz")
    with pytest.raises(FileNotFoundError, match="c.txt: no such file"):
        read_aligned(tmp_path / "c.txt", tmp_path / "a.txt.gz")


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"prompt": ["hi", "hello"], "references": ["good day", "yes"]}, {"prompt": "bye", "reference": "goodbye"}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    pairs = read_json_pairs(path)
    assert pairs.prompts == ["hi | hello", "bye"] and pairs.references == [["good day", "yes"], ["goodbye"]]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a"}, "line 1: expected .*references"),
        ({"prompt": "a", "references": "b"}, "line 1: expected references as a list"),
        ({"prompt": 3, "references": ["b"]}, "line 1: expected a prompt as a text or a list of turns"),
        ({"prompt": "a", "references": []}, "line 1: expected at least one reference"),
        ({"prompt": "a", "references": ["b", ""]}, "line 1: an empty reference"),
    ],
)
def test_wrong_json_lines_are_refused(row: object, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=problem):
        read_json_pairs(tmp_path / "a.jsonl")


def test_settings_that_nobody_reads_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts: source builtin does not read it"):
        DataConfig(prompts="a.txt")
    with pytest.raises(ValueError, match="source: expected one of builtin, files, jsonl, rnnlg, got"):
        DataConfig(source="file")
    with pytest.raises(ValueError, match="needs pairs"):
        load_pairs(DataConfig(source="jsonl", path="."))


def test_equal_prompts_are_put_together() -> None:
    assert merged([("a", "1"), ("b", "2"), ("a", "3")]) == Pairs(["a", "b"], [["1", "3"], ["2"]])
    with pytest.raises(ValueError, match="2 prompts and 1 lists"):
        Pairs(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="pair 0: expected a list of references, got the text 'one'"):
        Pairs(["a"], ["one"])
