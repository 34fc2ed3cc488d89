"""Tests of METEOR's word lists: entries known by hand, and jars that are missing, cut short or another's."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from seqrl.metrics.meteor.resources import english_bases, english_synsets, function_words, meteor_folder


def test_entries_known_by_hand() -> None:
    synsets = english_synsets()
    assert len(synsets) == 147_306
    assert set(synsets["car"]) & set(synsets["automobile"])
    assert not set(synsets["car"]) & set(synsets["dog"])
    assert english_bases()["geese"] == ("goose",)
    assert english_bases()["axes"] == ("ax", "axis")
    assert {"the", ",", "-rrb-"} <= function_words()
    assert "dog" not in function_words()


def test_a_jar_that_is_missing_cut_or_another(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="reinstall"):
        function_words(tmp_path / "none.jar")
    whole = (meteor_folder() / "meteor-1.5.jar").read_bytes()
    (tmp_path / "cut.jar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut short"):
        function_words(tmp_path / "cut.jar")
    with zipfile.ZipFile(tmp_path / "other.jar", "w") as other:
        other.writestr("synonym/english.synsets", "odd\n")
    with pytest.raises(ValueError, match="pairs of lines"):
        english_synsets(tmp_path / "other.jar")
    with pytest.raises(ValueError, match=r"function/english\.words"):
        function_words(tmp_path / "other.jar")
