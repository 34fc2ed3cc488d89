"""How the modules hang together, beyond what import-linter holds."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"seqrl": ROOT / "seqrl", "seqrl.tasks": ROOT / "tasks", "seqrl.metrics": ROOT / "metrics"}
LINKS = {"tasks", "metrics", "configs"}  # in seqrl/


def _files() -> dict[str, Path]:
    """Give every module's file by its import name."""
    found = {}
    for name, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if not (name == "seqrl" and parts[0] in LINKS):
                found[".".join([name, *parts]).removesuffix(".__init__")] = path
    return found


def _imported(path: Path, modules: set[str]) -> set[str]:
    """Give the modules of ours that a file imports anywhere: at its top, within a function, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in inner}
    return found & modules


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = _files()
    assert {"seqrl.optimiser", "seqrl.tasks.control.task", "seqrl.metrics.cider", "seqrl.run"} <= set(files)
    graph = {name: _imported(path, set(files)) - {name} for name, path in files.items()}
    assert "seqrl.weights" in graph["seqrl.optimiser"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"expected no circle of imports, got {' <- '.join(error.args[1])}; move what both need below both") from None


def test_policies_act_in_environments_in_one_place() -> None:
    """`unroll` and `play` are the only loops; chatting takes a person's turns, opponents take one, and two wrap policies."""
    calls = {
        name
        for name, path in _files().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "act" and node.keywords
    }
    wrappers = {"seqrl.trainers.importance_weights", "seqrl.trainers.dagger", "seqrl.tasks.opponents"}
    assert calls == {"seqrl.rollout", "seqrl.tasks.control.chatting", *wrappers}
