"""Reads a movie-booking domain: showings and user goals, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import read_json
from seqrl.tasks.paths import expanded

FIRST_SLOT = "moviename"


@dataclass(frozen=True)
class MovieData:
    """Showings and goals over S slots; value v of a slot is `values[slot][v]`.

    Attributes:
        slots: those that goals constrain or ask for, most often constrained first.
        values: texts of each slot.
        showings: [M, S] int, -1 where a showing does not say.
        constraints: [G, S] int, -1 where a goal leaves the slot open.
        asked: [G, S] bool, what a user wants to be told.
        listed: [S] bool, whether any showing has the slot; the number of people, for one, no table restricts.
    """

    slots: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    showings: NDArray[np.int64]
    constraints: NDArray[np.int64]
    asked: NDArray[np.bool_]
    listed: NDArray[np.bool_]


def fitting(showings: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which showings [M, S] have the values wanted [N, S], -1 for any; gives [N, M]."""
    fits = np.ones((len(wanted), len(showings)), dtype=bool)
    for slot in range(wanted.shape[1]):
        column = wanted[:, slot]
        rows = np.flatnonzero(column >= 0)
        if len(rows):
            fits[rows] &= showings[:, slot] == column[rows, None]
    return fits


def read_movies(folder: str) -> MovieData:
    """Read `movies.json` and `user_goals.json`.

    Args:
        folder: where they lie; `~` and `$NAME` are replaced.

    Raises:
        FileNotFoundError: when they are not there.
        ValueError: when they do not hold what they should.

    Source: Li et al. 2016 (A user simulator for task-completion dialogues) for what a goal is.
    """
    table, wishes = (expanded(folder) / name for name in ("movies.json", "user_goals.json"))
    showings, goals = _read(table), _read(wishes)
    rows = list(showings.values()) if isinstance(showings, Mapping) else showings
    if not isinstance(rows, list) or not rows or not all(map(_is_record, rows)):
        raise ValueError(f"{table}: expected a mapping of numbers to showings, each a mapping of slots to texts, and at least one")
    if not isinstance(goals, list) or not goals:
        raise ValueError(f"{wishes}: expected a list of goals, and at least one")
    for number, goal in enumerate(goals):
        _check_goal(goal, f"{wishes}, goal {number}")
    return _as_numbers(rows, goals)


def _as_numbers(rows: list[Mapping[str, str]], goals: list[Mapping[str, Any]]) -> MovieData:
    uses = Counter(slot for goal in goals for slot in goal["inform_slots"])
    uses.update({slot: 0 for goal in goals for slot in goal["request_slots"]})
    del uses["ticket"]
    slots = tuple(sorted(uses, key=lambda slot: (slot != FIRST_SLOT, -uses[slot], slot)))
    codes: list[dict[str, int]] = [{} for _ in slots]

    def coded(record: Mapping[str, str]) -> list[int]:
        return [codes[n].setdefault(record[slot], len(codes[n])) if slot in record else -1 for n, slot in enumerate(slots)]

    table = np.array([coded(row) for row in rows], dtype=np.int64)
    constraints = np.array([coded(goal["inform_slots"]) for goal in goals], dtype=np.int64)
    asked = np.array([[slot in goal["request_slots"] for slot in slots] for goal in goals])
    return MovieData(slots, tuple(tuple(code) for code in codes), table, constraints, asked, np.asarray((table >= 0).any(axis=0)))


def _check_goal(goal: Any, where: str) -> None:
    if not isinstance(goal, Mapping) or not all(_is_record(goal.get(name)) for name in ("inform_slots", "request_slots")):
        raise ValueError(f"{where}: expected inform_slots and request_slots, each a mapping of slots to texts, got {brief(goal)}")
    if FIRST_SLOT not in goal["inform_slots"]:
        raise ValueError(f"{where}: expected {FIRST_SLOT} among inform_slots, got {', '.join(goal['inform_slots']) or 'none'}")
    both = set(goal["inform_slots"]) & set(goal["request_slots"])
    if both:
        raise ValueError(f"{where}: expected a slot to be told or asked for, {', '.join(sorted(both))} is both; leave one out")


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


def _read(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file; set task.environment_options.folder to the folder with movies.json and user_goals.json, or "
            "SEQRL_DATA to the folder that holds movie_booking/"
        )
    return read_json(path)
