"""Problems to train on: data, policies and rewards."""
