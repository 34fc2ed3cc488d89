"""Tests of the table of paraphrases: what stands for what, and a cache that is missing, cut short or of another table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seqrl.metrics.meteor import paraphrases
from seqrl.metrics.meteor.paraphrases import Paraphrases, load_paraphrases, phrase_hash

Writer = Callable[..., Path]


def _others(table: Paraphrases, phrase: str) -> set[tuple[int, int]]:
    number = _number(table, phrase)
    found = table.arrays.others[table.arrays.starts[number] : table.arrays.starts[number + 1]]
    return {(int(other) >> 1, int(other) & 1) for other in found}


def _number(table: Paraphrases, phrase: str) -> int:
    wanted = phrase_hash([table.numbers[word] for word in phrase.split()])
    return int(table.arrays.phrases[int(np.flatnonzero(table.arrays.slots == np.uint64(wanted))[0])])


def test_each_pair_stands_in_both_directions(write_table: Writer, tmp_path: Path) -> None:
    table = load_paraphrases(write_table(tmp_path / "table.gz"), tmp_path)
    assert table.arrays.max_words == 3
    assert _others(table, "before") == {(_number(table, "in front of"), 1)}
    assert _others(table, "many") == {(_number(table, "a lot of"), 0)}
    assert _others(table, "child") == {(_number(table, "kid"), 0)}


def test_many_phrases_are_all_found_again(write_table: Writer, tmp_path: Path) -> None:
    pairs = [(f"w{k % 50} v{k}", f"u{k}") for k in range(2000)]
    table = load_paraphrases(write_table(tmp_path / "table.gz", pairs), tmp_path)
    for one, other in pairs:
        assert _others(table, one) == {(_number(table, other), 0)}
        # each hash stands where a search from its lowest bits on finds it
        place = phrase_hash([table.numbers[word] for word in one.split()])
        slot = place % len(table.arrays.slots)
        while table.arrays.slots[slot] != np.uint64(place):
            assert table.arrays.slots[slot] != 0
            slot = (slot + 1) % len(table.arrays.slots)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "byte"])
def test_a_damaged_cache_is_made_again(write_table: Writer, tmp_path: Path, damage: str) -> None:
    source = write_table(tmp_path / "table.gz")
    first = load_paraphrases(source, tmp_path)
    path = next(tmp_path.glob("*.bin"))
    whole = path.read_bytes()
    path.unlink()  # what is mapped must not be cut
    byte = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    path.write_bytes({"byte": byte, "cut": whole[:-70], "empty": b"", "other": b"x" * len(whole)}[damage])
    again = load_paraphrases(source, tmp_path)
    assert again.numbers == first.numbers
    np.testing.assert_array_equal(again.arrays.others, first.arrays.others)
    assert path.read_bytes() == whole


def test_two_processes_make_the_index_once(write_table: Writer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_table(tmp_path / "table.gz")
    making, release, made = threading.Event(), threading.Event(), []

    def slow(table: Path, path: Path) -> dict[str, NDArray[Any]]:
        made.append(path)
        making.set()
        assert release.wait(10)
        return make(table, path)

    make = paraphrases._make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paraphrases, "_make", slow)
        threads = [threading.Thread(target=load_paraphrases, args=(source, tmp_path)) for _ in range(2)]
        threads[0].start()
        assert making.wait(10)
        threads[1].start()  # waits for the lock, which belongs to an open file, so threads show it as processes do
        threads[1].join(0.1)
        assert threads[1].is_alive()
        release.set()
        for thread in threads:
            thread.join(10)
    assert len(made) == 1
    assert capfd.readouterr().err.count("reading table.gz once") == 1


def test_another_table_has_a_cache_of_its_own(write_table: Writer, tmp_path: Path) -> None:
    load_paraphrases(write_table(tmp_path / "table.gz"), tmp_path)
    assert "dog" in load_paraphrases(write_table(tmp_path / "table.gz", [("dog", "hound")]), tmp_path).numbers


def test_a_table_that_is_missing_or_cut(write_table: Writer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="reinstall"):
        load_paraphrases(tmp_path / "none.gz", tmp_path)
    path = write_table(tmp_path / "table.gz", [(f"a{k}", f"b{k}") for k in range(500)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut short"):
        load_paraphrases(path, tmp_path)


def test_a_cache_that_cannot_be_written(write_table: Writer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_table(tmp_path / "table.gz")
    (tmp_path / "file").write_text("")
    assert "before" in load_paraphrases(source, tmp_path / "file").numbers
    assert "set SEQRL_CACHE" in caplog.text
