"""docs/matrix.md says what the cells say, and the README's table no more than that."""

from __future__ import annotations

import re

import matrix_page as page
import pytest
import yaml
from matrix_cells import VARIANTS, missing, trainers
from matrix_kinds import KINDS

README = (page.ROOT / "README.md").read_text(encoding="utf-8")
# What each column of the README's table is about.
COLUMNS = (
    ("captions", "captions_critic"),
    ("glimpses", "glimpses_early"),
    ("cartpole_steps", "cartpole_episodes", "cartpole_shown", "self_play"),
    ("numbers_steps", "numbers_episodes", "table_steps", "table_episodes"),
)


def test_the_page_is_what_the_cells_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "`python tests/matrix/matrix_page.py` writes it anew"


def test_each_measurement_is_in_its_file_and_of_that_trainer() -> None:
    configs = {path.stem: path for path in (page.ROOT / "configs").rglob("*.yaml")}
    for (trainer, kind), (file, name) in page.MEASURED.items():
        assert name in (page.ROOT / "benchmarks" / "results" / file).read_text(encoding="utf-8"), (file, name)
        assert trainer in trainers() and page.cell(trainer, kind).startswith("[measured]")
        if name in configs:
            assert yaml.safe_load(configs[name].read_text(encoding="utf-8"))["trainer"]["type"] == trainer


def readme() -> dict[str, list[str]]:
    table = README.split("## What trains on what", 1)[1].split("\n\nWho cannot", 1)[0]
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\| `.*", table, re.MULTILINE):
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        found |= {name: rest for name in re.findall(r"`(\w+)`", first) if name in trainers()}
    return found


def runs_on(trainer: str, kind: str) -> bool:
    return any(missing(v, KINDS[kind]) is None for v in VARIANTS.values() if v.trainer == trainer)


def test_every_trainer_has_a_row_in_the_readme() -> None:
    assert set(readme()) == set(trainers())


@pytest.mark.parametrize("trainer", trainers())
def test_the_readme_says_what_the_cells_say(trainer: str) -> None:
    for text, kinds in zip(readme()[trainer], COLUMNS, strict=True):
        running = [kind for kind in kinds if runs_on(trainer, kind)]
        assert bool(running) is not bool(re.match(r"no\b|has no", text)), (text, running)
        if text == "whole episodes":
            assert running == ["cartpole_episodes", "self_play"]
        if text == "with a critic":
            assert "captions_critic" in running
        if "in a table" in text:
            assert any(kind.startswith("table") for kind in running)
        if text == "one-hot":
            assert any(kind.startswith("numbers") for kind in running)
        if "not measured" in text:
            assert not any((trainer, kind) in page.MEASURED for kind in kinds)
