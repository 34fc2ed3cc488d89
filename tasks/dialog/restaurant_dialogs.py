"""The restaurant domain: a system that may mishear helps a simulated user to find a restaurant and what it wants to know about it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.dialog import restaurant_shown as shown
from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.arrays import Flags, Numbers, Reals, one_of
from seqrl.tasks.dialog.names import RESTAURANT_TURNS
from seqrl.tasks.dialog.restaurant_acts import CONFIRM, FAREWELL, NUM_ACTIONS, OFFER, OTHERS, SELECT, SLOTS, TELL
from seqrl.tasks.dialog.restaurant_data import ANY, NONE, RestaurantData, matches
from seqrl.tasks.dialog.restaurant_user import Said

SUCCESS, TURN = 20.0, -1.0
FUSSY = 0.2  # share of users who want to hear of another restaurant first
RIVAL = 0.02  # belief from which on a second value is worth a choice


class RestaurantDialogs:
    """N dialogs about restaurants.

    The system requests, confirms or lets the user select a slot's value, offers the first restaurant that fits the likeliest values
    (or says that none does), informs about what the user most likely asked, offers an alternative, or says goodbye, which ends the
    dialog. The user answers by its goal: a wrong value is corrected, a restaurant that does not fit is met with a constraint it
    breaks, a goal that nothing fits is changed; then come a wish for an alternative, the questions, and goodbye. Success is a
    goodbye after a restaurant that fits was offered and all questions about it were answered. A turn of the system costs 1, a success pays
    20, and after 25 turns the dialog has failed.

    A slot's belief b over its values, "anything" and "not said" moves with each value v heard at confidence c to
    b(w) <- (1 - c) b(w) + c [w = v]; a no takes the share c from the value that was to be confirmed.

    Attributes:
        state: arrays by name. constraints [N, 3] and asked [N, 3], the goals; fussy [N]; refused [N], the restaurant that a fussy user
            turned down, or -1; offered [N], a restaurant or -1; answered [N, 3]; belief [N, 3, 14]; wanted [N, 3], belief that a
            question was put; act, heard [N], what the user did and what was heard; score [N]; last [N], the system's act or 13; turn [N];
            empty [N], whether the last offer found nothing.
        said, heard: the users' last turns; meant [N, 3], the values that the system took for the likeliest when it spoke last;
            choices [N, 2], those it let the user select from; told [N], the question that it answered. Nothing depends on them.

    Args:
        data: see `RestaurantData`.
        num_dialogs: N.
        error_rate: chance that a turn of the user is misheard.
        num_hypotheses: heard of each turn; beliefs take in all of them, what is seen of the last turn is the first.

    Raises:
        ValueError: when `error_rate` is no probability, or nothing is to be heard.

    Source: Young et al. 2013 (POMDP-based statistical spoken dialog systems: a review) for acts, belief and reward; Schatzmann et
    al. 2007 (Agenda-based user simulation for bootstrapping a POMDP dialogue system) for the user.
    """

    def __init__(self, data: RestaurantData, num_dialogs: int, error_rate: float = 0.0, num_hypotheses: int = 1) -> None:
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate: expected a probability in 0..1, got {error_rate}")
        if num_hypotheses < 1:
            raise ValueError(f"num_hypotheses: expected at least 1, got {num_hypotheses}")
        self.data, self.error_rate, self.num_hypotheses, size = data, error_rate, num_hypotheses, num_dialogs
        self.state: dict[str, NDArray[Any]] = {
            **{name: np.zeros(size, dtype=np.int64) for name in ("refused", "offered", "act", "heard", "last", "turn")},
            **{name: np.zeros((size, SLOTS), dtype=bool) for name in ("asked", "answered")},
            **{name: np.zeros(size, dtype=bool) for name in ("fussy", "empty")},
            "constraints": np.zeros((size, SLOTS), dtype=np.int64),
            "score": np.zeros(size),
            "belief": np.zeros((size, SLOTS, NONE + 1)),
            "wanted": np.zeros((size, SLOTS)),
        }
        self.said, self.heard, self.told = Said.nothing(size), Said.nothing(size), np.full(size, -1)
        self.meant, self.choices = np.full((size, SLOTS), NONE), np.zeros((size, 2), dtype=np.int64)
        self.num_actions, self.num_features = NUM_ACTIONS, self.seen().shape[1]

    def start(self, random: np.random.Generator, rows: Flags) -> None:
        """Draw goals; the user says one or two of its constraints."""
        state, size = self.state, int(rows.sum())
        if not size:
            return
        goal = random.integers(len(self.data.constraints), size=size)
        state["constraints"][rows], state["asked"][rows] = self.data.constraints[goal], self.data.asked[goal]
        state["fussy"][rows] = random.random(size) < FUSSY
        self.forget(rows)
        said = Said.nothing(len(rows))
        first = one_of(np.ones((len(rows), SLOTS), dtype=bool), random) | user.volunteered(random, len(rows))
        user.informed(said, state["constraints"], first)
        self._mishear(said, random, rows)

    def forget(self, rows: Flags) -> None:
        """Put some dialogs [N] before their first turn; the goals stay."""
        state = self.state
        state["refused"][rows], state["offered"][rows], state["last"][rows] = -1, -1, NUM_ACTIONS
        for name in ("answered", "belief", "wanted", "turn", "empty"):
            state[name][rows] = 0
        state["belief"][rows, :, NONE] = 1.0

    def play(self, action: Numbers, random: np.random.Generator, rows: Flags) -> tuple[Reals, Flags]:
        """Say one act [N] in some dialogs; give rewards and whether they ended, [N] each."""
        if not rows.any():
            return np.zeros(len(rows)), rows
        reward, ended = self.speak(action, rows)
        self._mishear(self._answer(random, rows), random, rows)
        return reward, ended

    def speak(self, action: Numbers, rows: Flags) -> tuple[Reals, Flags]:
        """Say one act [N] in some dialogs, before the users answer; give rewards and whether they ended, [N] each."""
        state = self.state
        self.meant[rows] = self.likeliest()[rows]
        at = np.flatnonzero(rows & (action >= SELECT) & (action < OFFER))
        self.choices[at] = state["belief"][at, action[at] - SELECT, :ANY].argsort(axis=1)[:, :-3:-1]
        fits = user.satisfied(self.data.restaurants, state["offered"], state["constraints"]) & (state["offered"] != state["refused"])
        success = rows & (action == FAREWELL) & fits & (state["answered"] | ~state["asked"]).all(axis=1)
        state["turn"] += rows
        state["last"][rows], state["empty"][rows] = action[rows], False
        self._offer(np.flatnonzero(rows & ((action == OFFER) | (action == OTHERS))))
        self._tell(np.flatnonzero(rows & (action == TELL) & (state["offered"] >= 0)))
        ended = rows & ((action == FAREWELL) | (state["turn"] >= RESTAURANT_TURNS))
        return rows * TURN + success * SUCCESS, ended

    def likeliest(self) -> Numbers:
        """Give the most believed value of each slot, or `ANY` or `NONE`, [N, 3]."""
        return self.state["belief"].argmax(axis=2)

    def _offer(self, at: Numbers) -> None:
        """Find what to offer: what stands, if it fits what is believed, else the first that does; or the next one as an alternative."""
        if not len(at):
            return
        state = self.state
        fits, before, other = matches(self.data.restaurants, self.meant[at]), state["offered"][at], state["last"][at] == OTHERS
        places = np.arange(fits.shape[1])
        stands = (before >= 0) & fits[np.arange(len(at)), before] & ~other
        fits[other & (before >= 0), before[other & (before >= 0)]] = False
        distance = np.where(fits, (places - before[:, None] - 1) % len(places), len(places))
        first = np.where(other, distance.argmin(axis=1), fits.argmax(axis=1))
        found = fits.any(axis=1) | stands
        now = np.where(stands | ~found, before, first)
        state["empty"][at] = ~found
        state["answered"][at[now != before]] = False
        state["offered"][at] = now

    def _tell(self, at: Numbers) -> None:
        """Answer the question that was put most likely, of those not answered."""
        state = self.state
        self.told[at] = np.where(state["answered"][at], -1.0, state["wanted"][at]).argmax(axis=1)
        state["answered"][at, self.told[at]] = True

    def _answer(self, random: np.random.Generator, rows: Flags) -> Said:
        """Let the users answer."""
        state, action, likeliest, slots = self.state, self.state["last"], self.meant, np.arange(SLOTS)
        size = len(action)
        said, goal = Said.nothing(size), state["constraints"]
        slot = slots == (action % SLOTS)[:, None]
        choosing = (action < CONFIRM) | ((action >= SELECT) & (action < OFFER))
        user.informed(said, goal, (slot | user.volunteered(random, size)) & choosing[:, None])
        confirming = (action >= CONFIRM) & (action < SELECT)
        right = (slot & (likeliest == goal)).any(axis=1)
        said.act[confirming & right] = user.AFFIRM
        user.informed(said, goal, slot & (confirming & ~right)[:, None], user.NEGATE)
        later = rows & (action >= OFFER) & (action != FAREWELL)
        wrong = (likeliest < ANY) & (likeliest != goal) & (later & state["empty"])[:, None]
        user.informed(said, goal, one_of(wrong, random))
        rest = later & state["empty"] & ~wrong.any(axis=1)
        changing = rest & ~matches(self.data.restaurants, goal).any(axis=1)
        if changing.any():
            changed = goal.copy()
            changed[changing] = user.relaxed(self.data.restaurants, goal[changing], random)
            user.informed(said, changed, (changed != goal) & changing[:, None])
            goal[changing] = changed[changing]
        content = rest & ~changing  # nothing else was found: who wanted something else takes what there is
        state["refused"][content], state["fussy"][content] = -1, False
        self._judge(said, (later & ~state["empty"]) | content, random)
        return said

    def _judge(self, said: Said, rows: Flags, random: np.random.Generator) -> None:
        """Let users in some dialogs [N] say what they think of what was offered: it does not fit, another one, a question, goodbye."""
        state, goal, offered = self.state, self.state["constraints"], self.state["offered"]
        fits = user.satisfied(self.data.restaurants, offered, goal)
        broken = (self.data.restaurants[offered] != goal) & (goal < ANY) | (offered < 0)[:, None]
        user.informed(said, goal, one_of(broken & (rows & ~fits)[:, None], random))
        picky = rows & fits & state["fussy"]
        if picky.any():
            picky[picky] = user.has_other(self.data.restaurants, goal[picky])
            state["refused"][picky], state["fussy"][rows & fits] = offered[picky], False
        wants_other = rows & fits & (state["refused"] == offered)
        said.act[wants_other] = user.ALTERNATIVES
        questions = state["asked"] & ~state["answered"]
        asks = rows & fits & ~wants_other & questions.any(axis=1)
        said.act[asks] = user.REQUEST
        said.question[asks] = questions.argmax(axis=1)[asks]
        said.act[rows & fits & ~wants_other & ~asks] = user.BYE

    def _mishear(self, said: Said, random: np.random.Generator, rows: Flags) -> None:
        """Hear what is said with errors, the last hypothesis first: so each has the share that those before it leave."""
        heard, score = user.misheard(said, self.error_rate, random)
        if self.num_hypotheses > 1 and self.error_rate > 0:
            for rival, share in reversed(user.rivals_of(said, heard, self.num_hypotheses - 1, random)):
                self._believe(rival, share, rows)
        self.hear(said, heard, score, rows)

    def hear(self, said: Said, heard: Said, score: Reals, rows: Flags) -> None:
        """Bring the beliefs up to date with what is heard in some dialogs [N].

        Args:
            said: by the users, to the system's last act.
            heard: of it.
            score: [N] confidence of what is heard.
            rows: which dialogs.
        """
        state = self.state
        state["act"][rows], state["heard"][rows], state["score"][rows] = said.act[rows], heard.act[rows], score[rows]
        self.said.take(said, rows)
        self.heard.take(heard, rows)
        self._believe(heard, score, rows)

    def _believe(self, heard: Said, score: Reals, rows: Flags) -> None:
        """Move the beliefs of some dialogs [N] towards a hypothesis."""
        state, likeliest = self.state, self.meant
        values, at = heard.values.copy(), np.flatnonzero(rows & (state["last"] >= CONFIRM) & (state["last"] < SELECT))
        slot = state["last"][at] - CONFIRM
        yes, no = heard.act[at] == user.AFFIRM, heard.act[at] == user.NEGATE
        values[at[yes], slot[yes]] = likeliest[at[yes], slot[yes]]
        place = at[no], slot[no], likeliest[at[no], slot[no]]
        taken = state["belief"][place] * score[at[no]]
        state["belief"][place] -= taken
        state["belief"][at[no], slot[no], NONE] += taken
        dialog, slot = np.nonzero((values >= 0) & rows[:, None])
        sure = score[dialog]
        state["belief"][dialog, slot] *= (1 - sure)[:, None]
        state["belief"][dialog, slot, values[dialog, slot]] += sure
        asking = np.flatnonzero(rows & (heard.question >= 0))
        question = heard.question[asking]
        state["wanted"][asking, question] += score[asking] * (1 - state["wanted"][asking, question])

    def allowed(self) -> Flags:
        """Give which acts make sense, [N, 13]: nothing confirmed or selected that was not heard, nothing told of what was not offered."""
        state = self.state
        mask = np.ones((len(state["turn"]), NUM_ACTIONS), dtype=bool)
        mask[:, CONFIRM:SELECT] = state["belief"][:, :, NONE] < 1
        mask[:, SELECT:OFFER] = (state["belief"][:, :, :ANY] > RIVAL).sum(axis=2) > 1
        mask[:, TELL] = ((state["wanted"] > 0) & ~state["answered"]).any(axis=1)
        mask[:, TELL:NUM_ACTIONS] &= (state["offered"] >= 0)[:, None]
        return mask

    def seen(self) -> NDArray[np.float32]:
        """Give what the system sees, [N, F], by `columns`."""
        return np.concatenate(list(self.columns().values()), axis=1, dtype=np.float32)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Give what the system sees by name, [N, ...] each, in their order."""
        state, size = self.state, len(self.state["turn"])
        top = np.partition(state["belief"][:, :, :ANY], ANY - 2, axis=2)[:, :, -2:]
        fits = matches(self.data.restaurants, self.likeliest())
        stands = (state["offered"] >= 0) & fits[np.arange(size), state["offered"]]
        count = fits.sum(axis=1)
        return {
            "first": top[:, :, 1],
            "second": top[:, :, 0],
            "any": state["belief"][:, :, ANY],
            "unsaid": state["belief"][:, :, NONE],
            "wanted": state["wanted"],
            "answered": state["answered"],
            "open": np.where(state["answered"], 0.0, state["wanted"]).max(axis=1, keepdims=True),
            "heard": np.eye(len(user.USER_ACTS))[state["heard"]] * state["score"][:, None],
            "last": np.eye(NUM_ACTIONS + 1)[state["last"]],
            "offered": np.stack([state["offered"] >= 0, stands, state["empty"]], axis=1),
            "fitting": np.stack([np.log1p(count) / np.log1p(len(self.data.restaurants)), count == 0, count == 1], axis=1),
            "turn": (state["turn"] / RESTAURANT_TURNS)[:, None],
        }

    say, goal, turn = shown.last_turns, shown.goal, shown.turn
