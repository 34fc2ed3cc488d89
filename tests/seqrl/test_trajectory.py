"""The shape checks of a trajectory, and that selecting, moving and joining keep every field together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from seqrl.functional import returns
from seqrl.functional.reductions import masked_mean
from seqrl.trajectory import Trajectory, concatenate, map_tree, tree_leaves


def numbered(B: int, T: int, offset: int = 0, **changes: Any) -> Trajectory:
    """Every entry tells its field, row and step: 100 * row + step, plus 10000 * field."""
    grid = 100.0 * (offset + torch.arange(B))[:, None] + torch.arange(T + 1)[None]
    row = offset + torch.arange(B)
    fields: dict[str, Any] = {
        "action": grid[:, :-1].long(),
        "logp": grid[:, :-1] + 10000,
        "value": grid + 20000,
        "reward": grid[:, :-1] + 30000,
        "terminated": torch.zeros(B, T, dtype=torch.bool),
        "truncated": torch.zeros(B, T, dtype=torch.bool),
        "mask": torch.ones(B, T, dtype=torch.bool),
        "obs": {"picture": grid[..., None].expand(B, T + 1, 2) + 40000, "pair": (grid + 50000,)},
        "context": {"image": 100.0 * row + 60000},
        "group": row,
        "baseline": row + 0.5,
    }
    return Trajectory(**(fields | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logp": torch.zeros(2, 4)}, r"logp: expected shape \[2, 3\]"),
        ({"value": torch.zeros(2, 3)}, r"value: expected shape \[2, 4\]"),
        ({"group": torch.zeros(3)}, r"group: expected shape \[2\]"),
        ({"baseline": torch.zeros(2, 1)}, r"baseline: expected shape \[2\]"),
        ({"imitate": torch.zeros(2, 1, dtype=torch.bool)}, r"imitate: expected shape \[2, 3\]"),
        ({"mask": torch.ones(2, 3)}, r"mask: expected a bool tensor, got torch.float32; write `mask.bool\(\)`"),
        ({"obs": torch.zeros(2, 3)}, r"obs: expected leaves \[B, T\+1, ...\] = \[2, 4\]"),
        ({"context": {"image": torch.zeros(3)}}, "context: expected leaves"),
        ({"state0": (torch.zeros(1, 5),)}, "state0: expected leaves"),
        ({"action": torch.zeros(2)}, r"action: expected shape \[B, T, ...\]"),
    ],
)
def test_misfits_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbered(2, 3, **change)


def test_sizes_and_score() -> None:
    trajectory = numbered(2, 3, reward=torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]))
    assert (trajectory.batch_size, trajectory.num_steps) == (2, 3)
    assert trajectory.score.tolist() == [6.0, -0.5]


def every_leaf(trajectory: Trajectory) -> list[Tensor]:
    return [leaf for field in dataclasses.fields(Trajectory) for leaf in tree_leaves(getattr(trajectory, field.name))]


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True]), slice(1, 3)])
def test_select_rows_keeps_the_fields_together(rows: Tensor | slice) -> None:
    picked = numbered(3, 4).select_rows(rows)
    names = torch.arange(3)[rows]
    for b, row in enumerate(names.tolist()):
        assert picked.action[b].tolist() == [100 * row + t for t in range(4)]
        assert picked.value[b].tolist() == [20000 + 100 * row + t for t in range(5)]
        assert picked.obs["pair"][0][b, 4] == 50004 + 100 * row  # type: ignore[index]
        assert picked.context["image"][b] == 60000 + 100 * row  # type: ignore[index]
        assert picked.group[b] == row and picked.baseline[b] == row + 0.5  # type: ignore[index]


def test_select_rows_in_parts_is_the_whole() -> None:
    whole = numbered(3, 4)
    joined = concatenate([whole.select_rows(slice(0, 1)), whole.select_rows(slice(1, 3))])
    assert all(torch.equal(x, y) for x, y in zip(every_leaf(joined), every_leaf(whole), strict=True))


def test_select_steps_keeps_the_fields_together() -> None:
    steps = numbered(3, 4).select_steps(torch.tensor([2, 0, 2]), torch.tensor([3, 1, 0]))
    assert (steps.batch_size, steps.num_steps) == (3, 1)
    assert steps.action.tolist() == [[203], [1], [200]]
    assert steps.value.tolist() == [[20203.0, 20204.0], [20001.0, 20002.0], [20200.0, 20201.0]]
    assert steps.obs["picture"][:, :, 0].tolist() == [[40203.0, 40204.0], [40001.0, 40002.0], [40200.0, 40201.0]]  # type: ignore[index]
    assert steps.context["image"].tolist() == [60200.0, 60000.0, 60200.0]  # type: ignore[index]
    assert steps.group.tolist() == [2, 0, 2]  # type: ignore[union-attr]


def test_one_step_advantages_do_not_notice_that_steps_were_shuffled() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(2, 3, 4, generator=generator) < 0.3
    whole = numbered(3, 4, value=torch.randn(3, 5, generator=generator), reward=torch.randn(3, 4, generator=generator))
    whole = whole.replace(terminated=ends[0], truncated=ends[1])
    rows, steps = torch.tensor([1, 0, 2, 2]), torch.tensor([3, 0, 2, 0])
    part = whole.select_steps(rows, steps)
    of_whole = returns.gae(whole.reward, whole.value, whole.terminated, whole.truncated, 0.9, 0.0)[rows, steps]
    assert torch.equal(returns.gae(part.reward, part.value, part.terminated, part.truncated, 0.9, 0.0)[:, 0], of_whole)


def test_steps_of_a_recurrent_policy_stay_together() -> None:
    with pytest.raises(ValueError, match="use minibatches over rows"):
        numbered(2, 3, state0={"hidden": torch.zeros(2, 5)}).select_steps(torch.tensor([0]), torch.tensor([0]))


def test_concatenate_pads_with_steps_that_do_not_count() -> None:
    long, short = numbered(2, 4), numbered(1, 2, offset=7, terminated=torch.tensor([[False, True]]))
    joined = concatenate([long, short])
    assert (joined.batch_size, joined.num_steps) == (3, 4)
    assert joined.mask.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert joined.group.tolist() == [0, 1, 7]  # type: ignore[union-attr]
    assert joined.value.shape == (3, 5) and joined.obs["picture"].shape == (3, 5, 2)  # type: ignore[index, call-overload]
    assert joined.obs["picture"][2, :, 1].tolist() == [40700.0, 40701.0, 40702.0, 0.0, 0.0]  # type: ignore[index, call-overload]
    # What is computed of the padded row is what is computed of it alone.
    of_joined = returns.gae(joined.reward, joined.value, joined.terminated, joined.truncated, 0.9, 0.9)[2, :2]
    alone = returns.gae(short.reward, short.value, short.terminated, short.truncated, 0.9, 0.9)[0]
    assert torch.equal(of_joined, alone)
    counted = torch.cat([long.logp.flatten(), short.logp.flatten()])
    assert masked_mean(joined.logp, joined.mask).item() == pytest.approx(counted.mean().item())


def test_concatenate_fills_what_only_some_have() -> None:
    imitate = torch.ones(1, 3, dtype=torch.bool)
    shown = numbered(1, 3, group=None, baseline=None, imitate=imitate, mask=~imitate)
    joined = concatenate([numbered(1, 3, offset=4), shown])
    assert joined.group.tolist() == [4, -1]  # type: ignore[union-attr]
    assert joined.baseline.tolist() == [4.5, 0.0]  # type: ignore[union-attr]
    assert joined.imitate.tolist() == [[False] * 3, [True] * 3]  # type: ignore[union-attr]
    assert concatenate([shown, shown]).group is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("name", ["obs", "context"])
def test_concatenate_refuses_different_structure(name: str, order: tuple[int, int]) -> None:
    both = [numbered(1, 3), numbered(1, 3, **{name: None})]
    with pytest.raises(ValueError, match=f"{name}: expected it in all trajectories or in none"):
        concatenate([both[i] for i in order])


def test_concatenate_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def test_to_moves_every_leaf() -> None:
    assert all(leaf.device.type == "meta" for leaf in every_leaf(numbered(2, 3).to("meta")))


def test_trees() -> None:
    tree = {"a": torch.tensor([1.0]), "b": (torch.tensor([2.0]), None)}
    assert [leaf.item() for leaf in tree_leaves(tree)] == [1.0, 2.0]
    assert tree_leaves(None) == []
    added = map_tree(lambda x, y: x + y, tree, tree)
    assert added["b"][0].item() == 4.0 and added["b"][1] is None  # type: ignore[index, call-overload]
    with pytest.raises(TypeError, match="expected a tree of tensors"):
        map_tree(lambda x: x, [1.0])  # type: ignore[arg-type]
