"""Catch through glimpses: its rules by hand, both forms alike, what is seen by counting pixels, exact resume, and that it is learned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from seqrl.run.config import read_config
from seqrl.run.train import load, resume, train
from seqrl.tasks.attention.catch import ENVIRONMENT, GlimpseCatch, GlimpseCatches
from seqrl.tasks.control.environments import GymnasiumFactory
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import ControlConfig
from seqrl.trainers.a2c import A2CConfig
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.dqn import DQNConfig
from seqrl.trainers.off_policy import OffPolicyConfig
from seqrl.trainers.ppo import PPOConfig
from seqrl.trainers.q_table import QTableConfig
from seqrl.trainers.reinforce import ReinforceConfig
from seqrl.trainers.self_critical import SelfCriticalConfig
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trainers.vtrace import VTraceConfig

ROOT = Path(__file__).parents[3]
MIDDLE = np.zeros((1, 2), dtype=np.float32)
POLICY = "{hidden_sizes: [8], actor_critic: {memory: lstm, memory_size: 8, shared_trunk: true}}"


def one_game(*, ball: float, speed: float = 0.0, row: int = 0, paddle: int = 10, **settings: Any) -> GlimpseCatches:
    envs = GlimpseCatches(1, **settings)
    envs.reset(seed=0)
    games = envs.games
    games.ball[:], games.speed[:], games.row[:], games.paddle[:] = ball, speed, row, paddle
    return envs


def play(envs: GlimpseCatches, move: int = 1, location: Any = MIDDLE) -> tuple[Any, ...]:
    return envs.step((np.array([move]), np.asarray(location, dtype=np.float32).reshape(1, 2)))


def random_actions(count: int, rows: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [(random.integers(3, size=rows), random.uniform(-1.3, 1.3, (rows, 2)).astype(np.float32)) for _ in range(count)]


def test_passes_gymnasiums_checks() -> None:
    from gymnasium.utils.env_checker import check_env

    for look in ("learned", "full"):
        check_env(gym.make(ENVIRONMENT, look=look, render_mode="rgb_array").unwrapped)


def test_the_ball_falls_a_row_a_step_and_bounces_off_the_walls() -> None:
    envs, columns = one_game(ball=22.5, speed=0.75), []
    for row in range(1, 5):
        play(envs)
        columns.append(int(envs.games.columns[0]))
        board = envs.games.boards()[0]
        assert board[row].sum() == 255 and board[row, columns[-1]] == 255
    assert columns == [23, 24 - 1, 23, 22]  # at 23.25; 24 exactly, on the wall; 23.25 and 22.5 on the way back
    envs, places = one_game(ball=0.5, speed=-1.0), []
    for _ in range(3):
        play(envs)
        places.append(float(envs.games.ball[0]))
    assert places == [0.5, 1.5, 2.5]  # -0.5 is mirrored


def test_the_paddle_moves_a_pixel_and_stops_at_the_walls() -> None:
    envs = one_game(ball=5.0, paddle=1)
    where = []
    for move in (0, 0, 0, 1, 2, 2):
        play(envs, move)
        where.append(int(envs.games.paddle[0]))
    assert where == [0, 0, 0, 0, 1, 2]
    envs = one_game(ball=5.0, paddle=22)
    play(envs, 2)
    assert envs.games.paddle[0] == 22
    assert np.flatnonzero(envs.games.boards()[0, 23]).tolist() == [22, 23]


@pytest.mark.parametrize(("paddle", "caught"), [(9, 0.0), (10, 0.0), (11, 1.0), (12, 1.0), (13, 0.0)])
def test_a_ball_over_one_of_both_pixels_is_caught(paddle: int, caught: float) -> None:
    envs = one_game(ball=12.9, row=21, paddle=paddle)
    assert [part.tolist() for part in play(envs)[1:4]] == [[0.0], [False], [False]]
    assert [part.tolist() for part in play(envs)[1:4]] == [[caught], [True], [False]]


def test_the_move_comes_before_the_fall() -> None:
    assert play(one_game(ball=12.5, row=22, paddle=13), 0)[1].tolist() == [1.0]
    assert play(one_game(ball=12.5, row=22, paddle=12), 2)[1].tolist() == [0.0]


def test_a_game_takes_23_steps_and_the_next_one_begins_on_a_dummy_step() -> None:
    envs = GymnasiumFactory(ENVIRONMENT).make(4).unwrapped
    assert isinstance(envs, GlimpseCatches)
    envs.reset(seed=0)
    for step, action in enumerate(random_actions(24 * 5, 4)):
        seen, reward, terminated, truncated, _ = envs.step(action)
        assert terminated.tolist() == [step % 24 == 22] * 4 and not truncated.any()
        assert reward.any() <= (step % 24 == 22)
        if step % 24 == 23:
            assert (envs.games.row == 0).all() and (seen[:, -2:] == 0).all()
    speeds = envs.games.speed
    assert (np.abs(speeds) <= 1).all() and len(np.unique(speeds)) == 4


def test_a_limit_cuts() -> None:
    envs = GymnasiumFactory(ENVIRONMENT, limit=5).make(2)
    envs.reset(seed=0)
    assert [envs.step(action)[3].tolist() for action in random_actions(6, 2)] == [[False] * 2] * 4 + [[True] * 2, [False] * 2]


@pytest.mark.parametrize("look", ["learned", "random", "centre", "full"])
def test_both_forms_play_the_same(look: str) -> None:
    envs, single = GlimpseCatches(1, look=look), GlimpseCatch(look=look)  # type: ignore[arg-type]
    assert envs.single_observation_space == single.observation_space and envs.single_action_space == single.action_space
    np.testing.assert_array_equal(envs.reset(seed=7)[0][0], single.reset(seed=7)[0])
    for move, place in random_actions(60, 1):
        ended = bool(envs._ended[0])
        many = envs.step((move, place))
        one = (*single.reset()[:1], 0.0, False, False) if ended else single.step((move[0], place[0]))
        np.testing.assert_array_equal(many[0][0], one[0])
        assert [part[0] for part in many[1:4]] == list(one[1:4])


def test_rows_play_as_they_would_alone() -> None:
    envs = GlimpseCatches(5, max_speed=3.0)
    envs.reset(seed=1)
    alone = []
    for row in range(5):
        games = envs.games
        alone.append(one_game(ball=games.ball[row], speed=games.speed[row], paddle=games.paddle[row], max_speed=3.0))
    for move, place in random_actions(23, 5):
        together = envs.step((move, place))
        for row in range(5):
            for one, many in zip(play(alone[row], move[row], place[row])[:4], together[:4], strict=True):
                np.testing.assert_array_equal(one[0], many[row])


def mean_brightness(board: np.ndarray, left: float, top: float, side: int) -> float:
    """Average a square of a board, in which what lies outside counts as 0."""
    lit = sum(board[y, x] == 255 for y in range(24) for x in range(24) if left <= x < left + side and top <= y < top + side)
    return int(lit) / side**2


def test_a_glimpse_is_what_one_counts() -> None:
    envs = one_game(ball=12.5, row=4, paddle=11, glimpse_size=6, num_scales=3)
    for x, y in ((0.0, 0.0), (0.5, -0.5), (-1.0, 1.0), (0.25, 1.0)):
        seen = play(envs, location=(x, y))[0][0]
        assert seen[-2:].tolist() == [x, y] and len(seen) == 3 * 36 + 2
        board = envs.games.boards()[0]
        centre = 12 + 12 * x, 12 + 12 * y  # whole pixels at these locations
        for scale in range(3):
            cell = 2**scale
            for row in range(6):
                for column in range(6):
                    corner = centre[0] + (column - 3) * cell, centre[1] + (row - 3) * cell
                    assert seen[scale * 36 + row * 6 + column] == pytest.approx(mean_brightness(board, *corner, cell), abs=1e-6)


def test_locations_beyond_the_border_are_taken_to_it() -> None:
    assert play(one_game(ball=12.5), location=(-7.0, 1.5))[0][0, -2:].tolist() == [-1.0, 1.0]


def test_looking_elsewhere_to_compare() -> None:
    chosen = np.full((3, 2), 0.5, dtype=np.float32)
    for look, expected in (("centre", 0.0), ("learned", 0.5)):
        envs = GlimpseCatches(3, look=look)  # type: ignore[arg-type]
        envs.reset(seed=0)
        assert (envs.step((np.ones(3, dtype=int), chosen))[0][:, -2:] == expected).all()
    envs = GlimpseCatches(2000, look="random")
    first = envs.reset(seed=0)[0][:, -2:]
    then = envs.step((np.ones(2000, dtype=int), np.zeros((2000, 2), dtype=np.float32)))[0][:, -2:]
    for places in (first, then):
        assert places.min() < -0.98 and places.max() > 0.98 and abs(places.mean()) < 0.05
    envs = one_game(ball=3.5, row=5, paddle=20, look="full")
    board = play(envs)[0][0].reshape(24, 24)
    assert np.argwhere(board).tolist() == [[6, 3], [23, 20], [23, 21]] and board.max() == 1.0


@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_a_run_in_halves_ends_with_the_same_weights(vectorization: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    task = f"{{type: control, environment: {ENVIRONMENT}, vectorization: {vectorization}, num_envs: 3, num_steps: 17, policy: {POLICY}}}"
    common = (
        f"eval_every: 0\nsave_every: 2\nnum_threads: 1\nruns_folder: {tmp_path}\ntask: {task}\ntrainer: {{type: ppo, minibatches: 2}}\n"
    )
    for name, steps in (("whole", 4), ("halves", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nnum_updates: {steps}\n{common}", encoding="utf-8")
        train(read_config(tmp_path / f"{name}.yaml"), display=False)
    resume(tmp_path / "halves", ["--num_updates=4"], display=False)
    assert not [warning for warning in recwarn if "start anew" in str(warning.message)]
    (_, _, whole, _), (_, _, halves, _) = (load(tmp_path / name) for name in ("whole", "halves"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, halves.state_dict()[name]), name


def test_a_saved_state_goes_on_as_before() -> None:
    envs = [GlimpseCatches(4, look="random") for _ in (0, 1)]
    actions = random_actions(80, 4)
    envs[0].reset(seed=1)
    for action in actions[:35]:
        envs[0].step(action)
    envs[1].reset(seed=2)
    envs[1].load_state_dict(envs[0].state_dict())
    for action in actions[35:]:
        for one, two in zip(envs[0].step(action)[:4], envs[1].step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"look": "away"}, "look: expected one of learned, random, centre, full, got 'away'"),
        ({"max_speed": -1.0}, "max_speed: expected 0 to 24 pixels a step, got -1"),
        ({"glimpse_size": 25}, "glimpse_size: expected at most the image's 24 pixels, got 25"),
        ({"num_scales": 0}, "glimpse size and scales: expected at least 1"),
        ({"gravity": 2}, "cannot be made with {'gravity': 2}.*see task.environment_options"),
    ],
)
def test_what_is_odd_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GymnasiumFactory(ENVIRONMENT, options=options).make(2)


def test_the_drawing_shows_ball_paddle_outlines_and_scales() -> None:
    envs = one_game(ball=15.5, row=10, paddle=3, render_mode="rgb_array")
    play(envs)
    (frame,) = envs.render() or ()
    assert frame.shape == (228, 300, 3)
    assert frame[6 + 11 * 9 + 4, 6 + 15 * 9 + 4].tolist() == [240, 228, 66]  # the ball, in row 11 and column 15
    assert frame[6 + 23 * 9 + 4, [6 + 3 * 9 + 4, 6 + 4 * 9 + 4, 6 + 5 * 9 + 4]].tolist() == [[255] * 3, [255] * 3, [24, 24, 32]]
    for side, colour in ((6, [213, 94, 0]), (12, [0, 158, 115]), (24, [86, 180, 233])):  # around the middle of the board
        assert frame[6 + (12 - side // 2) * 9 + 1, 6 + 12 * 9 + 4].tolist() == colour
    # At the middle scale the ball is a quarter of a pixel in the third row and fifth column, shown half as bright: √¼.
    assert frame[6 + 75 + 2 * 11 + 5, 228 + 4 * 11 + 5].tolist() == [127] * 3
    assert one_game(ball=15.5).render() is None
    assert one_game(ball=15.5, look="full", render_mode="rgb_array").render()[0].shape == (228, 300, 3)  # type: ignore[index]


def test_samples_show_where_it_looks(tmp_path: Path) -> None:
    task = ControlConfig(ENVIRONMENT, policy=ControlPolicyConfig(hidden_sizes=(8,))).build(0)
    files = task.sample(task.build_policy(), tmp_path, count=1)
    assert [path.name for path in files] == ["episode_0.gif", "episode_0.png", "episodes.txt"]
    with Image.open(files[0]) as animation, Image.open(files[1]) as sheet:
        assert animation.n_frames == 23 and animation.size == (300, 228)  # type: ignore[attr-defined]
        assert sheet.size == (4 * 306 + 6, 3 * 234 + 6)
    assert task.record(task.build_policy(), tmp_path / "played.gif", episodes=1)[0].startswith("episode 0: return")


@pytest.mark.slow
def test_naming_the_environment_loads_no_task_of_attention() -> None:
    listed = "*sorted(name for name in sys.modules if name.startswith('seqrl.tasks.attention'))"
    code = f"import sys, seqrl.tasks.control.environments as made; made.find_spec({ENVIRONMENT!r}); print({listed})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["seqrl.tasks.attention", "seqrl.tasks.attention.catch"]


@pytest.mark.parametrize(
    ("mode", "trainer"),
    [
        ("steps", PPOConfig(minibatches=2)),
        ("episodes", PPOConfig(minibatches=2)),
        ("steps", A2CConfig()),
        ("steps", TRPOConfig()),
        ("steps", VTraceConfig()),
        ("episodes", ReinforceConfig(num_samples=2)),
        ("episodes", SelfCriticalConfig(num_samples=2, baseline="greedy")),
        ("episodes", OffPolicyConfig()),
        ("episodes", CrossEntropyConfig(percentile=0, gradient_steps=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_trainers_move_the_weights(mode: Any, trainer: Any) -> None:
    policy = ControlPolicyConfig((8,))
    policy.actor_critic.memory, policy.actor_critic.memory_size = "lstm", 8
    task = ControlConfig(ENVIRONMENT, mode=mode, num_envs=16, num_steps=24, policy=policy).build(0)
    made = task.build_policy()
    before = {name: weight.clone() for name, weight in made.named_parameters()}
    running = trainer.build(made, seed=0, num_updates=4)
    for _ in range(3):  # one of 48 games or more is caught
        stats = running.update(running.collect(task))
    assert all(np.isfinite(value) for value in stats.values())
    assert all(weight.isfinite().all() for weight in made.parameters())
    moved = [name for name, weight in made.named_parameters() if not torch.equal(weight, before[name])]
    assert "log_std" in moved and any("actor" in name for name in moved)


def test_trainers_that_cannot_serve_it_say_so() -> None:
    task = ControlConfig(ENVIRONMENT, mode="episodes", num_envs=2).build(0)
    policy = task.build_policy()
    for trainer in (DQNConfig(), QTableConfig(), CrossEntropyConfig(fit="counts")):
        with pytest.raises(ValueError, match="expected a network of action values|got a[n]? ActorCritic"):
            trainer.build(policy, seed=0, num_updates=1)
    for kind in ("action_values", "action_value_table", "probability_table"):
        with pytest.raises(ValueError, match=f"task.policy.type: {kind} needs"):
            ControlConfig(ENVIRONMENT, policy=ControlPolicyConfig(type=kind)).build(0).build_policy()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"epsilon.*Joint.*epsilon=0"):
        running = OffPolicyConfig(epsilon=0.1).build(policy, seed=0, num_updates=1)
        running.collect(task)


def test_chance_catches_two_balls_of_24() -> None:
    envs, caught = GlimpseCatches(4000), []
    envs.reset(seed=0)
    for action in random_actions(24, 4000):
        caught.append(envs.step(action)[1])
    assert np.sum(caught) / 4000 == pytest.approx(2 / 24, abs=0.03)


def test_the_registered_form_has_a_limit_beyond_the_games_end() -> None:
    assert gym.spec(ENVIRONMENT).max_episode_steps == 24


@pytest.mark.slow
def test_a_short_run_learns_to_catch(tmp_path: Path) -> None:
    settings = [f"--runs_folder={tmp_path}", "--num_updates=200", "--eval_every=200", "--save_every=0", "--num_threads=1"]
    settings += ["--trainer.optimiser.precision=fp32"]
    result = train(read_config(ROOT / "configs" / "attention" / "catch_ppo.yaml", settings), display=False)
    assert result.evaluation["return_mean"] >= 0.4  # chance: 0.08
