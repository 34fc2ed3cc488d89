"""Names and sizes of the worlds, apart from what they are made of."""

from __future__ import annotations

CHAIN, KEY_DOOR = "seqrl/Chain-v0", "seqrl/KeyDoor-v0"
CHAIN_LENGTH = 50
CHAIN_STEPS = CHAIN_LENGTH + 9
KEY_DOOR_SIZE = 9
KEY_DOOR_STEPS = 200
