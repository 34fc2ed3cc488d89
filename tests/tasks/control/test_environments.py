from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from seqrl.run.cli import main
from seqrl.tasks.control.environments import GymnasiumFactory, environment_state, set_environment_state


def test_cartpole_comes_in_its_vectorised_form_and_others_as_copies() -> None:
    assert isinstance(GymnasiumFactory("CartPole-v1").make(3).unwrapped, CartPoleVectorEnv)
    assert isinstance(GymnasiumFactory("Acrobot-v1").make(2).unwrapped, gym.vector.SyncVectorEnv)


def test_vectorised_cartpole_moves_as_the_plain_one_and_resets_on_a_dummy_step() -> None:
    envs, plain = GymnasiumFactory("CartPole-v1").make(2), gym.make("CartPole-v1").unwrapped
    observation, _ = envs.reset(seed=4)
    plain.reset(seed=0)
    plain.state = envs.unwrapped.state[:, 0].copy()
    ended = False
    while not ended:  # always to the right: the pole falls to the left within some ten steps
        observation, reward, terminated, truncated, _ = envs.step(np.array([1, 1]))
        expected, expected_reward, ended, _, _ = plain.step(1)
        np.testing.assert_allclose(observation[0], expected, rtol=1e-5)
        assert (reward[0], terminated[0], truncated[0]) == (expected_reward, ended, False)
    observation, reward, terminated, truncated, _ = envs.step(np.array([1, 1]))
    assert (reward[0], terminated[0], truncated[0]) == (0.0, False, False)
    assert (np.abs(observation[0]) <= 0.05).all()


def test_own_time_limit_cuts_and_is_reported() -> None:
    envs = GymnasiumFactory("CartPole-v1", limit=3).make(1)
    envs.reset(seed=0)
    outcomes = [envs.step(np.array([t % 2]))[2:4] for t in range(3)]
    assert [bool(truncated[0]) for _, truncated in outcomes] == [False, False, True]
    assert not any(bool(terminated[0]) for terminated, _ in outcomes)
    assert GymnasiumFactory("CartPole-v1", limit=3).max_episode_steps == 3
    assert GymnasiumFactory("CartPole-v1").max_episode_steps == 500


def test_state_goes_back_to_the_same_future() -> None:
    envs, other = GymnasiumFactory("CartPole-v1").make(4), GymnasiumFactory("CartPole-v1").make(4)
    envs.reset(seed=1)
    other.reset(seed=2)
    actions = np.random.default_rng(0).integers(0, 2, (120, 4))
    for action in actions[:40]:
        envs.step(action)
    set_environment_state(other, environment_state(envs))
    for action in actions[40:]:  # long enough for several resets, which draw from the generator
        for one, two in zip(envs.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)


def test_state_survives_a_file_without_code(tmp_path) -> None:
    envs = GymnasiumFactory("CartPole-v1").make(2)
    envs.reset(seed=1)
    torch.save(environment_state(envs), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert loaded["random"] == environment_state(envs)["random"]


@pytest.mark.parametrize("name", ["CartPol-v1", "CartPole-v7", "cartpole"])
def test_unknown_name_names_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match="CartPole-v1"):
        GymnasiumFactory(name).make(1)


def test_a_name_of_ours_is_found_without_its_namespace() -> None:
    with pytest.raises(ValueError, match="did you mean seqrl/CartPoleMasked-v1"):
        GymnasiumFactory("CartPoleMasked-v1").make(1)


def test_missing_namespace_and_module_say_what_to_do(monkeypatch) -> None:
    # Another test may have imported ale_py, which registers its games.
    without = {name: spec for name, spec in gym.registry.items() if not name.startswith("ALE/")}
    monkeypatch.setattr(gym.envs.registration, "registry", without)
    with pytest.raises(ValueError, match=r"set task.type: atari .*write ale_py:ALE/Pong-v5 for its plain form$"):
        GymnasiumFactory("ALE/Pong-v5").make(1)
    monkeypatch.setattr("seqrl.tasks.control.environments.find_module", lambda name: None)
    with pytest.raises(ValueError, match=r'set task.type: atari .*pip install "seqrl\[atari\]"'):
        GymnasiumFactory("ALE/Pong-v5").make(1)
    with pytest.raises(ValueError, match="nobody/Thing-v0.*write module:name"):
        GymnasiumFactory("nobody/Thing-v0").make(1)
    with pytest.raises(ValueError, match="no_such_module"):
        GymnasiumFactory("no_such_module:Thing-v0").make(1)


def test_missing_extra_gives_the_line_to_type(monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise gym.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')

    monkeypatch.setattr(gym, "make", refuse)
    with pytest.raises(ValueError, match=r'LunarLander-v3.*pip install "gymnasium\[box2d\]".*pip install "seqrl\[box2d\]"'):
        GymnasiumFactory("LunarLander-v3").make(1)


def test_no_time_limit_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(gym.spec("CartPole-v1"), "max_episode_steps", None)
    with pytest.raises(ValueError, match="set task.max_episode_steps"):
        _ = GymnasiumFactory("CartPole-v1").max_episode_steps


POLE = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


@pytest.mark.parametrize(("name", "limit"), [("MyPole-v0", 7), ("mine/MyPole-v1", 9)])
def test_a_module_in_the_users_folder_registers_an_environment(name: str, limit: int, tmp_path, monkeypatch) -> None:
    module = f"poles_{limit}"
    registers = f'import gymnasium as gym\ngym.register("{name}", entry_point="{POLE}", max_episode_steps={limit})\n'
    (tmp_path / f"{module}.py").write_text(registers, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    config = [
        "train",
        "control/cartpole_ppo",
        "--num_updates=1",
        "--task.num_steps=8",
        "--num_threads=1",
        "--quiet",
        "--task.num_eval_episodes=2",
    ]
    assert main([*config, f"--task.environment={module}:{name}"]) == 0
    assert GymnasiumFactory(f"{module}:{name}").max_episode_steps == limit
    with pytest.raises(ValueError, match=rf"did you mean .*{name}"):
        GymnasiumFactory(f"{module}:{name.replace('Pole', 'Poel')}").make(1)


def test_our_own_advice_for_atari_works(monkeypatch) -> None:
    pytest.importorskip("ale_py")
    envs = GymnasiumFactory("ale_py:ALE/Pong-v5").make(1)
    assert envs.reset(seed=0)[0].shape == (1, 4, 84, 84)  # its own vectorised form
    with pytest.raises(ValueError, match="did you mean ALE/Pong-v5"):
        GymnasiumFactory("ale_py:ALE/Ponk-v5").make(1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:CartPole-v1", "no module 'no_such_module'; put it into the current folder or on PYTHONPATH"),
        ("a:b:CartPole-v1", "expected module:id, got 'a:b'"),
        (":CartPole-v1", "expected module:id, got ''"),
        ("gymnasium:CartPoel-v1", "did you mean CartPole-v1"),
        ("gymnasium:nobody/CartPoel-v1", "gymnasium registers none of it; did you mean CartPole-v1"),
    ],
)
def test_wrong_modules_and_names_say_what_to_do(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GymnasiumFactory(name).make(1)
