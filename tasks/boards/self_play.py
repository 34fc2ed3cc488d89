"""Games of a policy against itself, as rows that trainers learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqrl.policies.search_policy import Choice
from seqrl.policies.tokens import evaluation_mode
from seqrl.tasks.boards.rules import BoardGame, Boards
from seqrl.trajectory import Trajectory

SEEN = ("observation", "action_mask", "visits")


def self_play(
    game: BoardGame, policy: nn.Module, count: int, *, greedy: bool = False, generator: torch.Generator | None = None
) -> tuple[Trajectory, Boards]:
    """Play games to their ends; give rows, those of the first players before those of the second ones, and how the games ended.

    Args:
        game: rules.
        policy: chooses for both players, see `seqrl.policies.search_policy.SearchPolicy.choose`.
        count: N, games.
        greedy: see there.
        generator: see there.
    """
    state = game.start(count)
    choose: Callable[..., Choice] = policy.choose  # type: ignore[assignment]
    plies: list[Mapping[str, NDArray[Any]]] = []
    with evaluation_mode(policy):
        while not state.ended.all():
            live = np.flatnonzero(~state.ended)
            chosen = choose(state.rows(live), greedy=greedy, generator=generator)
            columns = {name: _spread(column, live, count) for name, column in chosen._asdict().items()}
            plies.append(columns | {"observation": game.planes(state), "action_mask": game.legal(state), "live": ~state.ended})
            state = game.play(state, columns["action"])
    return _rows(plies, state.winner), state


def _spread(column: NDArray[Any], live: NDArray[np.int64], count: int) -> NDArray[Any]:
    """Bring what is about some games to the places of these among all, [N, ...], 0 elsewhere."""
    whole = np.zeros((count, *column.shape[1:]), column.dtype)
    whole[live] = column
    return whole


def _rows(plies: list[Mapping[str, NDArray[Any]]], winner: NDArray[np.int8]) -> Trajectory:
    """Make two rows of each game, one a player, whose last move earns 1, 0 or -1."""
    if len(plies) % 2:
        plies = [*plies, {name: np.zeros_like(column) for name, column in plies[0].items()}]
    parts = {name: [np.stack([ply[name] for ply in plies[player::2]], axis=1) for player in (0, 1)] for name in plies[0]}
    columns = {name: torch.from_numpy(np.concatenate(both)) for name, both in parts.items()}
    mask = columns["live"]
    ends = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
    outcome = torch.from_numpy(np.concatenate([winner, -winner]).astype(np.float32))
    return Trajectory(
        action=columns["action"],
        logp=columns["logp"],
        value=_one_more(columns["value"]),
        reward=torch.where(ends, outcome.unsqueeze(1), 0.0),
        terminated=ends,
        truncated=torch.zeros_like(ends),
        mask=mask,
        obs={name: _one_more(columns[name]) for name in SEEN},
        group=torch.arange(2).repeat_interleave(len(winner)),
    )


def _one_more(column: Tensor) -> Tensor:
    """Add a step of zeros, [B, T+1, ...]."""
    return torch.cat([column, torch.zeros_like(column[:, :1])], dim=1)
