"""Following axons: the reward by hand on a straight line, what is seen, error and coverage, ends, exact resume, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.run.cli import main
from seqrl.run.reports import EXIT_BAD_INPUT
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.task import EnvTask
from seqrl.tasks.tracking import ENVIRONMENT
from seqrl.tasks.tracking.axons import NUM_PLACES, profile
from seqrl.tasks.tracking.environment import BORDER, AxonTrackings, bilinear, track_reward
from seqrl.tasks.tracking.ridge import RidgeFollower
from seqrl.trajectory import Step

ROW = 20.0
# Of the drawn centre line, at 0, 1, 2 and 3 pixels from it.
G = [1.0, np.exp(-0.5), np.exp(-2.0), np.exp(-4.5)]


def on_a_line(*, angle: float = 0.0, **settings: Any) -> AxonTrackings:
    """A clean straight axon of 40 pixels through the middle of an image of 61, followed from its left end."""
    envs = AxonTrackings(1, image_size=61, **settings)
    envs.reset(seed=0)
    games, inner = envs.games, slice(BORDER, -BORDER)
    direction = np.array([np.cos(angle), np.sin(angle)])
    games.line[0] = 30.0 + np.linspace(-20, 20, NUM_PLACES)[:, None] * direction
    games.line_px[0] = 40.0
    games.image[0, inner, inner] = profile(games.line, 61)[0]
    games.centre[0, inner, inner] = profile(games.line, 61, 1.0)[0]
    games.place[0], games.last_step[0] = games.line[0, 0], direction
    games.covered[0] = np.linalg.norm(games.line[0] - games.place[0], axis=-1) <= 2.0
    return envs


def step(envs: AxonTrackings, x: float, y: float) -> tuple[float, bool, dict[str, float]]:
    _, reward, terminated, _, info = envs.step(np.array([[x, y]]))
    return float(reward[0]), bool(terminated[0]), {name: float(column[0]) for name, column in info.items()}


def test_passes_gymnasiums_checks() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make(ENVIRONMENT, render_mode="rgb_array").unwrapped)


def test_brightness_between_pixels_by_hand() -> None:
    inside = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    image = np.pad(inside, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    places = np.array([[[1.0, 2.0], [1.5, 2.0], [1.5, 2.5], [0.25, 0.0], [-0.5, 1.0], [-7.0, 1.0], [9.0, 9.0]]])
    assert bilinear(image, places)[0].tolist() == [9.0, 9.5, 11.5, 0.25, 2.0, 0.0, 0.0]


def test_reward_on_a_straight_line_by_hand() -> None:
    line = np.stack([np.linspace(4, 35, NUM_PLACES), np.full(NUM_PLACES, ROW)], axis=-1)[None]
    centre = np.pad(profile(line, 40, 1.0), ((0, 0), (BORDER, BORDER), (BORDER, BORDER))).astype(np.float32)
    right, off = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])

    def reward(place: list[float], move: np.ndarray, before: np.ndarray = right, turned: bool = False) -> tuple[float, bool]:
        found, now = track_reward(centre, np.array([place]), move, before, np.array([turned]))
        return float(found[0]), bool(now[0])

    assert reward([10.0, ROW], 2 * right) == (pytest.approx(1.0), False)  # along the line
    assert reward([10.0, ROW + 1], 2 * right) == (pytest.approx(G[1]), False)  # beside it
    away = (G[0] + 2 * G[1] + G[2]) / 4  # linear from pixel to pixel
    assert reward([10.0, ROW], off) == (pytest.approx(away, abs=1e-6), False)  # 90 degrees are no turn
    assert reward([10.0, ROW], -right) == (pytest.approx(-1.0), True)  # turning back
    assert reward([10.0, ROW], -right, -right, True) == (pytest.approx(-1.0), True)  # going on back
    assert reward([10.0, ROW], right, -right, True) == (pytest.approx(1.0), False)  # and turning once more
    assert reward([10.0, ROW], 0 * right) == (-1.0, False)  # standing still
    assert reward([10.0, ROW], 0 * right, right, True) == (-1.0, True)


def test_the_progress_reward_pays_for_new_parts_of_the_centre_line() -> None:
    envs, places = on_a_line(), np.linspace(0, 40, NUM_PLACES)
    new = [((places <= up_to + 2) & (places > up_to + 2 - length)).mean() * 40 / 2 for up_to, length in ((2.0, 2.0), (2.5, 0.5))]
    assert [step(envs, share, 0.0)[0] for share in (1.0, 0.25)] == pytest.approx(new, abs=1e-5)
    assert new[0] == pytest.approx(1.0, abs=0.35) and new[1] < 0.5  # in whole places, which stand half a pixel apart
    assert [step(envs, *move)[0] for move in ((-0.5, 0.1), (-0.5, 0.1), (0.0, 0.0))] == [0.0, 0.0, -1.0]


def test_the_papers_reward_alone_pays_every_step_alike() -> None:
    envs = on_a_line(progress_reward=False)
    moves = [(1.0, 0.0), (0.25, 0.0), (-0.25, 0.0), (0.0, 0.0)]  # ahead is the way back after the third
    assert [step(envs, *move)[0] for move in moves] == pytest.approx([1.0, 1.0, -1.0, -1.0], abs=1e-5)


def test_error_and_coverage_by_hand() -> None:
    envs = on_a_line()
    assert step(envs, 1.0, 0.0)[2]["error_px"] == pytest.approx(0.0, abs=1e-9)
    info = step(envs, 1.0, 0.5)[2]  # to (14, 31)
    assert info["error_px"] == pytest.approx(0.5)  # 0 and 1 pixel
    # From x = 10 the track has come to 14; at 1 pixel beside the line it covers sqrt(3) more.
    places = np.linspace(10, 50, NUM_PLACES)
    assert info["coverage"] == pytest.approx((places <= 14 + np.sqrt(3)).mean())


def test_ends_at_the_other_end_where_it_is_lost_and_after_the_limit() -> None:
    envs = on_a_line()
    ends = [step(envs, 1.0, 0.0) for _ in range(19)]
    assert [end for _, end, _ in ends] == [False] * 18 + [True]  # 38 of 40 pixels
    assert ends[-1][2]["coverage"] == 1.0 and sum(reward for reward, _, _ in ends) == pytest.approx(19.0, abs=0.3)
    envs = on_a_line()
    down = [step(envs, *move)[1] for move in [(0.0, 1.0)] + 5 * [(1.0, 0.0)]]
    assert down == [False] * 5 + [True]  # 12 pixels, and the patch has 11
    envs = GymnasiumFactory(ENVIRONMENT, limit=3).make(1)
    envs.reset(seed=0)
    assert [bool(envs.step(np.zeros((1, 2)))[3][0]) for _ in range(3)] == [False, False, True]


def test_actions_beyond_the_longest_step_are_cut() -> None:
    envs = on_a_line(max_step=1.5)
    step(envs, 30.0, 0.0)
    assert envs.games.place[0].tolist() == [10.0 + 1.5, 30.0]


def test_what_is_seen_is_the_patch_around_the_actor_at_two_scales() -> None:
    envs = on_a_line()
    envs.games.place[0] = [11.0, 30.5]
    seen = envs.games.seen()[0]
    fine, coarse = seen[:121].reshape(11, 11), seen[121:242].reshape(11, 11)
    image = envs.games.image[0, BORDER:-BORDER, BORDER:-BORDER]
    half = (image[25:36, 6:17] + image[26:37, 6:17]) / 2  # rows 25.5 to 35.5, columns 6 to 16
    np.testing.assert_allclose(fine, half, atol=1e-6)
    assert coarse[5, 5] == fine[5, 5] and coarse[4, 6] == fine[3, 7] and coarse[5, 4] == fine[5, 3]
    assert seen[242] == 1.0


def test_patches_and_steps_turn_with_the_actor() -> None:
    envs = on_a_line()
    before = envs.games.seen()[0, :121].reshape(11, 11)
    step(envs, 0.0, 0.5)  # to the right of one that looks to the right is down
    assert envs.games.place[0].tolist() == [10.0, 31.0] and envs.games.last_step[0].tolist() == [0.0, 1.0]
    envs.games.place[0] = [10.0, 30.0]
    np.testing.assert_allclose(envs.games.seen()[0, :121].reshape(11, 11), np.rot90(before), atol=1e-6)
    step(envs, 1.0, 0.0)
    np.testing.assert_allclose(envs.games.place[0], [10.0, 32.0], atol=1e-12)
    step(envs, -0.5, 0.0)
    np.testing.assert_allclose(envs.games.place[0], [10.0, 31.0], atol=1e-12)
    assert envs.games.seen()[0, 242] == -1.0


def test_both_forms_play_alike() -> None:
    one, many = gym.make(ENVIRONMENT).unwrapped, AxonTrackings(1)
    seen = one.reset(seed=4)[0], many.reset(seed=4)[0][0]
    assert (seen[0] == seen[1]).all()
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 2)):
        alone, row = one.step(action), many.step(action[None])
        assert (alone[0] == row[0][0]).all() and alone[1] == row[1][0] and alone[2] == row[2][0]
        assert alone[4] == {name: column[0] for name, column in row[4].items()}


def test_goes_on_exactly_from_a_saved_state() -> None:
    actions = np.random.default_rng(0).uniform(-0.5, 1, (60, 3, 2))
    envs = AxonTrackings(3)
    envs.reset(seed=1)
    for action in actions[:30]:
        envs.step(action)
    state = envs.state_dict()
    expected = [envs.step(action) for action in actions[30:]]
    again = AxonTrackings(3)
    again.reset(seed=7)
    again.load_state_dict(state)
    for action, before in zip(actions[30:], expected, strict=True):
        now = again.step(action)
        assert all((now[part] == before[part]).all() for part in range(4))
    assert any(part[2].any() for part in expected)


@pytest.mark.parametrize("angle", [0.0, np.pi / 2, np.pi / 4, 0.3])
def test_the_ridge_follower_follows_a_clean_straight_line(angle: float) -> None:
    envs, policy = on_a_line(angle=angle), RidgeFollower()
    ended = False
    while not ended:
        x, y = policy.act(torch.from_numpy(envs.games.seen())).action[0].tolist()
        assert np.hypot(x, y) == pytest.approx(1.0)
        _, ended, info = step(envs, x, y)
    assert info["coverage"] == 1.0 and info["error_px"] < (1e-6 if angle % (np.pi / 4) == 0 else 0.1)
    assert envs.games.num_steps[0] in (19, 20)  # whether the 19th step ends 2 pixels before the end is a matter of rounding


def test_the_ridge_follower_turns_to_the_brightest_ray() -> None:
    envs = on_a_line(angle=np.deg2rad(30))
    envs.games.last_step[0] = [2.0, 0.0]  # it looks along the rows
    x, y = RidgeFollower().act(torch.from_numpy(envs.games.seen())).action[0].tolist()
    assert np.rad2deg(np.arctan2(y, x)) == pytest.approx(30, abs=1e-4)


def test_evaluations_give_the_mean_error_and_coverage() -> None:
    """Of 120 episodes, in two batches, against the same episodes that are played one after the other by hand."""

    class Straight(RidgeFollower):
        def act(self, obs: torch.Tensor, state: None = None, **settings: Any) -> Step:
            return Step(torch.tensor([[1.0, 0.0]]).expand(len(obs), 2), obs.new_zeros(len(obs)), obs.new_zeros(len(obs)))

    task = EnvTask(ENVIRONMENT, num_envs=2, num_eval_episodes=120)
    found = task.evaluate(Straight(), split="test")
    error, coverage = [], []
    for first, count in ((1_500_000_001, 100), (1_500_000_101, 20)):
        envs, open_rows = AxonTrackings(count), np.ones(count, dtype=bool)
        envs.reset(seed=first)
        while open_rows.any():
            _, _, terminated, truncated, info = envs.step(np.tile([1.0, 0.0], (count, 1)))
            ended = (terminated | truncated) & open_rows
            error += info["error_px"][ended].tolist()
            coverage += info["coverage"][ended].tolist()
            open_rows &= ~ended
    assert found["error_px"] == pytest.approx(np.mean(error)) and found["coverage"] == pytest.approx(np.mean(coverage))
    assert 0 < found["coverage"] < 0.9 and len(error) == 120
    again = task.evaluate(Straight(), split="test")
    assert again == found and task.evaluate(Straight(), split="dev") != found


def test_copies_that_are_stepped_in_turn_give_the_same_metrics() -> None:
    task = EnvTask(ENVIRONMENT, vectorization="sync", num_envs=2, num_eval_episodes=3, max_episode_steps=30)
    found = task.evaluate(RidgeFollower())
    one, first = AxonTrackings(1, max_episode_steps=30), []
    for seed in range(3):
        seen, ended = one.reset(seed=1_000_000_007 + seed)[0], False
        while not ended:
            seen, _, terminated, truncated, info = one.step(RidgeFollower().act(torch.from_numpy(seen)).action.numpy())
            ended = bool(terminated[0] or truncated[0])
        first.append(float(info["coverage"][0]))
    assert found["coverage"] == pytest.approx(np.mean(first)) and found["coverage"] > 0.3


def test_the_drawing_shows_image_centre_line_and_track() -> None:
    envs = on_a_line(render_mode="rgb_array")
    envs.games.tracks[0] = [np.array([10.0, 30.0]), np.array([10.0, 45.0]), np.array([20.0, 45.0])]
    (frame,) = envs.render() or ()
    scale = frame.shape[0] // 61
    assert frame.shape == (6 * 61, 6 * 61, 3)

    def at(x: float, y: float) -> list[int]:
        return frame[int(scale * (y + 0.5)), int(scale * (x + 0.5))].tolist()  # type: ignore[no-any-return]

    assert at(40, 30) == [0, 158, 115] and at(10, 40) == at(15, 45) == [230, 159, 0] and at(20, 45) == [213, 94, 0]
    assert at(40, 32) == [int(255 * np.exp(-4 / (2 * 1.2**2)))] * 3 and at(40, 50) == [0, 0, 0]


def test_records_tracks_over_their_images(tmp_path: Path) -> None:
    task = EnvTask(ENVIRONMENT, num_envs=2)
    (line,) = task.record(RidgeFollower(), tmp_path / "track.gif", episodes=1, seed=3)
    with Image.open(tmp_path / "track.gif") as animation:
        assert animation.size == (320, 320) and animation.n_frames > 5
    assert "seed 3" in line
    task.record(RidgeFollower(), tmp_path / "track.png", episodes=2, seed=3)
    assert Image.open(tmp_path / "track.png").size == (320, 640)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 20}, ["image_size: expected at least the 21 pixels", "patch_size 11", "got 20"]),
        ({"max_step": 6.0}, ["max_step: expected more than 0 and at most half of the patch, 5 pixels", "got 6.0"]),
        ({"max_step": 0}, ["max_step: expected more than 0", "got 0"]),
        ({"patch_size": 10}, ["patch_size: expected an odd number of pixels of at least 3", "got 10"]),
        ({"patch_size": 1}, ["patch_size", "got 1"]),
        ({"noise": -0.1}, ["noise: expected 0 or more", "got -0.1"]),
        ({"num_others": -1}, ["num_others: expected 0 or more", "got -1"]),
        ({"num_gaps": 1.5}, ["num_gaps: expected a whole number", "got 1.5"]),
        ({"image_size": "large"}, ["image_size: expected a whole number", "got 'large'"]),
        ({"num_axons": 2}, ["num_axons", "task.environment_options"]),
    ],
)
def test_options_that_cannot_work_are_refused_at_the_start(
    options: dict[str, Any], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"type": "control", "environment": ENVIRONMENT, "environment_options": options}
    settings = {"name": "bad", "num_updates": 2, "num_threads": 1, "runs_folder": str(tmp_path), "task": task, "trainer": {"type": "ppo"}}
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(settings))
    assert main(["train", str(path), "--quiet"]) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("seqrl: ") and "Traceback" not in said
    for word in words:
        assert word in said


def test_rays_that_leave_the_patch_are_refused() -> None:
    with pytest.raises(ValueError, match="ray_px: expected more than 0 and at most half of the patch, 5 pixels, got 6"):
        RidgeFollower(ray_px=6.0)
