"""Trajectories, losses and trainers; knows no task and no metric."""
