"""What surrounds a trainer: configuration, loop, checkpoints, logs, the command."""
