"""The simulated user of the restaurant domain: what it says to an act of the system, by its goal and agenda, and how that is misheard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqrl.tasks.dialog.arrays import Flags, Numbers, Reals
from seqrl.tasks.dialog.restaurant_data import ANY, VALUES, matches

SILENT, INFORM, AFFIRM, NEGATE, ALTERNATIVES, REQUEST, BYE = range(7)
USER_ACTS = ("null", "inform", "affirm", "negate", "reqalts", "request", "bye")
MORE, DELETED = 0.25, 0.3  # chances: to say a constraint nobody asked for; that a misheard turn is not heard at all
RIGHT_SCORE, WRONG_SCORE, RIVAL_SHARE = (8.0, 2.0), (3.0, 4.0), (2.0, 3.0)  # beta distributions of confidence scores
SECOND_RIGHT = 0.5  # chance that what was said is the second hypothesis where the first one is wrong


@dataclass
class Said:
    """A turn of N users.

    Attributes:
        act: [N] number in `USER_ACTS`.
        values: [N, 3] what is said about each informable slot, a value or `ANY`; -1 for nothing.
        question: [N] number of the slot requested, or -1.
    """

    act: Numbers
    values: Numbers
    question: Numbers

    @classmethod
    def nothing(cls, size: int) -> Said:
        """Give a turn in which nobody says anything."""
        return cls(np.full(size, SILENT), np.full((size, len(VALUES)), -1), np.full(size, -1))

    def take(self, other: Said, rows: Flags) -> None:
        """Take over the turns of some users [N]."""
        for name in ("act", "values", "question"):
            getattr(self, name)[rows] = getattr(other, name)[rows]


def informed(said: Said, constraints: Numbers, which: Flags, act: int = INFORM) -> None:
    """Let users say their constraints [N, 3] of the slots `which` [N, 3], where there is any."""
    rows = which.any(axis=1)
    said.act[rows] = act
    said.values[which] = constraints[which]


def volunteered(random: np.random.Generator, size: int) -> Flags:
    """Draw one slot [N, 3] in some turns, to be said without having been asked for."""
    return (np.arange(len(VALUES)) == random.integers(len(VALUES), size=size)[:, None]) & (random.random(size) < MORE)[:, None]


def relaxed(restaurants: Numbers, constraints: Numbers, random: np.random.Generator) -> Numbers:
    """Change as few constraints [N, 3] as a restaurant needs to fit, to one of the nearest restaurants' values."""
    away = ((restaurants[None] != constraints[:, None]) & (constraints < ANY)[:, None]).sum(axis=2)
    nearest = restaurants[(away + random.random(away.shape)).argmin(axis=1)]
    return np.where(constraints < ANY, nearest, constraints)


def satisfied(restaurants: Numbers, offered: Numbers, constraints: Numbers) -> Flags:
    """Say whether what was offered [N], -1 for nothing, has all constraints [N, 3]."""
    return (offered >= 0) & ((constraints >= ANY) | (restaurants[offered] == constraints)).all(axis=1)


def has_other(restaurants: Numbers, constraints: Numbers) -> Flags:
    """Say whether more than one restaurant fits, [N]."""
    return matches(restaurants, constraints).sum(axis=1) > 1


def misheard(said: Said, error_rate: float, random: np.random.Generator) -> tuple[Said, Reals]:
    """Pass turns through a recogniser that makes errors in the meaning; give what it hears, and its confidence scores [N].

    With the chance `error_rate` a turn is not heard, or is taken for another: other values, a yes for a no, another slot requested, a
    goodbye for a wish for alternatives. The score is drawn from Beta(8, 2) where the turn was heard right, else from Beta(3, 4);
    without errors it is 1.
    """
    size = len(said.act)
    if error_rate == 0:
        return said, np.ones(size)
    wrong, lost = random.random(size) < error_rate, random.random(size) < DELETED
    heard = _taken_for_another(said, wrong, random)
    gone = wrong & lost
    heard.act[gone], heard.values[gone], heard.question[gone] = SILENT, -1, -1
    return heard, np.where(wrong, random.beta(*WRONG_SCORE, size=size), random.beta(*RIGHT_SCORE, size=size))


def rivals_of(said: Said, heard: Said, count: int, random: np.random.Generator) -> list[tuple[Said, Reals]]:
    """Give what else the recogniser takes for possible after its first hypothesis, likeliest first.

    Where the first hypothesis is wrong, the second one is what was said in half of the turns; all others are wrong.

    Args:
        said: by the users.
        heard: the first hypothesis.
        count: of further hypotheses.
        random: draws them.

    Returns:
        each with the share [N], drawn from Beta(2, 3), that it has of the confidence which those before it leave.
    """
    size, found = len(said.act), []
    missed = (heard.act != said.act) | (heard.values != said.values).any(axis=1) | (heard.question != said.question)
    for place in range(count):
        right = missed & (random.random(size) < SECOND_RIGHT) if place == 0 else np.zeros(size, dtype=bool)
        found.append((_taken_for_another(said, ~right, random), random.beta(*RIVAL_SHARE, size=size)))
    return found


def _taken_for_another(said: Said, wrong: Flags, random: np.random.Generator) -> Said:
    """Change the turns of some users [N] into others of a like form."""
    size = len(said.act)
    act, values, question = said.act.copy(), said.values.copy(), said.question.copy()
    swapped = np.array([SILENT, INFORM, NEGATE, AFFIRM, BYE, REQUEST, ALTERNATIVES])[act]
    for slot, known in enumerate(VALUES):
        count = len(known)
        place = np.where(values[:, slot] == ANY, count, values[:, slot])
        place = (place + random.integers(1, count + 1, size=size)) % (count + 1)
        other = np.where(place == count, ANY, place)
        values[:, slot] = np.where(wrong & (values[:, slot] >= 0), other, values[:, slot])
    question = np.where(wrong & (question >= 0), (question + random.integers(1, 3, size=size)) % 3, question)
    values[wrong & (act == NEGATE)] = -1
    return Said(np.where(wrong, swapped, act), values, question)
