"""A dialog about movie tickets in which somebody types what the simulated user would say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqrl.metrics.text_files import read_json
from seqrl.tasks.control.chatting import Acting
from seqrl.tasks.dialog.movie_data import MovieData, fitting
from seqrl.tasks.dialog.movie_dialogs import DENY, INFORM, REQUEST, MovieDialogs

GREETING = "Hello. Which movie would you like to see?"
_ASKING = re.compile(r"\?|\b(what|which|when|where|how|who)\b")
_ANYTHING = re.compile(r"\b(any\w*|whatever|no preference|(dont|doesnt|do not|does not) (care|matter|mind))\b")
_NO = re.compile(r"\b(no|nope|not|wrong)\b")
_YES = re.compile(r"\b(yes|yeah|ok|okay|right|sure|fine|thanks|please|tickets?|book)\b")
# Words by which a slot is asked for, or said to be open, beside its own name; and what slots are called.
_WORDS: dict[str, Any] = read_json(Path(__file__).with_name("movie_words.json"))
_BOOKED = ("moviename", "theater", "city", "date", "starttime")


class MovieConversation:
    """See `seqrl.protocols.Conversation`. The goal is what has been said: the last value of each slot, and all that was asked.

    Args:
        data: showings; its goals are left alone.
        acting: chooses acts.
    """

    def __init__(self, data: MovieData, acting: Acting) -> None:
        count = len(data.slots)
        data = replace(data, constraints=np.full((1, count), -1), asked=np.zeros((1, count), dtype=bool))
        self.dialogs, self._acting, self._one = MovieDialogs(data, 1), acting, np.ones(1, dtype=bool)
        values = [(text.lower(), slot, code) for slot, texts in enumerate(data.values) for code, text in enumerate(texts)]
        self._values = [value for value in values if re.search(r"\w", value[0])]
        words = {word: data.slots.index(slot) for slot, several in _WORDS["asked"].items() if slot in data.slots for word in several}
        self._slot_words = words | {name: slot for slot, name in enumerate(data.slots)}
        others = ", ".join(map(_name, data.slots[1:]))
        self.hears = (
            f"the name of a movie ({', '.join(data.values[0][:6])}, ...), values of {others} and questions about them; "
            "anything (for what you were asked), yes, no"
        )
        self.begin()

    def begin(self) -> str:
        """Forget what was said; give the system's greeting."""
        dialogs = self.dialogs
        dialogs.start(np.random.default_rng(0), self._one)
        dialogs.data.constraints[:], dialogs.data.asked[:] = -1, False
        for name in ("said", "voiced", "heard", "wanted"):
            dialogs.state[name][:] = False
        self.ended, self._paid, self._success, self._act = False, 0.0, False, dialogs.num_actions
        self._acting.begin()
        return GREETING

    def reply(self, text: str) -> str | None:
        """Hear a text and let the policy act; None where nothing in it can be heard."""
        heard = self._understood(" ".join(re.findall(r"[\w:/&.?-]+", text.lower().replace("'", ""))))
        if heard is None:
            return None
        if self.ended:
            self.begin()
        self._hear(*heard)
        self._act = self._acting.choose(self.dialogs.seen(), self.dialogs.allowed())
        return self._speak()

    def _understood(self, text: str) -> tuple[int, Mapping[int, int], list[int], list[int]] | None:
        """Give the user's act, the values by slot, the slots asked for and those that are open; None where nothing is known."""
        told: dict[int, int] = {}
        requested = self._act if self._act < len(self.dialogs.data.slots) else None
        # Longer values first: they hold shorter ones.
        for value, slot, code in sorted(self._values, key=lambda each: (-len(each[0]), each[1] != requested)):
            found = re.search(rf"(?<![\w:]){re.escape(value)}(?![\w:])", text)
            if found and slot not in told:
                told[slot], text = code, f"{text[: found.start()]} {text[found.end() :]}"
        named = [slot for word, slot in self._slot_words.items() if re.search(rf"\b{word}s?\b", text) and slot not in told]
        anything = bool(_ANYTHING.search(text))
        opened = (named or ([requested] if requested is not None else [])) if anything else []
        asked = list(dict.fromkeys(named)) if _ASKING.search(text) and not anything else []
        if asked:
            return REQUEST, told, asked, []
        if told or opened:
            return INFORM, told, [], opened
        if _NO.search(text):
            return DENY, {}, [], []
        return (REQUEST, {}, [], []) if _YES.search(text) else None

    def _hear(self, act: int, told: Mapping[int, int], asked: list[int], opened: list[int]) -> None:
        """Take over what somebody says into the goal and into what the system knows."""
        state, data = self.dialogs.state, self.dialogs.data
        state["act"][:], state["heard"][:], state["wanted"][:] = act, False, False
        said = list(told)
        data.constraints[0, said], data.asked[0, said] = list(told.values()), False
        state["said"][0, said] = state["heard"][0, said] = True
        state["open"][0, said] = state["voiced"][0, said] = False
        data.asked[0, asked] = state["voiced"][0, asked] = state["wanted"][0, asked] = True
        state["open"][0, opened] = state["heard"][0, opened] = True

    def _speak(self) -> str:
        """Do what was chosen; give it in words."""
        dialogs, slots = self.dialogs, self.dialogs.data.slots
        reward, ended = dialogs.speak(np.array([self._act]), self._one)
        self._paid, self.ended, self._success = self._paid + float(reward[0]), bool(ended[0]), bool(reward[0] > 0)
        if self._act < len(slots):
            return f"Which {_name(slots[self._act])} would you like?"
        if self._act == dialogs.book:
            return self._booking()
        if self._act == dialogs.close:
            return "I cannot help you with that. Goodbye."
        slot = int(dialogs.tellable[self._act - len(slots)])
        told = int(dialogs.state["told"][0, slot])
        return f"The {_name(slots[slot])} is {dialogs.data.values[slot][told]}." if told >= 0 else f"I find no {_name(slots[slot])}."

    def _booking(self) -> str:
        """Say which showing is booked, or what would be."""
        data, fits = self.dialogs.data, fitting(self.dialogs.data.showings, self.dialogs.known())[0]
        if not fits.any():
            return "I find no showing that fits all of this."
        showing = data.showings[fits.argmax()]
        parts = [data.values[n][showing[n]] for n in (data.slots.index(slot) for slot in _BOOKED if slot in data.slots) if showing[n] >= 0]
        shown = ", ".join(parts)
        return f"I have booked {shown}." if self._success else f"I would book {shown}, but that is not all that you want."

    def facts(self) -> dict[str, str]:
        """Give what was heard, is known, was done and paid, by these names."""
        dialogs, state = self.dialogs, self.dialogs.state
        slots, values, said = dialogs.data.slots, dialogs.data.values, state["said"][0]
        known = np.maximum(dialogs.known()[0], np.where(said, dialogs.constraints[0], -1))  # how many people come, too
        lines = [f"{_name(slots[n]):<17} {values[n][known[n]]} ({'said' if said[n] else 'told'})" for n in np.flatnonzero(known >= 0)]
        paid = f"{self._paid:+g} after {int(state['turn'][0])} turns"
        if self.ended:
            paid += ", a success" if self._success else ", no success"
        return {
            "heard": dialogs.user_act(0) if state["turn"][0] else "nothing yet",
            "known": "\n".join(lines) or "nothing yet",
            "act": dialogs.name_action(self._act, 0) if self._act < dialogs.num_actions else "none yet",
            "paid": paid,
        }


def _name(slot: str) -> str:
    return _WORDS["names"].get(slot, slot.replace("_", " "))
