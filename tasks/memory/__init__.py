"""Augmented memory: problems of symbols for a controller of discrete heads, a neural Turing machine, and adaptive computation time."""

from __future__ import annotations

from seqrl.tasks.memory.names import MOST_STEPS, TAPES
from seqrl.tasks.registering import register

register(TAPES, "seqrl.tasks.memory.tapes", "OneTape", "ManyTapes", max_episode_steps=MOST_STEPS)
