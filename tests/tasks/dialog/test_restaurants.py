"""The restaurant domain: rules and beliefs by hand, errors counted, both forms alike, speed, and what the hand-crafted policy reaches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from handcrafted import HandCrafted, columns_of, play_dialogs

from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.names import RESTAURANT, RESTAURANT_TURNS
from seqrl.tasks.dialog.restaurant_acts import ACTIONS
from seqrl.tasks.dialog.restaurant_data import ANY, NONE, RestaurantData, restaurant_data
from seqrl.tasks.dialog.restaurant_dialogs import RestaurantDialogs
from seqrl.tasks.dialog.restaurant_environment import RestaurantDialog, RestaurantDialogRows

# Three restaurants: (food, area, price).
TABLE = np.array([[0, 0, 0], [0, 1, 0], [3, 2, 1]])


class Talk:
    """One dialog without errors about a goal, with acts by their names."""

    def __init__(self, goal: tuple[int, int, int], asked: tuple[int, ...] = (0,), fussy: bool = False) -> None:
        data = RestaurantData(TABLE, np.array([goal]), np.array([[slot in asked for slot in range(3)]]))
        self.dialogs, self.random, self.one = RestaurantDialogs(data, 1), np.random.default_rng(1), np.ones(1, dtype=bool)
        self.dialogs.start(self.random, self.one)
        self.state = self.dialogs.state
        self.state["fussy"][:] = fussy
        self.believe(goal)

    def believe(self, values: tuple[int, int, int]) -> None:
        self.state["belief"][:] = 0
        self.state["belief"][0, range(3), values] = 1.0

    def say(self, act: str) -> tuple[str, float, bool]:
        reward, ended = self.dialogs.play(np.array([ACTIONS.index(act)]), self.random, self.one)
        return user.USER_ACTS[self.state["act"][0]], float(reward[0]), bool(ended[0])


def test_a_dialog_by_hand() -> None:
    talk = Talk((0, 0, ANY), asked=(0, 2))
    assert talk.say("offer") == ("request", -1.0, False) and talk.state["offered"][0] == 0
    assert talk.state["wanted"][0].tolist() == [1.0, 0.0, 0.0]
    assert talk.say("inform") == ("request", -1.0, False)
    assert talk.say("inform") == ("bye", -1.0, False)
    assert "offered golden british 0" in talk.dialogs.say(0)
    assert talk.say("bye")[1:] == (19.0, True)


def test_goodbye_before_all_is_answered_is_no_success() -> None:
    talk = Talk((0, 0, 0))
    talk.say("offer")
    assert talk.say("bye")[1:] == (-1.0, True)


def test_wrong_beliefs_are_corrected() -> None:
    talk = Talk((0, 1, 0))
    talk.believe((0, 0, 0))
    assert talk.say("confirm(area)")[0] == "negate" and talk.dialogs.likeliest()[0].tolist() == [0, 1, 0]
    assert talk.say("confirm(area)")[0] == "affirm"
    talk.believe((0, 0, 0))
    assert talk.say("offer")[0] == "inform" and talk.dialogs.likeliest()[0].tolist() == [0, 1, 0]
    assert talk.say("offer")[0] == "request" and talk.state["offered"][0] == 1


def test_an_alternative_is_another_restaurant_that_fits() -> None:
    talk = Talk((0, ANY, 0), fussy=True)
    assert talk.say("offer")[0] == "reqalts" and talk.say("offer")[0] == "reqalts"
    assert talk.say("bye")[1:] == (-1.0, True)
    talk = Talk((0, ANY, 0), fussy=True)
    talk.say("offer")
    assert talk.say("alternatives")[0] == "request" and talk.state["offered"][0] == 1


def test_a_goal_that_nothing_fits_is_changed_to_the_nearest() -> None:
    talk = Talk((0, 2, 0))
    assert talk.say("offer")[0] == "inform" and talk.state["empty"][0]
    assert tuple(talk.state["constraints"][0]) in {(0, 0, 0), (0, 1, 0)}
    assert talk.say("offer")[0] == "request"


def test_no_restaurant_but_for_a_misunderstanding() -> None:
    talk = Talk((0, 0, 0))
    talk.believe((3, 0, 0))
    assert talk.say("offer")[0] == "inform" and talk.state["constraints"][0].tolist() == [0, 0, 0]
    assert talk.dialogs.likeliest()[0].tolist() == [0, 0, 0]


def test_the_last_turn_is_a_failure() -> None:
    talk = Talk((0, 0, 0))
    turns = [talk.say("offer") for _ in range(RESTAURANT_TURNS)]
    assert [reward for _, reward, _ in turns] == [-1.0] * 25 and [ended for *_, ended in turns] == [False] * 24 + [True]


def test_beliefs_move_by_the_score() -> None:
    talk = Talk((0, 0, 0))
    talk.believe((3, NONE, NONE))
    said = user.Said(np.array([user.INFORM]), np.array([[5, -1, 2]]), np.array([-1]))
    original = user.misheard
    user.misheard = lambda *_: (said, np.array([0.4]))  # type: ignore[assignment]
    try:
        talk.say("offer")
    finally:
        user.misheard = original
    belief = talk.state["belief"][0]
    np.testing.assert_allclose([belief[0, 3], belief[0, 5], belief[2, 2], belief[2, NONE], belief[1, NONE]], [0.6, 0.4, 0.4, 0.6, 1.0])


def test_masks_leave_out_what_makes_no_sense() -> None:
    talk = Talk((0, 0, 0))
    talk.believe((NONE, NONE, 0))
    allowed = [name for name, may in zip(ACTIONS, talk.dialogs.allowed()[0], strict=True) if may]
    assert allowed == ["request(food)", "request(area)", "request(price)", "confirm(price)", "offer"]
    talk.state["belief"][0, 1, [0, 1]], talk.state["belief"][0, 1, NONE] = 0.3, 0.4
    talk.state["offered"][0], talk.state["wanted"][0, 1] = 0, 0.5
    allowed = [name for name, may in zip(ACTIONS, talk.dialogs.allowed()[0], strict=True) if may]
    assert allowed[3:] == ["confirm(area)", "confirm(price)", "select(area)", "offer", "inform", "alternatives", "bye"]


def test_errors_are_as_frequent_as_said_and_scored_lower() -> None:
    size, random = 20_000, np.random.default_rng(0)
    said = user.Said(np.full(size, user.INFORM), np.tile([2, ANY, -1], (size, 1)), np.full(size, -1))
    heard, score = user.misheard(said, 0.3, random)
    wrong = (heard.values != said.values).any(axis=1)
    assert abs(wrong.mean() - 0.3) < 0.01 and abs((heard.act == user.SILENT).sum() / wrong.sum() - 0.3) < 0.03
    assert abs(score[~wrong].mean() - 0.8) < 0.01 and abs(score[wrong].mean() - 3 / 7) < 0.02
    assert (heard.values[:, 2] == -1).all() and set(np.unique(heard.values[:, 1])) == {-1, 0, 1, 2, 3, 4, ANY}
    assert user.misheard(said, 0.0, random)[0] is said


def test_several_hypotheses_share_the_confidence() -> None:
    size, random = 20_000, np.random.default_rng(0)
    said = user.Said(np.full(size, user.INFORM), np.tile([2, -1, -1], (size, 1)), np.full(size, -1))
    heard, score = user.misheard(said, 0.4, random)
    (second, share), (third, rest) = user.rivals_of(said, heard, 2, random)
    wrong = heard.values[:, 0] != 2
    assert (
        abs((second.values[wrong, 0] == 2).mean() - 0.5) < 0.02
        and (second.values[~wrong, 0] != 2).all()
        and (third.values[:, 0] != 2).all()
    )
    assert abs(share.mean() - 0.4) < 0.01 and abs(rest.mean() - 0.4) < 0.01 and score.max() < 1


def test_beliefs_weigh_each_hypothesis_by_its_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    data = RestaurantData(TABLE, np.array([[0, 0, 0]]), np.ones((1, 3), dtype=bool))
    dialogs, one = RestaurantDialogs(data, 1, 0.5, num_hypotheses=3), np.ones(1, dtype=bool)
    dialogs.start(np.random.default_rng(0), one)
    dialogs.state["belief"][:] = 0
    dialogs.state["belief"][0, :, NONE] = 1.0

    def informed(value: int) -> user.Said:
        return user.Said(np.array([user.INFORM]), np.array([[value, -1, -1]]), np.array([-1]))

    monkeypatch.setattr(user, "misheard", lambda *_: (informed(5), np.array([0.5])))
    monkeypatch.setattr(user, "rivals_of", lambda *_: [(informed(7), np.array([0.6])), (informed(5), np.array([0.5]))])
    dialogs.play(np.array([ACTIONS.index("offer")]), np.random.default_rng(0), one)
    np.testing.assert_allclose(dialogs.state["belief"][0, 0, [5, 7, NONE]], [0.6, 0.3, 0.1])


def test_more_hypotheses_tell_more() -> None:
    data = restaurant_data(goals="unseen")
    policy = HandCrafted(columns_of(data), 0.0, 0.0, 0.0, 0.5, 0.5)
    reward = [play_dialogs(policy, data, error_rate=0.4, count=1000, seed=5, num_hypotheses=n).reward.mean() for n in (1, 2)]
    assert reward[1] > reward[0] + 0.3


def test_unseen_goals_are_others_than_those_of_training() -> None:
    rows = {name: restaurant_data(goals=name) for name in ("all", "train", "unseen")}
    listed = {name: set(map(tuple, np.hstack([data.constraints, data.asked]).tolist())) for name, data in rows.items()}
    assert listed["train"] | listed["unseen"] == listed["all"] and not listed["train"] & listed["unseen"]
    assert len(listed["all"]) == 13 * 6 * 4 * 7 and 0.15 < len(listed["unseen"]) / len(listed["all"]) < 0.25
    factory = GymnasiumFactory(RESTAURANT, options={"goals": "train"})
    assert len(factory.make(1, training=False).unwrapped.dialogs.data.constraints) == len(listed["unseen"])
    assert len(factory.make(1, training=True).unwrapped.dialogs.data.constraints) == len(listed["train"])


def test_both_forms_are_alike_and_resume_exactly() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(RestaurantDialog(error_rate=0.3), skip_render_check=True)
    settings: dict[str, Any] = {"error_rate": 0.3}
    many, one, random = GymnasiumFactory(RESTAURANT, options=settings).make(1), RestaurantDialog(**settings), np.random.default_rng(0)
    seen, info = one.reset(seed=3)
    np.testing.assert_array_equal(many.reset(seed=3)[0][0], seen)
    for _ in range(60):
        action = random.choice(np.flatnonzero(info["action_mask"]))
        seen, reward, ended, _, info = one.step(action)
        row = many.step(np.array([action]))
        np.testing.assert_array_equal(row[0][0], seen)
        np.testing.assert_array_equal(row[4]["action_mask"][0], info["action_mask"])
        assert (row[1][0], row[2][0]) == (reward, ended)
        if ended:
            seen, info = one.reset()
            np.testing.assert_array_equal(many.step(np.array([0]))[0][0], seen)
    other = GymnasiumFactory(RESTAURANT, options=settings).make(1)
    other.reset(seed=9)
    other.unwrapped.load_state_dict(many.unwrapped.state_dict())
    for action in (0, 1, 9, 10, 2, 3):
        np.testing.assert_array_equal(other.step(np.array([action]))[0], many.step(np.array([action]))[0])


def test_successes_are_told_from_returns_and_lengths() -> None:
    returns, lengths = torch.tensor([-5.0, -5.0, 14.0], dtype=torch.float64), torch.tensor([25, 5, 6])
    assert RestaurantDialog.describe_episodes(returns, lengths) == {"success": 2 / 3, "turns": 24.0}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"error_rate": 1.5}, "error_rate: expected a probability"),
        ({"num_hypotheses": 0}, "num_hypotheses: expected at least 1"),
        ({"goals": "seen"}, "goals: expected one of all, train, unseen"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RestaurantDialog(**settings)


def test_a_database_of_one_restaurant_can_be_talked_about() -> None:
    data = restaurant_data(1)
    policy = HandCrafted(columns_of(data))
    assert play_dialogs(policy, data, error_rate=0.0, count=300, seed=0).success.mean() > 0.99


def test_the_handcrafted_policy_succeeds_without_errors_and_less_with_them() -> None:
    data = restaurant_data(goals="unseen")
    policy = HandCrafted(columns_of(data))
    clear, noisy = (play_dialogs(policy, data, error_rate=rate, count=400, seed=5) for rate in (0.0, 0.3))
    assert clear.success.mean() >= 0.99 and noisy.reward.mean() < clear.reward.mean() - 2


def test_twenty_thousand_turns_a_second() -> None:
    envs = RestaurantDialogRows(512, error_rate=0.15)
    _, info = envs.reset(seed=0)
    random, start = np.random.default_rng(0), time.process_time()
    for _ in range(10):
        weight = np.where(info["action_mask"], random.random(info["action_mask"].shape), -1.0)
        info = envs.step(weight.argmax(axis=1))[-1]
    assert 10 * 512 / (time.process_time() - start) > 20_000
