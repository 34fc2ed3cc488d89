"""METEOR 1.5 without Java; see `seqrl.metrics.meteor.metric`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqrl.metrics.meteor.metric import Meteor

__all__ = ["Meteor"]


def __getattr__(name: str) -> Any:
    """Import the metric when it is first asked for: SPICE reads the word lists without it."""
    if name != "Meteor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has Meteor")
    from seqrl.metrics.meteor.metric import Meteor

    return Meteor
