"""Advantages of whole rows: what each row scored, compared with the others of its context, or with the greedy row."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from seqrl.functional import advantages
from seqrl.functional.returns import after_end
from seqrl.trajectory import Trajectory

RowBaseline = Literal["leave_one_out", "group_norm", "group_mean", "greedy"]


def row_advantage(method: RowBaseline, trajectory: Trajectory, score: Tensor, *, setting: str, instead: str) -> Tensor:
    """Compare the score of each row by one of the methods of `seqrl.functional.advantages`.

    Args:
        method: which.
        trajectory: of one episode a row.
        score: [B] float; rows without a step that the policy chose are not compared.
        setting: name of the trainer's field that asks for it, for messages.
        instead: what to set where a row cannot be an episode, for messages.

    Returns:
        [B] advantages.

    Raises:
        ValueError: when a row goes on after an end, or the method's own conditions are not met.
    """
    one_episode(trajectory, f"{setting} {method}", instead)
    if method == "greedy":
        return advantages.greedy(score, trajectory.baseline)
    compare = {"leave_one_out": advantages.leave_one_out, "group_norm": advantages.group_norm, "group_mean": advantages.group_mean}[method]
    return compare(score, trajectory.group, trajectory.mask.any(dim=1))


def one_episode(trajectory: Trajectory, method: str, instead: str) -> None:
    """Refuse rows that go on after an end: whole rows are compared, and such a row holds parts of several episodes.

    Args:
        trajectory: the rows.
        method: who compares them, for the message.
        instead: what to do where the task has no episodes a row.

    Raises:
        ValueError: when a step counts after an end of its row.
    """
    if bool((after_end(trajectory.terminated | trajectory.truncated) & trajectory.counted).any()):
        raise ValueError(f"{method}: expected one episode a row, got rows that go on after an end; collect whole episodes, or {instead}")
