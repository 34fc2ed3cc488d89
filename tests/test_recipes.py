"""CONTRIBUTING.md's recipes, followed to the letter: those of the package in a copy of the project, the others in a folder of one's own.

The exercises of docs/strangers.md are followed as well.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqrl.run.cli import main
from seqrl.run.log import read_metrics

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "runs", "shared", "build", "__pycache__", "*.egg-info", ".*cache*")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The whole project."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=NOT_COPIED)
    return folder


def follow(recipe: str, folder: Path, run: Callable[[str, Path], None], page: str = "CONTRIBUTING.md") -> list[Path]:
    """Write the files, insert the lines and run the commands of a recipe or an exercise; give the files written."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = re.search(rf"^## (?:Recipe|Exercise): {recipe}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"{page} has no section about {recipe}"
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


def in_subprocess(line: str, folder: Path, timeout: int = 240) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(folder), "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def in_house_style(files: list[Path], folder: Path) -> None:
    names = " ".join(str(path) for path in files if path.suffix == ".py")
    settings = f"--config {ROOT / 'pyproject.toml'} --config 'lint.isort.known-first-party = [\"seqrl\"]'"
    in_subprocess(f"ruff format {settings} --check {names}", folder)
    in_subprocess(f"ruff check {settings} {names}", folder)


@pytest.mark.slow
def test_a_metric(copy: Path) -> None:
    in_house_style(follow("a metric", copy, in_subprocess), copy)


@pytest.mark.slow
def test_a_task(copy: Path) -> None:
    in_house_style(follow("a task", copy, in_subprocess), copy)
    run = copy / "runs" / "sorting_reinforce"
    scores = [line["dev/places_right"] for line in read_metrics(run) if "dev/places_right" in line]
    assert scores[0] < 0.3
    assert scores[-1] > 0.95
    assert json.loads((run / "evaluation_test.json").read_text(encoding="utf-8"))["figures"]["places_right"] > 0.95


@pytest.mark.parametrize("recipe", ["a trainer", "a policy"])
def test_in_a_folder_of_ones_own(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Fewer pictures to look at; nothing else is changed.
    small = [f"--task.data.scenes.num_{split}=12" for split in ("dev", "test")]

    def in_process(line: str, folder: Path) -> None:
        name, *arguments = shlex.split(line)
        assert name == "seqrl" and main([*arguments, *(small if "--task.data.scenes" in line else [])]) == 0, line

    in_house_style(follow(recipe, tmp_path, in_process), tmp_path)


def test_the_strangers_exercises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def two_updates(line: str, folder: Path) -> None:
        name, command, *arguments = shlex.split(line)
        control = ["--task.num_eval_episodes=2", "--task.max_episode_steps=20"] if "cartpole" in line else []
        less = [*control, "--num_updates=2", "--eval_every=2"] if command == "train" else []
        assert name == "seqrl" and main([command, *arguments, *less]) == 0, line

    files = [file for part in ("a task", "a trainer", "a policy") for file in follow(part, tmp_path, two_updates, "docs/strangers.md")]
    in_house_style(files, tmp_path)
    assert read_metrics(tmp_path / "runs" / "rloo")[-1]["step"] == 2


@pytest.mark.slow
def test_the_checks_are_green_after_all_recipes(copy: Path) -> None:
    for recipe in ("a metric", "a task", "a trainer", "a policy"):
        follow(recipe, copy, in_subprocess)
    # A new metric can be watched.
    small = "--num_updates=1 --eval_every=1 " + " ".join(f"--task.data.scenes.num_{split}=12" for split in ("train", "dev", "test"))
    in_subprocess(f"seqrl train scenes_xe --name=watched --early_stop.metric=unigram_f1 {small}", copy)
    assert any("dev/best_unigram_f1" in line for line in read_metrics(copy / "runs" / "watched"))
    shutil.rmtree(copy / "runs")
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    for check in ("ruff format --check .", "ruff check .", "lint-imports", "mypy"):
        in_subprocess(check, copy, timeout=900)
    # Of the metrics' tests those that the new one is in: what is parametrised over METRICS has its name, and one makes them all.
    with_new = "'unigram_f1 or make_every_metric'"
    for tests in ("tests/test_docs.py tests/test_public_names.py tests/test_configs.py", f"tests/metrics -k {with_new}"):
        in_subprocess(f"python -m pytest -q -p no:cacheprovider -m 'not slow' {tests}", copy, timeout=1800)
