from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from seqrl.tasks.control.parts import needs_flattening
from seqrl.tasks.control.spaces import action_translator, check_spaces, packed_action, policy_spaces, unpacked_action

BOX, DISCRETE = Box(-1, 1, (2,)), Discrete(2)
JOINT = Tuple((Discrete(3), Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))))


def test_spaces_without_a_layer_are_refused() -> None:
    for action_space in (DISCRETE, BOX, Box(-1, 1, (2, 2)), MultiDiscrete([2, 3]), MultiBinary(3), JOINT):
        check_spaces("fine", BOX, action_space)
    with pytest.raises(ValueError, match="odd: expected a Discrete, MultiDiscrete, MultiBinary or Box action space, or a Tuple.*got Text"):
        check_spaces("odd", BOX, Text(3))
    for parts in ((BOX, DISCRETE), (DISCRETE, BOX, BOX), (MultiDiscrete([2, 3]), BOX)):
        with pytest.raises(ValueError, match=r"or a Tuple of a Discrete and a Box, got Tuple"):
            check_spaces("odd", BOX, Tuple(parts))
    with pytest.raises(ValueError, match="odd: expected a Box of real numbers for the actions"):
        check_spaces("odd", BOX, Tuple((DISCRETE, Box(0, 9, (2,), dtype=np.int64))))
    with pytest.raises(ValueError, match="odd: expected a Box of real numbers for the actions"):
        check_spaces("odd", BOX, Box(0, 9, (2,), dtype=np.int64))
    with pytest.raises(ValueError, match="observation space, or one that flattens into a Box, got Text"):
        check_spaces("odd", Text(3), DISCRETE)
    for spaces in (
        (BOX, Discrete(2, start=1)),
        (Discrete(3, start=-1), DISCRETE),
        (BOX, MultiDiscrete([2, 2], start=[0, 1])),
        (BOX, Tuple((Discrete(2, start=1), BOX))),
    ):
        with pytest.raises(ValueError, match="numbers from 0"):
            check_spaces("odd", *spaces)
    with pytest.raises(ValueError, match="a row of choices"):
        check_spaces("odd", BOX, MultiBinary((2, 2)))


def test_what_can_be_flattened() -> None:
    assert needs_flattening(Dict({"a": BOX, "b": DISCRETE})) and needs_flattening(MultiBinary(3))
    assert not needs_flattening(BOX) and not needs_flattening(DISCRETE) and not needs_flattening(Dict({"a": gym.spaces.Sequence(BOX)}))


def test_spaces_as_a_policy_sees_them() -> None:
    seen, chosen = policy_spaces(Box(-2, 3, (2,)), MultiBinary(3), frame_stack=4)
    assert seen == Box(-2, 3, (4, 2)) and chosen == MultiDiscrete([2, 2, 2])
    assert policy_spaces(DISCRETE, Box(-1, 1, (2, 3))) == (DISCRETE, Box(-1, 1, (6,)))
    assert policy_spaces(BOX, Tuple((DISCRETE, Box(-1, 1, (2, 3))))) == (BOX, Tuple((DISCRETE, Box(-1, 1, (6,)))))
    masked, _ = policy_spaces(BOX, Discrete(3), action_masks=True)
    assert masked == Dict({"observation": BOX, "action_mask": MultiBinary(3)})
    with pytest.raises(ValueError, match="action_masks: expected false where actions are not Discrete"):
        policy_spaces(BOX, BOX, action_masks=True)
    with pytest.raises(ValueError, match="frame_stack: expected 1"):
        policy_spaces(DISCRETE, DISCRETE, frame_stack=2)


def test_actions_are_clipped_or_squashed_into_the_bounds() -> None:
    space = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    action = torch.tensor([[0.5, 3.0], [90.0, -90.0], [np.log(3.0) / 2, 0.0]], dtype=torch.float32)  # tanh(log(3) / 2) = 1/2
    clip, squash = (action_translator("x", space, squash=squash) for squash in (False, True))
    assert clip is not None and squash is not None
    np.testing.assert_array_equal(clip(action)[:2], [[0.5, 3.0], [2.0, 0.0]])
    np.testing.assert_allclose(squash(action)[1:], [[2.0, 0.0], [1.0, 5.0]], rtol=1e-6)
    square = action_translator("x", Box(-1, 1, (2, 1)), squash=False)
    assert square is not None and square(action).shape == (3, 2, 1)
    assert action_translator("x", DISCRETE, squash=False) is None
    binary = action_translator("x", MultiBinary(2), squash=False)
    assert binary is not None and binary(torch.tensor([[1, 0]])).dtype == np.int8


def test_a_choice_and_real_numbers_go_as_two() -> None:
    action = torch.tensor([[2.0, 0.5, 3.0], [0.0, 90.0, -90.0]])
    clip, squash = (action_translator("x", JOINT, squash=squash) for squash in (False, True))
    assert clip is not None and squash is not None
    choice, real = clip(action)
    assert choice.tolist() == [2, 0] and choice.dtype == np.int64 and real.tolist() == [[0.5, 3.0], [2.0, 0.0]] and real.dtype == np.float32
    np.testing.assert_allclose(squash(action)[1][1], [2.0, 0.0])
    assert (choice[0], real[0]) in JOINT


def test_an_action_of_two_parts_is_packed_and_unpacked() -> None:
    for space in (JOINT, Tuple((DISCRETE, Box(-1, 1, (2, 3)))), DISCRETE, BOX):
        space.seed(0)
        action = space.sample()
        again = unpacked_action(packed_action(action), space)
        assert again in space or int(again) == action
        for one, two in zip(action, again, strict=True) if isinstance(action, tuple) else [(action, again)]:
            np.testing.assert_array_equal(one, two)


def test_squashing_needs_bounds() -> None:
    with pytest.raises(ValueError, match=r"squash: expected false for environment x, whose actions are Discrete\(2\)"):
        action_translator("x", DISCRETE, squash=True)
    with pytest.raises(ValueError, match="squash: expected an action space with bounds"):
        action_translator("x", Box(-np.inf, np.inf, (2,)), squash=True)
