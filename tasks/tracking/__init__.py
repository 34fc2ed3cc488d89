"""Sub-pixel neural tracking: an actor sees a patch of an image and follows an axon to its end by steps of any length and direction."""

from __future__ import annotations

from seqrl.tasks.registering import register

ENVIRONMENT = "seqrl/AxonTracking-v0"
MOST_STEPS = 100

register(ENVIRONMENT, "seqrl.tasks.tracking.environment", "AxonTracking", "AxonTrackings", max_episode_steps=MOST_STEPS)
