"""Whatever stands in a file, its reader gives what it holds or says in a ValueError where it is wrong; hypothesis draws the files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqrl.metrics.score_files import read_pairs
from seqrl.metrics.text_files import json_lines_of, json_of, lines_of, table_of, text_of
from seqrl.metrics.tokenisations import character_tokenize
from seqrl.metrics.tokenize import ptb_tokenize

DRAWN = settings(max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MARKS = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@DRAWN
@given(mark=MARKS, body=st.binary(max_size=40))
def test_any_bytes_are_text_or_refused_with_their_place(mark: bytes, body: bytes) -> None:
    for read in (text_of, *(lambda data, place, parse=parse: parse(text_of(data, place), place) for parse in (json_of, json_lines_of))):
        try:
            read(mark + body, "FILE")
        except ValueError as error:
            assert str(error).startswith("FILE"), error
    try:
        text = text_of(mark + body, "FILE")
    except ValueError:
        return
    assert "\r" not in text and "\0" not in text and "\n".join(lines_of(text)) == text.removesuffix("\n")


@DRAWN
@given(values=st.lists(VALUES, max_size=4), ascii_only=st.booleans())
@example(values=["\ud800", {"\udfff": "\0"}], ascii_only=True)
def test_json_is_read_back(values: list[Any], ascii_only: bool) -> None:
    written = json.dumps(values, ensure_ascii=ascii_only)
    assert json_of(written, "FILE") == values
    lines = "\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
    assert [value for _, value in json_lines_of(lines, "FILE")] == values


@DRAWN
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4), delimiter=st.sampled_from(",\t"))
def test_tables_are_read_back(rows: list[list[str]], delimiter: str) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="\n").writerows([["id", "caption"], *rows])
    names, found = table_of(written.getvalue(), "FILE", delimiter)
    assert names == ["id", "caption"] and [list(row.values()) for _, row in found] == rows


@DRAWN
@given(
    hypotheses=st.binary(max_size=30) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ending=st.sampled_from(["txt", "json", "csv", "jsonl", "hyp"]),
)
def test_pairs_of_any_files_are_read_or_refused(tmp_path: Path, hypotheses: bytes, ending: str) -> None:
    one, other = tmp_path / f"one.{ending}", tmp_path / f"other.{ending}"
    one.write_bytes(hypotheses)
    other.write_bytes(hypotheses)
    try:
        pairs = read_pairs(one, other)
    except ValueError as error:
        assert "expected" in str(error) or "holds" in str(error) or "item" in str(error), error
        return
    assert len(pairs.keys) == len(pairs.hypotheses) == len(pairs.references) and all(pairs.references)


@pytest.mark.parametrize("split", [ptb_tokenize, character_tokenize])
@DRAWN
@given(text=st.text(max_size=30) | st.text("ab.,'-&;<>/()\"0123 \u0301\u2011\ud800\0\n", max_size=60))
@example(text="x" * 10_000)
@example(text="-(<&." * 2_000)
@example(text="\u0301" * 10_000)
def test_any_text_is_split_into_words_without_spaces(split: Any, text: str) -> None:
    words = split(text)
    assert all(word and not any(character in " \t\n\r" for character in word) for word in words)
    assert split(text) == words
