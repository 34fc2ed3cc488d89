"""A dialog about restaurants in which somebody types what the simulated user would say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqrl.tasks.control.chatting import Acting
from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.hearing import HEARS, understand
from seqrl.tasks.dialog.restaurant_acts import ACTIONS, NUM_ACTIONS, OFFER, SLOTS
from seqrl.tasks.dialog.restaurant_data import ANY
from seqrl.tasks.dialog.restaurant_dialogs import SUCCESS, TURN, RestaurantDialogs
from seqrl.tasks.dialog.restaurant_shown import bars, user_act
from seqrl.tasks.dialog.restaurant_user import Said
from seqrl.tasks.dialog.voice import GREETING, SystemAct, spoken


class RestaurantConversation:
    """See `seqrl.protocols.Conversation`. The goal is what has been said: the last value of each slot, and all that was asked.

    Args:
        dialogs: of one row.
        acting: chooses acts.
        random: draws errors.
        mishear: hear with the errors that the simulated user's turns have; else as typed, at a confidence of 1, less for misspelt words.
        voice: puts acts into words; the templates when None.
    """

    hears = HEARS

    def __init__(
        self,
        dialogs: RestaurantDialogs,
        acting: Acting,
        random: np.random.Generator,
        *,
        mishear: bool = False,
        voice: Callable[[SystemAct], str] | None = None,
    ) -> None:
        self.dialogs, self._acting, self._random, self._mishear = dialogs, acting, random, mishear
        self._voice = voice or (lambda act: act.text)
        self._one = np.ones(1, dtype=bool)
        self.begin()

    def begin(self) -> str:
        """Forget what was said; give the system's greeting."""
        self.dialogs.forget(self._one)
        state = self.dialogs.state
        state["constraints"][:], state["asked"][:], state["fussy"][:] = ANY, False, False
        self.ended, self._paid, self._success = False, 0.0, False
        self._acting.begin()
        return GREETING

    def reply(self, text: str) -> str | None:
        """Hear a text and let the policy act; None where nothing in it can be heard."""
        last = int(self.dialogs.state["last"][0])
        understood = understand(text, last % SLOTS if last < OFFER else None)
        if understood is None:
            return None
        if self.ended:
            self.begin()
        said, score = understood[0], np.array([understood[1]])
        self._want(said)
        heard = said
        if self._mishear:
            heard, score = user.misheard(said, self.dialogs.error_rate, self._random)
        self.dialogs.hear(said, heard, score, self._one)
        action = self._acting.choose(self.dialogs.seen(), self.dialogs.allowed())
        reward, ended = self.dialogs.speak(np.array([action]), self._one)
        self._paid, self.ended = self._paid + float(reward[0]), bool(ended[0])
        self._success = bool(reward[0] > TURN + SUCCESS / 2)
        return self._voice(spoken(self.dialogs, 0))

    def _want(self, said: Said) -> None:
        """Take over what somebody says into the goal."""
        state, values = self.dialogs.state, said.values[0]
        state["constraints"][0] = np.where(values >= 0, values, state["constraints"][0])
        if said.question[0] >= 0:
            state["asked"][0, said.question[0]] = True
        if said.act[0] == user.ALTERNATIVES:
            state["refused"][:] = state["offered"]

    def facts(self) -> dict[str, str]:
        """Give what was heard, believed, done and paid, by these names."""
        state, action = self.dialogs.state, int(self.dialogs.state["last"][0])
        paid = f"{self._paid:+g} after {int(state['turn'][0])} turns"
        if self.ended:
            paid += ", a success" if self._success else ", no success: what was wanted was not offered, or a question not answered"
        return {
            "heard": f"{user_act(self.dialogs.heard, 0)} ({state['score'][0]:.2f})" if state["turn"][0] else "nothing yet",
            "belief": "\n".join(bars(self.dialogs, 0)),
            "act": ACTIONS[action] if action < NUM_ACTIONS else "none yet",
            "paid": paid,
        }
