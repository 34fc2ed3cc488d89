"""Talking to a movie-booking policy, over a script of acts and four showings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from seqrl.tasks.dialog.movie_conversation import MovieConversation
from seqrl.tasks.dialog.movie_data import read_movies
from seqrl.tasks.dialog.movie_environment import MovieBooking

SHOWINGS = {
    "0": {"moviename": "Up", "city": "rome", "theater": "lux", "starttime": "9 pm"},
    "1": {"moviename": "Up", "city": "oslo", "theater": "ars", "starttime": "9 pm"},
    "2": {"moviename": "Up in smoke", "city": "oslo", "theater": "ars"},
    "3": {"moviename": "", "city": "oslo"},
}
GOAL = {"inform_slots": {"moviename": "Up", "city": "rome", "numberofpeople": "2"}, "request_slots": {"theater": "", "starttime": ""}}


class Script:
    """Does what was written down, within the mask."""

    def __init__(self, *acts: tuple[str, str]) -> None:
        self.acts, self.talking = list(acts), None

    def begin(self) -> None:
        pass

    def choose(self, seen: NDArray[Any], allowed: NDArray[Any]) -> int:
        dialogs = self.talking.dialogs  # type: ignore[attr-defined]
        kind, slot = self.acts.pop(0)
        action = {"book": dialogs.book, "close": dialogs.close}.get(kind, -1)
        if action < 0:
            place = dialogs.data.slots.index(slot)
            action = place if kind == "request" else len(dialogs.data.slots) + dialogs.tellable.tolist().index(place)
        assert allowed[0, action]
        return action


def conversation(folder: Path, *acts: tuple[str, str]) -> MovieConversation:
    for name, content in (("movies", SHOWINGS), ("user_goals", [GOAL])):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    script: Any = Script(*acts)
    script.talking = talking = MovieConversation(read_movies(str(folder)), script)
    return talking


def test_from_the_movie_to_the_tickets(tmp_path: Path) -> None:
    acts = (("request", "city"), ("inform", "starttime"), ("request", "numberofpeople"), ("inform", "theater"), ("book", ""))
    talking = conversation(tmp_path, *acts)
    assert talking.begin().startswith("Hello") and talking.facts()["known"] == "nothing yet"
    assert talking.reply("xyzzy") is None and "Up, Up in smoke" in talking.hears
    assert talking.reply("two for UP, please") == "Which city would you like?"  # "two" is not among the values
    assert talking.facts()["heard"] == "inform(moviename=Up)"
    assert talking.reply("Rome. When is it?") == "The time is 9 pm."
    assert talking.facts()["heard"] == "request(city=rome, starttime)" and "city              rome (said)" in talking.facts()["known"]
    assert talking.reply("ok") == "Which number of people would you like?"
    assert talking.reply("2 and where?") == "The theater is lux."
    assert talking.reply("yes") == "I have booked Up, lux, rome, 9 pm."
    assert talking.ended and talking.facts()["paid"] == "+75 after 5 turns, a success" and talking.facts()["act"] == "book()"


def test_tickets_that_are_not_wanted_and_goodbye(tmp_path: Path) -> None:
    talking = conversation(tmp_path, ("book", ""), ("request", "city"), ("book", ""), ("close", ""))
    assert talking.reply("up in smoke, which theater?") == "I would book Up in smoke, ars, oslo, but that is not all that you want."
    assert talking.reply("no") == "Which city would you like?" and talking.facts()["heard"] == "deny()"
    assert talking.reply("rome") == "I find no showing that fits all of this."
    assert talking.reply("anything else?") is None and talking.reply("no") is not None and talking.ended
    assert talking.facts()["paid"] == "-44 after 4 turns, no success"


def test_anything_is_about_what_was_asked(tmp_path: Path) -> None:
    talking = conversation(tmp_path, ("request", "city"), ("book", ""))
    talking.reply("up")
    assert talking.reply("I don't care") == "I have booked Up, lux, rome, 9 pm."
    assert talking.dialogs.state["open"][0].sum() == 1


def test_what_movie_booking_has_not() -> None:
    with pytest.raises(ValueError, match="expected neither --mishear nor --voice"):
        MovieBooking.conversation({}, None, seed=0, mishear=True, voice=None)  # type: ignore[arg-type]
