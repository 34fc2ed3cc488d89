from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from seqrl.metrics.text_files import json_lines_of, lines_of, read_json, read_text, table_of

TEXT = "é dog\n\n狗\u2028 runs\x0b\x85\n😀"
ENCODED = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16, little end first": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16, big end first": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "utf-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "windows": TEXT.replace("\n", "\r\n").encode(),
    "old macintosh": TEXT.replace("\n", "\r").encode(),
    "windows in utf-16": codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    "with a last end": (TEXT + "\n").encode(),
}


@pytest.mark.parametrize("name", ENCODED)
def test_lines_are_the_same_in_every_encoding(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(ENCODED[name])
    assert lines_of(read_text(tmp_path / "a.txt")) == ["é dog", "", "狗\u2028 runs\x0b\x85", "😀"]


def test_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content, lines in ((b"", []), (codecs.BOM_UTF16_LE, []), (b"\n", [""]), (b"\r\n\r\n", ["", ""])):
        path.write_bytes(content)
        assert lines_of(read_text(path)) == lines
        assert json_lines_of(read_text(path), str(path)) == [] and table_of(read_text(path), str(path), ",") == ([], [])
        with pytest.raises(ValueError, match="a.txt: expected JSON, got an empty file"):
            read_json(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a dog\nthe caf\xe9\n", r"a\.txt, line 2, character 8: expected UTF-8 text, got the byte 0xe9"),
        (b"a\r\nb\r\n\xff", r"line 3, character 1: expected UTF-8"),
        ("狗\xe9".encode() + b"\xe7\x8b", r"line 1, character 3: expected UTF-8 text, got the byte 0xe7"),
        (codecs.BOM_UTF16_LE + b"a\0b", r"line 1, character 2: expected UTF-16-LE text"),
        ("dog\n".encode("utf-16-le"), r"line 1, character 2: expected text, got a NUL; UTF-16 needs a byte order mark"),
    ],
)
def test_bytes_that_are_no_text(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_text(tmp_path / "a.txt")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent.txt: no such file"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(ValueError, match="expected a file, got a folder"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1,\n "b": {"c": [1, {"c": 2}], "d": "}\\"{"},\n "a": 3}', "'a' stands in line 1 and again in line 3"),
        ('[{"a": 1}, {"b": 1,\n"b": 2}]', "'b' stands in line 1 and again in line 2"),
        ('{"é": 1, "\\u00e9": 2}', "'é' stands in line 1 and again in line 1"),
        ('{"a": 1,\n 2}', r"line 2, character 2: expected JSON"),
    ],
)
def test_json_that_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "a.json")


def test_json_lines_name_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n[2]\n')
    assert json_lines_of(read_text(path), str(path)) == [(f"{path}, line 1", {"a": 1}), (f"{path}, line 3", [2])]
    path.write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(ValueError, match="line 2: the key 'a' stands there twice"):
        json_lines_of(read_text(path), str(path))


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'image,caption\r\na,"red, blue ""and"" green"\r\n\r\nb,"two\r\nlines"\r\nc,six inches (6")\r\n')
    assert table_of(read_text(path), str(path), ",") == (
        ["image", "caption"],
        [
            (f"{path}, line 2", {"image": "a", "caption": 'red, blue "and" green'}),
            (f"{path}, line 4", {"image": "b", "caption": "two\nlines"}),
            (f"{path}, line 6", {"image": "c", "caption": 'six inches (6")'}),
        ],
    )
    for content, said in (
        ("a,b,a\n", "every column once, got 'a' twice: in .*line 1, column 1, and again in .*line 1, column 3"),
        ("a,b\n1\n", "line 2: expected 2 cells"),
        ('a,b\n1,"x\n2,y\n', "line 2: .*close the quotes"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=said):
            table_of(read_text(path), str(path), ",")
