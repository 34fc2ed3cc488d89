"""The hand-crafted policy of the restaurant domain, by thresholds, and dialogs that any policy plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.arrays import Flags, Numbers, Reals
from seqrl.tasks.dialog.restaurant_acts import CONFIRM, FAREWELL, OFFER, OTHERS, TELL
from seqrl.tasks.dialog.restaurant_data import RestaurantData
from seqrl.tasks.dialog.restaurant_dialogs import SUCCESS, TURN, RestaurantDialogs

Acting = Callable[[NDArray[np.float32], Flags], Numbers]


def columns_of(data: RestaurantData) -> dict[str, slice]:
    """Say where in its features a policy finds what `RestaurantDialogs.columns` names."""
    widths = {name: column.shape[1] for name, column in RestaurantDialogs(data, 1).columns().items()}
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), accumulate(widths.values()), strict=True)}


@dataclass(frozen=True)
class HandCrafted:
    """Asks for each slot until it is sure, offers, answers questions, and says goodbye when the user does.

    It sees what a learning policy sees, and its acts are within the same masks.

    Attributes:
        columns: where the features stand, see `columns_of`.
        request: a slot less believed than this is requested; with 0 none is, and what an offer is answered with tells the system more.
        confirm: one of which something was heard, less believed than this, is confirmed.
        question: belief from which on a question is answered.
        alternatives: confidence from which on a wish for an alternative is believed.
        goodbye: confidence from which on a goodbye is.
    """

    columns: Mapping[str, slice]
    request: float = 0.4
    confirm: float = 0.6
    question: float = 0.4
    alternatives: float = 0.4
    goodbye: float = 0.4

    def __call__(self, seen: NDArray[np.float32], mask: Flags) -> Numbers:
        """Choose acts [N] from features [N, F] and masks [N, A]."""
        part = {name: seen[:, place] for name, place in self.columns.items()}
        belief = np.maximum(part["first"], part["any"])
        unclear, unsure = belief < self.request, (belief < self.confirm) & (part["unsaid"] < 1)
        slot = np.where(unclear.any(axis=1), unclear.argmax(axis=1), CONFIRM + unsure.argmax(axis=1))
        slot = np.where((unclear | unsure).any(axis=1), slot, OFFER)
        heard, stands = part["heard"], part["offered"][:, 1] > 0
        told = stands & (part["open"][:, 0] >= self.question)
        act = np.where(stands, OFFER, slot)
        act = np.where(told, TELL, act)
        act = np.where(stands & (heard[:, user.ALTERNATIVES] >= self.alternatives), OTHERS, act)
        act = np.where(stands & (heard[:, user.BYE] >= self.goodbye), FAREWELL, act)
        return np.where(mask[np.arange(len(act)), act], act, OFFER)


@dataclass(frozen=True)
class Outcome:
    """How dialogs went, [N] each: whether they were successes, the system's turns, and the reward."""

    success: Flags
    turns: Numbers
    reward: Reals


def play_dialogs(acting: Acting, data: RestaurantData, *, error_rate: float, count: int, seed: int, num_hypotheses: int = 1) -> Outcome:
    """Play dialogs to their ends with a policy that maps features and masks to acts."""
    dialogs = RestaurantDialogs(data, count, error_rate, num_hypotheses)
    random, rows = np.random.default_rng(seed), np.ones(count, dtype=bool)
    dialogs.start(random, rows)
    reward, turns = np.zeros(count), np.zeros(count, dtype=np.int64)
    while rows.any():
        earned, ended = dialogs.play(acting(dialogs.seen(), dialogs.allowed()), random, rows)
        reward, turns, rows = reward + earned, turns + rows, rows & ~ended
    return Outcome(reward - TURN * turns > SUCCESS / 2, turns, reward)
