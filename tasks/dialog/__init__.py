"""Dialogue: what a system should say next, learned from simulated users. The environments run in the control task."""

from __future__ import annotations

from seqrl.tasks.dialog.names import MOVIE_BOOKING, MOVIE_TURNS, RESTAURANT, RESTAURANT_TURNS
from seqrl.tasks.registering import register

_MODULE = "seqrl.tasks.dialog.{}_environment"
register(MOVIE_BOOKING, _MODULE.format("movie"), "MovieBooking", "MovieBookings", max_episode_steps=MOVIE_TURNS)
register(RESTAURANT, _MODULE.format("restaurant"), "RestaurantDialog", "RestaurantDialogRows", max_episode_steps=RESTAURANT_TURNS)
