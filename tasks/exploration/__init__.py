"""Worlds whose reward is far away: a chain, and a grid with a key and a door. Both run in the control task."""

from __future__ import annotations

from seqrl.tasks.exploration.names import CHAIN, CHAIN_STEPS, KEY_DOOR, KEY_DOOR_STEPS
from seqrl.tasks.registering import register

_FILE = "seqrl.tasks.exploration.environment"
register(CHAIN, _FILE, "one_chain", "many_chains", max_episode_steps=CHAIN_STEPS)
register(KEY_DOOR, _FILE, "one_key_door", "many_key_doors", max_episode_steps=KEY_DOOR_STEPS)
