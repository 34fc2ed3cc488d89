"""What the system of the restaurant domain can do: acts by number and by name."""

from __future__ import annotations

from seqrl.tasks.dialog.restaurant_data import INFORMABLE

SLOTS = len(INFORMABLE)
CONFIRM, SELECT = SLOTS, 2 * SLOTS  # the acts of the first slot; requests stand before them
OFFER, TELL, OTHERS, FAREWELL, NUM_ACTIONS = range(3 * SLOTS, 3 * SLOTS + 5)
_ABOUT_SLOTS = tuple(f"{act}({slot})" for act in ("request", "confirm", "select") for slot in INFORMABLE)
ACTIONS = (*_ABOUT_SLOTS, "offer", "inform", "alternatives", "bye")
