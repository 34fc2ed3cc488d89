"""Solve the robot's 4x3 room exactly: utilities and best actions for a step reward."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--step-reward", type=float, nargs="+", default=[-0.04], metavar="R", help="one or several; -0.04 by default")
    parser.add_argument("--gamma", type=float, default=1.0, help="gamma, per step; 1 by default")
    parser.add_argument("--changes", action="store_true", help="print the step rewards at which the best undiscounted policy changes")
    parser.add_argument("--output", type=Path, help="also draw the rooms into this PNG")


def run(args: argparse.Namespace) -> int:
    """Print each room with its utilities and arrows."""
    from seqrl.tasks.gridworld.room import describe_solution, room_changes, solve_room

    if args.changes:
        print("the best undiscounted policy changes at step rewards " + ", ".join(f"{change:.4f}" for change in room_changes()))
        return 0
    solutions = [solve_room(step_reward, args.gamma) for step_reward in args.step_reward]
    for solution in solutions:
        print(f"step reward {solution.step_reward:+g}, gamma {args.gamma:g}")
        print(describe_solution(solution))
    if args.output:
        from seqrl.tasks.gridworld.drawing import draw_solutions

        print(f"drawn into {draw_solutions(solutions, args.output)}")
    return 0
