"""A stranger's configuration and run: what is deep, large, packed or a pipe is refused at once, in few words."""

from __future__ import annotations

import io
import os
import time
import zipfile
from pathlib import Path

import pytest
import torch

from seqrl.run import checkpoint, integrity
from seqrl.run.cli import MOST_CHARACTERS, main
from seqrl.run.config import read_config
from seqrl.run.decode import decode
from seqrl.run.environment import write_environment
from seqrl.run.json_text import brief
from seqrl.run.listing import _last_metrics
from seqrl.run.log import read_metrics
from seqrl.run.yaml_text import parse_yaml, read_yaml

DEEP = "[" * 5_000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "its aliases stand for more than 500 values"),
        ("a: &a {b: *a}", "holds itself"),
        (DEEP, "nested too deeply"),
        ("[" + "1," * 1_000 + "]", "holds more than 500 values"),
        ("a: " + "9" * 5_000, "it is no value"),
        ("a: 0x" + "f" * 100_000, "expected a whole number of at most 64 bits, got a whole number of 400000 bits"),
        ("a: 2001-99-99", "it is no value: month must be in 1..12"),
        ("a: \0", "unacceptable character"),
    ],
    ids=["laughs", "itself", "deep", "many", "long", "long in hexadecimal", "date", "NUL"],
)
def test_yaml_that_is_made_to_take_long_is_refused_at_once(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqrl.run.yaml_text.MOST_NODES", 500)
    start = time.process_time()
    (tmp_path / "hostile.yaml").write_bytes(text.encode())
    assert main(["train", str(tmp_path / "hostile.yaml")]) == 2
    error = capsys.readouterr().err
    assert said in error and "hostile.yaml" in error and len(error) < 1000
    assert time.process_time() - start < 5


def test_aliases_in_reason_are_read() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a, e: 2}") == {"a": {"b": 1}, "c": [{"b": 1}] * 2, "d": {"b": 1, "e": 2}}


def test_large_files_and_pipes_are_no_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="pipe.yaml: expected a file, got a folder, a pipe"):
        read_config(tmp_path / "pipe.yaml")
    monkeypatch.setattr("seqrl.run.yaml_text.MOST_BYTES", 10)
    (tmp_path / "large.yaml").write_text("a: 1234567890")
    with pytest.raises(ValueError, match="at most 10 bytes, got 13"):
        read_yaml(tmp_path / "large.yaml")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "1e999", 10**400, "9" * 400])
def test_a_float_is_finite(value: object) -> None:
    with pytest.raises(ValueError, match="rate: expected"):
        decode(float, value, "rate")


def test_an_errors_text_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < MOST_CHARACTERS + 200


@pytest.mark.parametrize("content", [DEEP, "[" + "1" * 5_000 + "]", "[]", "\udcff"], ids=["deep", "long", "other", "no text"])
def test_json_in_a_run_is_refused_by_name(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("metrics.jsonl", "env.json", "meta.json"):
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ValueError, match="meta.json: "):
        checkpoint.read_meta(tmp_path)
    with pytest.raises(ValueError, match=r"metrics.jsonl\b.*: (not JSON|expected)"):
        read_metrics(tmp_path)
    assert _last_metrics(tmp_path).startswith("step 0")
    write_environment(tmp_path / "env.json", seed=0)  # nothing depends on it, so a damaged one is put aside
    assert ("env.json: expected" in capsys.readouterr().err) == (tmp_path / "aside_env.json").exists() == (content != "[]")


def packed_again(data: bytes, compression: int, extra: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member) + bytes(extra if member.filename.endswith("data/0") else 0))
    return out.getvalue()


def test_a_state_that_would_grow_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.STATE
    torch.save({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    assert checkpoint.load_state(tmp_path)["a"].shape == (1000,)
    path.write_bytes(packed_again(whole, zipfile.ZIP_DEFLATED, extra=10**6))
    with pytest.raises(ValueError, match=r"trainer.pt: damaged \(its \d+ bytes stand for 10\d+"):
        checkpoint.load_state(tmp_path)
    assert "it is packed" in str(integrity._unreadable(tmp_path))
    path.write_bytes(b"\x80\x02}q\x00.")  # the form before zip files, which nobody here writes
    with pytest.raises(ValueError, match="trainer.pt: damaged"):
        checkpoint.load_state(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="trainer.pt: expected a file"):
        checkpoint.load_state(tmp_path)


def test_what_is_quoted_stays_short() -> None:
    assert len(brief("x" * 10**6)) <= 210 and len(brief(16**10_000)) < 100 and brief([1, "a"]) == "[1, 'a']"
