"""Movie booking: the rules of a dialog between a system that knows showings and a simulated user with an agenda."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.dialog.arrays import Flags, Numbers, Reals, one_of
from seqrl.tasks.dialog.drawing import Turn
from seqrl.tasks.dialog.movie_data import MovieData, fitting
from seqrl.tasks.dialog.names import MOVIE_TURNS

SUCCESS, FAILURE, TURN = 80.0, -40.0, -1.0
REQUEST, INFORM, DENY, CLOSE = range(4)  # what the user does
UNTOLD, NOTHING = -1, -2  # in the place of a value told: none yet; that no showing has one
USER_ACTS = ("request", "inform", "deny", "thanks")
# The rule agent's questions, in its order.
QUESTIONS = ("moviename", "starttime", "city", "date", "theater", "numberofpeople")


class MovieDialogs:
    """N dialogs in which tickets for a movie are to be booked.

    The system's acts are request(slot), inform(slot) with the value that most of the showings have which fit what is known, book, and
    close. The user answers each turn by an agenda: a question about a constraint is answered; one about a slot that the user wants to
    know is answered by the user's own question; any other slot may be anything. A value told wrongly is corrected; otherwise the
    user goes on with the next open question, then the next constraint not yet said. The system books the first showing that fits all
    that it knows. The user accepts it, and the dialog is a success, if it has all constraints of the goal, how many people come
    is known, and the user's questions were answered as the showing has it; else the user denies. Closing, or 20 turns of the
    system (40 of both) without a success, is a failure. A turn of the system costs 1; a success pays 80, a failure -40 on top.

    Attributes:
        state: arrays by name. goal [N]; said [N, S], constraints that the system knows; open [N, S], slots that may be anything;
            voiced [N, S], questions the user has put; told [N, S], what the system has told, UNTOLD or NOTHING; act, [N] the user's last;
            heard [N, S], slots of the user's last inform, and wanted [N, S], of its request; last [N], the system's last act, or A;
            turn [N]; denied [N], tickets refused; by_rule [N], whether the mask leaves the rule agent's act alone; rule_left [1].

    Args:
        data: see `MovieData`.
        num_dialogs: N.
        rule_dialogs: in so many dialogs, the first ones, the mask leaves the rule agent's act alone: the warm start of a replay.

    Raises:
        ValueError: when `rule_dialogs` is negative.

    Source: Li et al. 2016 (A user simulator for task-completion dialogues) for the user; Li et al. 2017 (End-to-end task-completion
    neural dialogue systems) for rewards, length, warm start and the system's acts.
    Differs from: the papers, where the system has general acts, too (confirm, deny, thanks, of which only the last one ends dialogs),
    and where the user may mishear.
    """

    def __init__(self, data: MovieData, num_dialogs: int, rule_dialogs: int = 0) -> None:
        if rule_dialogs < 0:
            raise ValueError(f"rule_dialogs: expected 0 or more, got {rule_dialogs}")
        self.data, size, slots = data, num_dialogs, len(data.slots)
        self.tellable = np.flatnonzero(data.listed)
        self.book, self.close = slots + len(self.tellable), slots + len(self.tellable) + 1
        self.num_actions = self.close + 1
        self.questions = [data.slots.index(slot) for slot in QUESTIONS if slot in data.slots]
        flags = {name: np.zeros((size, slots), dtype=bool) for name in ("said", "open", "voiced", "heard", "wanted")}
        counts = {name: np.zeros(size, dtype=np.int64) for name in ("goal", "act", "last", "turn", "denied")}
        self.state: dict[str, NDArray[Any]] = flags | counts
        self.state |= {"told": np.full((size, slots), UNTOLD, dtype=np.int64), "by_rule": np.zeros(size, dtype=bool)}
        self.state["rule_left"] = np.array([rule_dialogs])
        self.num_features = self.seen().shape[1]

    @property
    def constraints(self) -> Numbers:
        """The users' constraints, [N, S], -1 for none."""
        return self.data.constraints[self.state["goal"]]

    @property
    def asked(self) -> Flags:
        """What the users want to know, [N, S]."""
        return self.data.asked[self.state["goal"]]

    def known(self) -> Numbers:
        """Give what the system takes a showing to need, [N, S]: what the user has said, else what it has told itself; -1 for anything."""
        return np.where(self.data.listed, np.where(self.state["said"], self.constraints, np.maximum(self.state["told"], -1)), -1)

    def start(self, random: np.random.Generator, rows: Flags) -> None:
        """Draw goals; the user names the movie, half the time one constraint more, and puts one of its questions if it has any."""
        state, count = self.state, int(rows.sum())
        for name in ("said", "open", "voiced", "heard", "wanted", "turn", "denied"):
            state[name][rows] = 0
        state["told"][rows], state["last"][rows], state["act"][rows] = UNTOLD, self.num_actions, REQUEST
        state["goal"][rows] = random.integers(len(self.data.constraints), size=count)
        constraints, asked = self.constraints[rows], self.asked[rows]
        said = np.zeros_like(asked)
        said[:, 0] = True
        said |= one_of((constraints >= 0) & ~said, random) & (random.random(count) < 0.5)[:, None]
        state["said"][rows] = state["heard"][rows] = said
        state["voiced"][rows] = state["wanted"][rows] = one_of(asked, random)
        forced = np.flatnonzero(rows)[: int(state["rule_left"][0])]
        state["by_rule"][rows] = False
        state["by_rule"][forced] = True
        state["rule_left"] -= len(forced)

    def play(self, action: Numbers, random: np.random.Generator, rows: Flags) -> tuple[Reals, Flags]:
        """Say one act [N] in some dialogs; give rewards and whether they ended, [N] each."""
        state = self.state
        for name in ("heard", "wanted"):
            state[name][rows] = False
        reward, ended = self.speak(action, rows)
        live, slots = np.flatnonzero(rows), len(self.data.slots)
        self._requested(live[action[live] < slots], action)
        self._informed(live[(action[live] >= slots) & (action[live] < self.book)], action)
        state["act"][rows & (action == self.book)] = DENY
        state["act"][rows & ((reward > 0) | (action == self.close))] = CLOSE
        return reward, ended

    def speak(self, action: Numbers, rows: Flags) -> tuple[Reals, Flags]:
        """Say one act [N] in some dialogs, before the users answer; give rewards, above 0 for a success, and whether they ended."""
        state, slots = self.state, len(self.data.slots)
        state["last"][rows] = action[rows]
        state["turn"] += rows
        telling = np.flatnonzero(rows & (action >= slots) & (action < self.book))
        self._tell(telling, self.tellable[action[telling] - slots])
        booking = rows & (action == self.book)
        success = booking.copy()
        success[booking] = self._books(np.flatnonzero(booking))
        state["denied"] += booking & ~success
        ended = rows & (success | (action == self.close) | (state["turn"] >= MOVIE_TURNS))
        return rows * TURN + ended * np.where(success, SUCCESS, FAILURE), ended

    def _requested(self, rows: Numbers, action: Numbers) -> None:
        """Answer requests in the dialogs numbered [R]."""
        state, slot = self.state, action[rows]
        constrained, asked = self.constraints[rows, slot] >= 0, self.asked[rows, slot]
        state["said"][rows, slot] |= constrained
        state["voiced"][rows, slot] |= asked
        state["open"][rows, slot] |= ~constrained & ~asked
        state["act"][rows] = np.where(asked, REQUEST, INFORM)
        state["wanted"][rows, slot] = asked
        state["heard"][rows, slot] = ~asked

    def _informed(self, rows: Numbers, action: Numbers) -> None:
        """Answer what was told in the dialogs numbered [R]: the user corrects a wrong value, else goes on with the agenda."""
        if not len(rows):
            return
        state, slot = self.state, self.tellable[action[rows] - len(self.data.slots)]
        wanted, told = self.constraints[rows, slot], state["told"][rows, slot]
        wrong = (wanted >= 0) & (wanted != told)
        state["said"][rows, slot] |= wanted >= 0
        state["heard"][rows[wrong], slot[wrong]] = True
        state["act"][rows] = INFORM
        self._go_on(rows[~wrong])

    def _tell(self, rows: Numbers, slot: Numbers) -> None:
        """Tell the value of a slot [R] that most of the showings have which fit what is known, in the dialogs numbered [R]."""
        if not len(rows):
            return
        state = self.state
        state["told"][rows, slot] = UNTOLD
        for row, where, fit in zip(rows, slot, fitting(self.data.showings, self.known()[rows]), strict=True):
            values = self.data.showings[fit, where]
            counts = np.bincount(values[values >= 0], minlength=1)
            state["told"][row, where] = int(counts.argmax()) if counts.any() else NOTHING

    def _go_on(self, rows: Numbers) -> None:
        """Put the next open question, else say the next constraint, else ask for tickets, in the dialogs numbered [R]."""
        state = self.state
        question = self.asked[rows] & (state["told"][rows] == UNTOLD)
        constraint = (self.constraints[rows] >= 0) & ~state["said"][rows]
        asks, tells = question.any(axis=1), constraint.any(axis=1)
        tells &= ~asks
        state["act"][rows] = np.where(tells, INFORM, REQUEST)
        first, second = question.argmax(axis=1), constraint.argmax(axis=1)
        state["voiced"][rows[asks], first[asks]] = state["wanted"][rows[asks], first[asks]] = True
        state["said"][rows[tells], second[tells]] = state["heard"][rows[tells], second[tells]] = True

    def _books(self, rows: Numbers) -> Flags:
        """Say in which of the dialogs numbered [R] the user accepts the showing that the system books."""
        if not len(rows):
            return np.zeros(0, dtype=bool)
        data, constraints, asked = self.data, self.constraints[rows], self.asked[rows]
        fits = fitting(data.showings, self.known()[rows])
        showing = data.showings[fits.argmax(axis=1)]
        right = ((constraints < 0) | ~data.listed | (showing == constraints)).all(axis=1)
        people = (data.listed | (constraints < 0) | self.state["said"][rows]).all(axis=1)
        told = self.state["told"][rows]
        answered = (~asked | ((told != UNTOLD) & (np.maximum(told, -1) == showing))).all(axis=1)
        return fits.any(axis=1) & right & people & answered

    def allowed(self) -> Flags:
        """Give which acts make sense, [N, A]: no question about what is known or what the user asks, nothing told that it said."""
        state = self.state
        ask = ~(state["said"] | state["open"] | state["voiced"])
        mask = np.concatenate([ask, ~state["said"][:, self.tellable], np.ones((len(ask), 2), dtype=bool)], axis=1)
        if state["by_rule"].any():
            forced = np.flatnonzero(state["by_rule"])
            mask[forced] = False
            mask[forced, self.by_rule()[forced]] = True
        return mask

    def by_rule(self) -> Numbers:
        """Give the rule agent's acts [N]: six questions in their order where they make sense, then it books once, then it closes."""
        state = self.state
        asks = ~(state["said"] | state["open"] | state["voiced"])[:, self.questions]
        question = np.array(self.questions)[asks.argmax(axis=1)]
        return np.where(asks.any(axis=1), question, np.where(state["denied"] > 0, self.close, self.book))

    def seen(self) -> NDArray[np.float32]:
        """Give what the system sees, [N, F]: the last acts, what is known, asked and told, the turn, and how many showings fit."""
        state, data = self.state, self.data
        known = self.known()
        count = fitting(data.showings, known).sum(axis=1)
        alone = np.stack([(data.showings[:, slot] == known[:, slot, None]).mean(axis=1) for slot in range(known.shape[1])], axis=1)
        unanswered = state["voiced"] & (state["told"] == UNTOLD)
        columns = [state[name] for name in ("said", "open", "voiced", "heard", "wanted")]
        columns += [state["told"] != UNTOLD, state["told"] == NOTHING, unanswered]
        columns += [np.eye(len(USER_ACTS))[state["act"]], np.eye(self.num_actions + 1)[state["last"]], alone]
        columns += [np.eye(MOVIE_TURNS + 1)[state["turn"]], np.minimum(state["denied"], 5)[:, None] / 5]
        columns += [(np.log1p(count) / np.log1p(len(data.showings)))[:, None], (count == 0)[:, None], (count == 1)[:, None]]
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def say(self, row: int) -> str:
        """Write the last two turns of a dialog."""
        last = int(self.state["last"][row])
        system = "" if last == self.num_actions else f"system: {self.name_action(last, row)}\n"
        return f"{system}user: {self.user_act(row)}"

    def user_act(self, row: int) -> str:
        """Write what the user did last as an act, such as inform(city=seattle)."""
        state, slots = self.state, self.data.slots
        wanted = [slots[slot] for slot in np.flatnonzero(state["wanted"][row])]
        heard = [
            f"{slots[slot]}={self._value(int(slot), int(self.constraints[row, slot]))}" for slot in np.flatnonzero(state["heard"][row])
        ]
        return f"{USER_ACTS[state['act'][row]]}({', '.join(heard + wanted)})"

    def goal(self, row: int) -> str:
        """Write what the user of a dialog wants."""
        slots, goal = self.data.slots, self.constraints[row]
        wishes = [f"{slots[n]}={self._value(int(n), int(goal[n]))}" for n in np.flatnonzero(goal >= 0)]
        questions = [slots[n] for n in np.flatnonzero(self.asked[row])]
        return ", ".join(wishes) + (f"; wants to know {', '.join(questions)}" if questions else "")

    def turn(self, row: int, reward: float | None, ended: bool) -> Turn:
        """Give the last two turns of a dialog to be drawn, with what the system knows; nothing is misheard."""
        state, known = self.state, self.known()[row]
        act = "" if state["last"][row] == self.num_actions else self.name_action(int(state["last"][row]), row)
        beliefs = [(self.data.slots[n], self._value(int(n), int(known[n])), 1.0) for n in np.flatnonzero(known >= 0)]
        said = self.user_act(row)
        return Turn(act, "", said, said, 1.0, [] if ended else beliefs, reward)

    def name_action(self, action: int, row: int) -> str:
        """Write an act as acts are written, with the value that was told."""
        slots = self.data.slots
        if action < len(slots):
            return f"request({slots[action]})"
        if action >= self.book:
            return "book()" if action == self.book else "close()"
        slot = int(self.tellable[action - len(slots)])
        return f"inform({slots[slot]}={self._value(slot, int(self.state['told'][row, slot]), 'none')})"

    def _value(self, slot: int, code: int, otherwise: str = "anything") -> str:
        return self.data.values[slot][code] if code >= 0 else otherwise
