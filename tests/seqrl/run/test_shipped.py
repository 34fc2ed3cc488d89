from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqrl.run import checkpoint, shipped


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "package" / "tasks" / "painting" / "shipped" / "first"
    folder.mkdir(parents=True)
    (folder / checkpoint.WEIGHTS).write_bytes(b"")
    (folder / checkpoint.META).write_text("{}")
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_name_is_found_from_any_folder(package: Path) -> None:
    assert checkpoint.find(Path("shipped:first"), prefer_best=True) == package
    # As its folder does, without anything to resume from.
    assert checkpoint.find(package) == package


def test_an_unknown_name(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match="shipped:second: nothing of this name ships with the package; there is first"):
        checkpoint.find(Path("shipped:second"))
    os.remove(package / checkpoint.META)
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        checkpoint.find(Path("shipped:first"))
