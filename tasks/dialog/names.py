"""Names and lengths of the dialogue environments, apart so that to register them loads nothing."""

from __future__ import annotations

MOVIE_BOOKING = "seqrl/MovieBooking-v0"
MOVIE_TURNS = 20  # the system's; the user's are as many
RESTAURANT = "seqrl/RestaurantDialog-v0"
RESTAURANT_TURNS = 25
