"""Augmented memory: problems of symbols for a controller that moves heads over tapes. The environment runs in the control task."""

from __future__ import annotations

from seqrl.tasks.memory.names import MOST_STEPS, TAPES
from seqrl.tasks.registering import register

register(TAPES, "seqrl.tasks.memory.tapes", "OneTape", "ManyTapes", max_episode_steps=MOST_STEPS)
