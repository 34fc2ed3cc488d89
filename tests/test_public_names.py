"""What the packages offer at their top: it exists, is typed as it is, and costs nothing before it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    "seqrl",
    "seqrl.metrics",
    "seqrl.tasks.captioning",
    "seqrl.tasks.control",
    "seqrl.tasks.atari",
    "seqrl.tasks.attention",
    "seqrl.tasks.text",
]
SLOW = {"torch", "numpy", "numba", "transformers", "gymnasium", "accelerate"}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there_and_comes_from_where_the_types_say(name: str) -> None:
    package = importlib.import_module(name)
    tree = ast.parse((ROOT / name.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: part.module
        for block in tree.body
        if isinstance(block, ast.If)
        for part in block.body
        if isinstance(part, ast.ImportFrom)
        for alias in part.names
    }
    assert sorted(typed) == sorted(package.__all__)
    for public, module in typed.items():
        assert getattr(package, public) is getattr(importlib.import_module(str(module)), public)
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_unknown_names_are_refused_and_submodules_found(name: str) -> None:
    package = importlib.import_module(name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has .*" + package.__all__[-1]):
        _ = package.nothing
    with pytest.raises(ImportError):
        exec(f"from {name} import nothing", {})


def test_importing_a_package_loads_nothing_slow() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; print(*sorted({SLOW!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
