"""Dialogue: what a system should say next, learned from simulated users. The environments run in the control task."""

from __future__ import annotations

import gymnasium as gym

from seqrl.tasks.dialog.names import MOVIE_BOOKING, MOVIE_TURNS, RESTAURANT, RESTAURANT_TURNS

for name, module, classes, turns in (
    (MOVIE_BOOKING, "movie_environment", ("MovieBooking", "MovieBookings"), MOVIE_TURNS),
    (RESTAURANT, "restaurant_environment", ("RestaurantDialog", "RestaurantDialogRows"), RESTAURANT_TURNS),
):
    if name not in gym.registry:
        one, many = (f"seqrl.tasks.dialog.{module}:{made}" for made in classes)
        gym.register(name, entry_point=one, vector_entry_point=many, max_episode_steps=turns)
