"""Movie booking as gymnasium environments; the folder's `__init__` registers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqrl.tasks.control.chatting import Acting
from seqrl.tasks.dialog.environment import ManyDialogs, OneDialog
from seqrl.tasks.dialog.movie_conversation import MovieConversation
from seqrl.tasks.dialog.movie_data import read_movies
from seqrl.tasks.dialog.movie_dialogs import MovieDialogs

FOLDER = "$SEQRL_DATA/movie_booking"


def movie_dialogs(size: int, folder: str = FOLDER, rule_dialogs: int = 0) -> MovieDialogs:
    """Make dialogs about the showings of a folder.

    Args:
        size: their number.
        folder: with movies.json and user_goals.json; `~` and `$NAME` are replaced.
        rule_dialogs: so many dialogs, the first ones, are the rule agent's: the mask leaves its act alone. Evaluations have none.

    Raises:
        FileNotFoundError: when the files are not there.
        ValueError: when they do not hold what they should, or a number is negative.
    """
    return MovieDialogs(read_movies(folder), size, rule_dialogs)


class MovieBooking(OneDialog):
    """One dialog, see `MovieDialogs`; its options are those of `movie_dialogs`."""

    make = staticmethod(movie_dialogs)

    @staticmethod
    def evaluation_options(options: Mapping[str, Any]) -> dict[str, Any]:
        """Leave the rule agent out where a policy is evaluated."""
        return {name: value for name, value in options.items() if name != "rule_dialogs"}

    @staticmethod
    def describe_episodes(returns: Tensor, lengths: Tensor) -> dict[str, float]:
        """Give the share of successes, which are what pays, and the mean number of turns of both sides."""
        return {"success": float((returns > 0).double().mean()), "turns": float(2 * lengths.to(torch.float64).mean())}

    @staticmethod
    def conversation(
        options: Mapping[str, Any], acting: Acting, *, seed: int, mishear: bool, voice: tuple[Any, Any] | None
    ) -> MovieConversation:
        """Let somebody talk to a policy about the same showings.

        Raises:
            ValueError: when it is to mishear, or to speak with another voice than the templates.
        """
        if mishear or voice is not None:
            raise ValueError("movie booking: expected neither --mishear nor --voice, since nothing is misheard in it; leave them out")
        return MovieConversation(read_movies(options.get("folder", FOLDER)), acting)


class MovieBookings(ManyDialogs):
    """Many dialogs at once."""

    make = staticmethod(movie_dialogs)
