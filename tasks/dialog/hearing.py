"""Finds in what somebody types the things that a user of the restaurant domain may say."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.metrics.text_files import read_json
from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.restaurant_data import ANY, INFORMABLE, REQUESTABLE, VALUES
from seqrl.tasks.dialog.restaurant_user import Said

CLOSE = 0.82  # similarity from which on a word that is not known is taken for one that is
SHORTEST = 4  # letters of a word that may be misspelt

_VALUES = {value: (slot, number) for slot, values in enumerate(VALUES) for number, value in enumerate(values)}
_WORDS: dict[str, Any] = read_json(Path(__file__).with_name("hearing.json"))
_SYNONYMS, _SLOTS, _ANYTHING = _WORDS["synonyms"], _WORDS["slots"], set(_WORDS["anything"])
_ACTS = {word: user.USER_ACTS.index(act) for act, words in _WORDS["acts"].items() for word in words}
_KNOWN = [*_VALUES, *_SYNONYMS, *REQUESTABLE, *_SLOTS, *_ANYTHING, *_ACTS]
_WISHES = "; ".join(f"{slot}: {', '.join(values)}" for slot, values in zip(INFORMABLE, VALUES, strict=True))
HEARS = f"{_WISHES}; anything (for what you were asked), yes, no, another, {', '.join(REQUESTABLE)}, bye"


def understand(text: str, requested: int | None = None) -> tuple[Said, float] | None:
    """Read a text as a user's turn.

    Values of slots make it an inform, or with a no before them a negate; a slot of the restaurant a request. A word that is not known is
    taken for the most similar one of four letters or more.

    Args:
        text: keywords or sentences.
        requested: number of the slot that the system has just asked for, which is what "anything" is about when the text names none.

    Returns:
        the turn [1], and how similar its words are to those known, 1 where all are; None where nothing is known.
    """
    found = [match for word in re.findall(r"[a-z]+", text.lower().replace("'", "")) if (match := _known(word))]
    words, said = [word for word, _ in found], Said.nothing(1)
    for word in words:
        if word in _VALUES:
            slot, number = _VALUES[word]
            said.values[0, slot] = number
    if _ANYTHING & set(words):
        named = sorted({_SLOTS[word] for word in words if word in _SLOTS})
        for slot in named or ([requested] if requested is not None else range(len(VALUES))):
            said.values[0, slot] = ANY if said.values[0, slot] < 0 else said.values[0, slot]
    questions = [REQUESTABLE.index(word) for word in words if word in REQUESTABLE]
    acts = {_ACTS[word] for word in words if word in _ACTS}
    told = bool((said.values >= 0).any())
    if told:
        said.act[0] = user.NEGATE if words[0] in _ACTS and _ACTS[words[0]] == user.NEGATE and not _ANYTHING & set(words) else user.INFORM
    elif questions:
        said.act[0], said.question[0] = user.REQUEST, questions[0]
    elif acts:
        said.act[0] = next(act for act in _ACTS.values() if act in acts)  # of several in one text the first in the list counts
    else:
        return None
    return said, float(np.mean([similarity for _, similarity in found]))


def _known(word: str) -> tuple[str, float] | None:
    """Give the word that is known for a word, synonyms resolved, and how similar they are."""
    if word in _KNOWN:
        return _SYNONYMS.get(word, word), 1.0
    close = difflib.get_close_matches(word, _KNOWN, n=1, cutoff=CLOSE) if len(word) >= SHORTEST else []
    if not close or len(close[0]) < SHORTEST:
        return None
    return _SYNONYMS.get(close[0], close[0]), difflib.SequenceMatcher(None, word, close[0]).ratio()
