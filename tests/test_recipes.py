"""CONTRIBUTING.md's two recipes, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("seqrl", "tasks", "metrics"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def follow(recipe: str, folder: Path) -> list[Path]:
    """Write the files, insert the lines and run the commands of a recipe; give the files written."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(rf"^## Recipe: {recipe}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"CONTRIBUTING.md has no recipe for {recipe}"
    written = []
    for language, name, body in BLOCK.findall(section[1]):
        if language == "sh":
            for line in body.splitlines():
                run(line, folder)
        elif language == "diff":
            insert(body, folder / name)
        else:
            path = folder / name
            assert not path.exists(), f"{name} exists already; the recipe needs another example"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
            written.append(path)
    return written


def insert(body: str, path: Path) -> None:
    """Put each line with a plus behind the line above it, which the file must hold once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    place = 0
    for line in body.splitlines():
        if line.startswith("+"):
            place += 1
            lines.insert(place, line[1:])
        else:
            assert lines.count(line[1:]) == 1, f"{path.name} does not hold the line {line[1:]!r} exactly once"
            place = lines.index(line[1:])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(line: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def in_house_style(files: list[Path], folder: Path) -> None:
    names = " ".join(str(path) for path in files if path.suffix == ".py")
    run(f"ruff format --check {names} && ruff check {names}", folder)


def test_a_metric(copy: Path) -> None:
    in_house_style(follow("a metric", copy), copy)


def test_a_task(copy: Path) -> None:
    in_house_style(follow("a task", copy), copy)
    lines = [json.loads(line) for line in (copy / "runs/sorting/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = [line["dev/places_right"] for line in lines if "dev/places_right" in line]
    assert scores[0] < 0.3
    assert scores[-1] > 0.95
    assert list((copy / "runs/sorting").rglob("sorted.txt"))
