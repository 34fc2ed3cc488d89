"""What stands where nothing counts reaches neither gradient nor weight, NaN included."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from matrix_cells import VARIANTS, parameters, running
from matrix_kinds import KINDS
from matrix_updates import assert_same, learn, rows_of, whole
from test_matrix_equal import tolerance
from torch import Tensor

from seqrl.trajectory import Trajectory, concatenate, map_tree

# Glimpses have no padding; the replay and the tables of steps go by the steps' places.
PAIRS = [
    pair
    for pair in running()
    if pair[1] != "atari_steps" and KINDS[pair[1]].family != "glimpses" and not VARIANTS[pair[0]].updates_in_order
]
# A caption cannot become longer than the policy writes.
LONGER = [pair for pair in PAIRS if KINDS[pair[1]].family != "texts"]
FIELDS = ("logp", "value", "reward", "obs", "action", "baseline")


def spoilt(rows: Trajectory, name: str) -> Trajectory:
    """Write NaN into a field where nothing counts, and where a field is of whole numbers another number that it may have."""
    off = ~rows.counted
    if name == "baseline":
        return rows if rows.baseline is None else rows.replace(baseline=rows.baseline.masked_fill(~rows.mask.any(dim=1), math.nan))
    # What was seen after the last step may be bootstrapped from.
    needed = torch.nn.functional.pad(rows.counted, (1, 0)) | torch.nn.functional.pad(rows.counted, (0, 1))

    def spoil(leaf: Tensor, places: Tensor) -> Tensor:
        places = places.view(*places.shape, *[1] * (leaf.ndim - 2))
        return leaf.masked_fill(places, math.nan) if leaf.is_floating_point() else torch.where(places, leaf[:1, :1], leaf)

    return rows.replace(**{name: map_tree(lambda leaf: spoil(leaf, ~needed if name in ("obs", "value") else off), getattr(rows, name))})


def extended(rows: Trajectory) -> Trajectory:
    """Add two steps and two rows that do not count; a row that was going on is cut where it was."""
    per_row = ("group", "baseline", "context", "state0")
    fields: dict[str, Any] = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}

    def more(leaf: Tensor) -> Tensor:
        return torch.cat([leaf, leaf[:, -1:], leaf[:, -1:]], dim=1)

    longer = Trajectory(**{name: tree if name in per_row else map_tree(more, tree) for name, tree in fields.items()})
    taller = concatenate([longer, longer.select_rows(slice(0, 2))])
    inside = torch.zeros_like(taller.mask)
    inside[: rows.batch_size, : rows.num_steps] = True
    last = inside & ~torch.nn.functional.pad(inside[:, 1:], (0, 1))
    mask, terminated = taller.mask & inside, taller.terminated & inside
    truncated = taller.truncated & inside | last & mask & ~terminated
    imitate = None if taller.imitate is None else taller.imitate & inside
    return taller.replace(
        mask=mask, imitate=imitate, terminated=terminated, truncated=truncated, reward=torch.where(inside, taller.reward, 0.0)
    )


@pytest.mark.slow  # the next test does the same with NaN
@pytest.mark.parametrize(("variant", "kind"), parameters(LONGER, wide=True))
def test_steps_and_rows_that_do_not_count_change_nothing(variant: str, kind: str) -> None:
    assert_same(learn(variant, kind, extended(rows_of(variant, kind))), whole(variant, kind), tolerance(variant))


@pytest.mark.parametrize(("variant", "kind"), parameters(PAIRS))
def test_nan_where_nothing_counts_changes_nothing(variant: str, kind: str) -> None:
    rows = rows_of(variant, kind)
    rows = rows if KINDS[kind].family == "texts" else extended(rows)
    for field in FIELDS:
        rows = spoilt(rows, field)
    assert_same(learn(variant, kind, rows), whole(variant, kind), tolerance(variant))
