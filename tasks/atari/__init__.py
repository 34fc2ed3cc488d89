"""Atari games through ale-py's vector environment: the same trainers, with frames and scores."""
