"""The restaurant domain as gymnasium environments; the folder's `__init__` registers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from seqrl.tasks.control.chatting import Acting
from seqrl.tasks.dialog.conversation import RestaurantConversation
from seqrl.tasks.dialog.environment import ManyDialogs, OneDialog
from seqrl.tasks.dialog.restaurant_data import Goals, restaurant_data
from seqrl.tasks.dialog.restaurant_dialogs import SUCCESS, TURN, RestaurantDialogs
from seqrl.tasks.dialog.voice import WrittenVoice


def restaurant_dialogs(
    size: int,
    error_rate: float = 0.0,
    goals: Goals = "all",
    num_hypotheses: int = 1,
) -> RestaurantDialogs:
    """Make dialogs about the built-in restaurants.

    Args:
        size: their number.
        error_rate: chance that a turn of the user is misheard.
        goals: "all", "train" or "unseen"; a policy that learns from "train" is evaluated on "unseen".
        num_hypotheses: that are heard of each turn, with their confidences.

    Raises:
        ValueError: when a setting is out of range.
    """
    return RestaurantDialogs(restaurant_data(goals=goals), size, error_rate, num_hypotheses)


class RestaurantDialog(OneDialog):
    """One dialog, see `RestaurantDialogs`; its options are those of `restaurant_dialogs`."""

    make = staticmethod(restaurant_dialogs)

    @staticmethod
    def evaluation_options(options: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate on goals that were not trained with."""
        return {**options, "goals": "unseen"} if options.get("goals") == "train" else dict(options)

    @staticmethod
    def describe_episodes(returns: Tensor, lengths: Tensor) -> dict[str, float]:
        """Give the share of successes and the mean number of turns of both sides."""
        success = returns - TURN * lengths > SUCCESS / 2
        return {"success": float(success.double().mean()), "turns": float(2 * lengths.double().mean())}

    @staticmethod
    def conversation(
        options: Mapping[str, Any], acting: Acting, *, seed: int, mishear: bool, voice: tuple[Any, Any] | None
    ) -> RestaurantConversation:
        """Let somebody talk to a policy about the same restaurants."""
        dialogs, say = restaurant_dialogs(1, **{**options, "goals": "all"}), None if voice is None else WrittenVoice(*voice).say
        return RestaurantConversation(dialogs, acting, np.random.default_rng(seed), mishear=mishear, voice=say)


class RestaurantDialogRows(ManyDialogs):
    """Many dialogs at once."""

    make = staticmethod(restaurant_dialogs)
