from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ale_py")

from seqrl.tasks.atari.games import AtariGames, has_fire_button  # noqa: E402
from seqrl.tasks.atari.names import game_name  # noqa: E402


def actions(games: AtariGames, number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, int(games.single_action_space.n), (number, games.num_envs))


def overlaps(size: int, parts: int) -> np.ndarray:
    """Give [parts, size] weights that average a line over parts of equal length, pixels cut where a part's edge cuts them."""
    edges, pixels = np.arange(parts + 1) * size / parts, np.arange(size)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return shared.clip(min=0) * parts / size


def shrunk(picture: np.ndarray) -> np.ndarray:
    return np.asarray(overlaps(210, 84) @ picture @ overlaps(160, 84).T)


def plain(game: str) -> Any:
    """Make ale-py's single environment, which shows every frame and changes no reward."""
    from ale_py.env import AtariEnv

    return AtariEnv(game, obs_type="grayscale", frameskip=1, repeat_action_probability=0.0)


def test_frames_and_raw_scores_are_those_of_the_plain_console() -> None:
    games = AtariGames("ms_pacman", 1, noop_max=0, press_fire=False)
    games.reset(seed=3)
    console = plain("ms_pacman")
    console.reset(seed=0)
    total = expected = 0.0
    for action in actions(games, 120)[:, 0]:
        observation, reward, *_ = games.step(np.array([action]))
        outcomes = [console.step(action) for _ in range(4)]
        seen = shrunk(np.maximum(outcomes[2][0], outcomes[3][0]))
        total, expected = total + reward[0], expected + sum(outcome[1] for outcome in outcomes)
        assert np.abs(observation[0, ..., -1] - seen).max() < 0.5001  # rounded to whole numbers
    assert total == expected >= 50


def test_shapes_and_stacking() -> None:
    games = AtariGames("pong", 2)
    before, info = games.reset(seed=0)
    assert before.shape == (2, 84, 84, 4) and before.dtype == np.uint8 and before.flags.c_contiguous
    assert games.single_observation_space.shape == (84, 84, 4) and info["lives"].tolist() == [0, 0]
    for action in actions(games, 5):
        after, *_ = games.step(action)
        assert np.array_equal(after[..., :-1], before[..., 1:])
        before = after


def test_each_life_terminates_and_the_game_goes_on() -> None:
    games = AtariGames("breakout", 1, lives_are_episodes=True, noop_max=0)
    _, info = games.reset(seed=0)
    assert info["lives"][0] == 5
    ends = []
    lives, over_at = [5], 0
    for now in range(400):
        _, _, terminated, truncated, info = games.step(np.zeros(1, dtype=np.int64))  # never moves, never fires
        ends += [now] if terminated[0] else []
        lives.append(int(info["lives"][0]))
        assert not truncated[0]
        if info["game_over"][0]:
            over_at = now
            break
    # The ball of each life was set free by the dummy step's press of fire, or else no second life would have been lost.
    assert len(ends) == 5 and ends[-1] == over_at
    assert sorted(set(lives), reverse=True) == [5, 4, 3, 2, 1, 0]
    games.step(np.zeros(1, dtype=np.int64))
    assert games.state_dict()["num_games"].tolist() == [1] and games.state_dict()["lives"].tolist() == [5]


def test_whole_games_end_once_and_time_truncates() -> None:
    whole = AtariGames("breakout", 1, noop_max=0)
    whole.reset(seed=0)
    ends = [whole.step(np.zeros(1, dtype=np.int64)) for _ in range(300)]
    assert [bool(end[2][0]) for end in ends].count(True) == [bool(end[4]["game_over"][0]) for end in ends].count(True)
    short = AtariGames("pong", 1, max_num_frames_per_episode=80)
    short.reset(seed=0)
    outcomes = [short.step(np.zeros(1, dtype=np.int64)) for _ in range(30)]
    assert not any(outcome[2][0] for outcome in outcomes) and sum(outcome[3][0] for outcome in outcomes) == 1


@pytest.mark.parametrize(
    ("game", "settings"),
    [
        ("breakout", {"lives_are_episodes": True, "repeat_action_probability": 0.25}),
        pytest.param("breakout", {"lives_are_episodes": True, "max_num_frames_per_episode": 300}, marks=pytest.mark.slow),
        pytest.param("pong", {"noop_max": 5}, marks=pytest.mark.slow),
    ],
)
def test_a_saved_place_is_found_again(game: str, settings: dict[str, Any]) -> None:
    games, again = AtariGames(game, 2, **settings), AtariGames(game, 2, **settings)
    games.reset(seed=5)
    saved = []
    for action in actions(games, 80):
        saved.append((games.state_dict(), games.step(action)[2].any()))
    number = max(index for index, (_, ended) in enumerate(saved) if ended) + 1 if any(ended for _, ended in saved) else 70
    state = saved[min(number, 79)][0]  # right after an end, where there is one: a game or a press of fire is due
    games.load_state_dict(state)
    assert again.load_state_dict(state)
    for action in actions(games, 30, seed=1):
        for ours, theirs in zip(games.step(action)[:4], again.step(action)[:4], strict=True):
            assert np.array_equal(ours, theirs)
    assert not again.load_state_dict(state | {"checksum": 0})


def test_the_same_seed_gives_the_same_games_and_rows_differ() -> None:
    games = AtariGames("breakout", 2)

    def last(seed: int) -> np.ndarray:
        games.reset(seed=seed)
        return [games.step(np.array([2, 2]))[0] for _ in range(8)][-1]

    first = last(1)
    assert np.array_equal(first, last(1)) and not np.array_equal(first, last(2))
    assert not np.array_equal(first[0], first[1])  # they began with different numbers of no-ops


def test_the_picture_is_the_game_that_is_played() -> None:
    games = AtariGames("breakout", 1, render_mode="rgb_array")
    games.reset(seed=0)
    for action in actions(games, 50):
        observation, *_ = games.step(action)
    picture = games.render()[0]
    assert picture.shape == (210, 160, 3) and picture.std(axis=2).any()
    assert np.abs(observation[0, ..., -1] - shrunk(picture @ [0.299, 0.587, 0.114])).max() < 2.0
    with pytest.raises(ValueError, match="render_mode: expected rgb_array, got None"):
        AtariGames("breakout", 1).render()


def test_names() -> None:
    for name in ("pong", "Pong", "ALE/Pong-v5", "PongNoFrameskip-v4", "Pong-ramNoFrameskip-v4"):
        assert game_name(name) == "pong"
    assert game_name("ALE/MsPacman-v5") == game_name("ms_pacman") == game_name("mspacman") == "ms_pacman"
    assert game_name("ALE/TicTacToe3D-v5") == "tic_tac_toe_3d"
    with pytest.raises(ValueError, match=r"expected an Atari game, got 'Brakeout'; did you mean 'breakout'"):
        game_name("Brakeout")


def test_missing_ale_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ValueError, match=r"pip install 'seqrl\[atari\]'"):
        AtariGames("pong", 1)


def test_fire_button() -> None:
    assert has_fire_button("breakout") and has_fire_button("pong") and has_fire_button("freeway", full_action_space=True)
    assert not has_fire_button("freeway") and not has_fire_button("ms_pacman")
