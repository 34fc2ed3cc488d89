"""Dialogue: what a system should say next, learned from simulated users. The environments run in the control task."""

from __future__ import annotations

import gymnasium as gym

from seqrl.tasks.dialog.names import MOVIE_BOOKING, MOVIE_TURNS

if MOVIE_BOOKING not in gym.registry:
    gym.register(
        MOVIE_BOOKING,
        entry_point="seqrl.tasks.dialog.movie_environment:MovieBooking",
        vector_entry_point="seqrl.tasks.dialog.movie_environment:MovieBookings",
        max_episode_steps=MOVIE_TURNS,
    )
