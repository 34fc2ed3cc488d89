"""What a file of results says about where it comes from."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A small repository of its own with the script in it."""
    script = (ROOT / "benchmarks" / "provenance.py").read_text()
    # Python leaves compiled files behind unless it is told not to.
    for name, text in (("benchmarks/provenance.py", script), ("seqrl/__init__.py", ""), (".gitignore", "__pycache__/\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    spec = importlib.util.spec_from_file_location("provenance_of_test", tmp_path / "benchmarks" / "provenance.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "check_source", lambda: None)
    return module


def test_commit_and_clean_tree(tree: ModuleType, tmp_path: Path) -> None:
    facts = tree.provenance([0, 2], command=["benchmarks/x.py", "--seeds", "0,2"], threads=1)
    assert set(facts) == set(tree.FIELDS)
    assert facts["commit"] == git(tmp_path, "rev-parse", "HEAD") and facts["clean"] is True and facts["seeds"] == [0, 2]
    assert facts["cpu"].keys() == {"model", "cores", "bf16", "amx"} and facts["versions"].keys() >= {"python", "torch", "numpy"}
    assert facts["command"] == "python benchmarks/x.py --seeds 0,2"
    tree.write_results(tmp_path / "benchmarks" / "results" / "x.json", facts)
    assert json.loads((tmp_path / "benchmarks" / "results" / "x.json").read_text()) == facts
    assert tree.provenance([0], threads=1)["clean"] is True  # what was measured does not count as a change
    tree.require_clean()


@pytest.mark.parametrize("name", ["seqrl/__init__.py", "seqrl/new.py"])
def test_changed_and_new_files_make_it_dirty(tree: ModuleType, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("changed = True\n")
    assert tree.provenance([0], threads=1)["clean"] is False
    with pytest.raises(SystemExit, match=name):
        tree.require_clean()
    tree.require_clean(allow_dirty=True)


def test_outside_of_git_nothing_is_claimed(tree: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".git").rename(tmp_path / "gone")
    facts = tree.provenance([0], threads=1)
    assert facts["commit"] is None and facts["clean"] is None


def test_command_names_no_folder_of_one_machine(tree: ModuleType, tmp_path: Path) -> None:
    command = [str(tmp_path / "benchmarks" / "x.py"), "--peer", "/home/me/peer", "--output=/tmp/out.json", "--rate=1e-3"]
    assert tree.shown_command(command) == "python benchmarks/x.py --peer peer --output=out.json --rate=1e-3"


def test_another_copy_of_the_package_is_refused(tree: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="PYTHONPATH"):
        tree.check_source()
