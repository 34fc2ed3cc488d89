from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch
from torch import nn

from seqrl import PPO, PPOConfig, Supervised
from seqrl.run.cli import main
from seqrl.tasks.control.demonstration_files import ARRAYS, METADATA, RecordedEpisode, read_episodes, write_episodes
from seqrl.tasks.control.demonstrations import Demonstrations, DemonstrationsConfig
from seqrl.tasks.control.parts import FlatBox
from seqrl.tasks.control.policy import ControlPolicyConfig
from seqrl.tasks.control.task import EnvTask
from seqrl.trainers.imitation import ImitationConfig

NUMBERS = gym.spaces.Discrete(4), gym.spaces.Discrete(3)
REALS = gym.spaces.Box(-9, 99, (1,), np.float32), gym.spaces.Box(-2, 2, (1,), np.float32)


def episode(observations: list[Any], actions: list[Any]) -> RecordedEpisode:
    """One that ends by itself; rewards are the places."""
    steps = len(actions)
    last = np.arange(steps) == steps - 1
    return RecordedEpisode(np.array(observations), np.array(actions), np.arange(steps, dtype=np.float32), last, np.zeros(steps, bool))


def counting(first: int, steps: int) -> RecordedEpisode:
    """Shows first, first + 1, ... and does half of it, so that what belongs together can be told."""
    seen = np.arange(first, first + steps + 1, dtype=np.float32)[:, None]
    return episode(seen.tolist(), (seen[:-1] / 2).astype(np.float32).tolist())


def drawn(episodes: list[RecordedEpisode], spaces: Any = REALS, **settings: Any) -> Demonstrations:
    return Demonstrations(episodes, DemonstrationsConfig(path="x", **settings), spaces, seed=0)


class Holds(nn.Module):
    """Pushes the pendulum further than it can be pushed, one way or the other by the sign of what it sees first."""

    def initial_state(self, context: Any) -> None:
        return None

    def act(self, obs: Any, state: Any, **settings: Any) -> Any:
        none = torch.zeros(len(obs))
        return type("Step", (), {"action": 5.0 * obs[:, :1].sign(), "state": None, "logp": none, "value": none})


def test_a_recording_holds_what_the_environment_saw_and_was_given(tmp_path: Path) -> None:
    task = EnvTask("Pendulum-v1", max_episode_steps=6)
    lines = task.record_data(Holds(), tmp_path / "new" / "data", episodes=3, seed=4)
    assert len(lines) == 3 and lines[0].startswith("episode 0: return -") and lines[0].endswith("in 6 steps")
    found = read_episodes(tmp_path / "new" / "data", environment="Pendulum-v1")
    assert len(found) == 3
    world = gym.make("Pendulum-v1", max_episode_steps=6)
    for number, each in enumerate(found):
        seen, _ = world.reset(seed=4 + number)
        np.testing.assert_allclose(each.observations[0], seen, rtol=1e-6)
        for step in range(6):
            assert each.actions[step] == 2.0 * np.sign(seen[0])  # clipped to the bounds
            seen, reward, *_ = world.step(each.actions[step])
            np.testing.assert_allclose(each.observations[step + 1], seen, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(each.rewards[step], reward, rtol=1e-5)
        assert each.truncations.tolist() == [False] * 5 + [True] and not each.terminations.any()
    metadata = json.loads((tmp_path / "new" / "data" / METADATA).read_text())
    assert metadata["total_steps"] == 18 and json.loads(metadata["env_spec"])["id"] == "Pendulum-v1"
    assert len(read_episodes(tmp_path / "new" / "data", environment="x:Pendulum-v1", max_episodes=2)) == 2


def test_each_recorded_step_is_drawn_as_often_and_with_what_belongs_to_it() -> None:
    shown = drawn([counting(0, 5), counting(50, 2)], batch_size=7000, num_steps=3)
    rows = shown()
    assert rows.imitate is not None and isinstance(rows.obs, torch.Tensor) and not bool(rows.mask.any())
    seen, following, action = rows.obs[:, :-1, 0], rows.obs[:, 1:, 0], rows.action[:, :, 0]
    assert torch.equal(action[rows.imitate], seen[rows.imitate] / 2) and torch.equal(
        (following - seen)[rows.imitate].unique(), torch.ones(1)
    )
    counts = torch.stack([(seen[rows.imitate] == step).sum() for step in (0, 1, 2, 3, 4, 50, 51)])
    # 7 + 4 starts of rows, three of which hold a step.
    assert counts.sum() == int(rows.imitate.sum()) and bool(((counts / (7000 * 3 / 11) - 1).abs() < 0.07).all())
    assert torch.equal(rows.terminated & rows.imitate, ((seen == 4) | (seen == 51)) & rows.imitate)
    assert bool(rows.imitate[:, 0].all())  # rows begin with a step that counts


def test_a_cloned_policy_has_the_shares_of_the_experts_actions() -> None:
    """Cross-entropy is least at the shares of the actions: 3 of 4 in state 0, 1 of 2 in state 1."""
    shown = drawn([episode([0, 0, 0, 0, 1, 1, 3], [2, 2, 1, 2, 0, 1])], NUMBERS, batch_size=600)
    task = EnvTask("FrozenLake-v1")
    task.demonstrations = shown
    policy = EnvTask("FrozenLake-v1", policy=ControlPolicyConfig(hidden_sizes=(16,))).build_policy()
    trainer = Supervised(policy, num_updates=300)
    trainer.optimiser.config.learning_rate = 0.02
    for _ in range(300):
        trainer.update(trainer.collect(task))
    rows = shown()
    with torch.no_grad():
        odds = policy(rows).distribution.logits.softmax(dim=2)
    at = [odds[rows.obs[:, 0] == state][0, 0] for state in (0, 1)]
    torch.testing.assert_close(at[0][:3], torch.tensor([0.0, 0.25, 0.75]), rtol=0, atol=0.07)
    torch.testing.assert_close(at[1][:3], torch.tensor([0.5, 0.5, 0.0]), rtol=0, atol=0.07)


def test_noise_is_of_the_size_that_the_setting_says() -> None:
    shown = drawn([counting(0, 100)], batch_size=4000, noise=0.5)
    rows, plain = shown(), drawn([counting(0, 100)], batch_size=4000)()
    assert isinstance(rows.obs, torch.Tensor)
    deviation = np.arange(100).std()
    error = rows.obs[:, 0, 0] - 2 * rows.action[:, 0, 0]
    assert abs(float(error.std()) / (0.5 * deviation) - 1) < 0.05 and abs(float(error.mean())) < 1
    assert torch.equal(plain.obs[:, 0, 0], 2 * plain.action[:, 0, 0])  # type: ignore[index, call-overload]
    with pytest.raises(ValueError, match=r"noise: expected 0 where observations are whole numbers"):
        drawn([episode([0, 1], [1])], NUMBERS, noise=0.1)


@pytest.mark.parametrize("shape", [(4, 12, 10), (12, 10, 3)], ids=["channels first", "channels last"])
def test_shifts_move_the_pictures_of_a_row_alike_and_repeat_the_border(shape: tuple[int, ...]) -> None:
    """Padded by repeating its border and cut at the shift's place, as NumPy does it; every shift is drawn about as often."""
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    pictures = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    rows = drawn([episode(list(pictures), [0, 1])], (space, NUMBERS[1]), batch_size=600, num_steps=2, shift_px=2)()
    assert isinstance(rows.obs, torch.Tensor) and rows.obs.dtype == torch.uint8
    first = 0 if shape[0] == 12 else 1
    width = [(2, 2) if axis in (first, first + 1) else (0, 0) for axis in range(3)]
    cuts = {}
    for down in range(5):
        for right in range(5):
            places: list[slice] = [slice(None)] * 3
            places[first], places[first + 1] = slice(down, down + 12), slice(right, right + 10)
            cuts[down, right] = [np.pad(picture, width, mode="edge")[tuple(places)].tobytes() for picture in pictures]
    found = dict.fromkeys(cuts, 0)
    whole = rows.imitate[:, 1] if rows.imitate is not None else torch.zeros(0)
    for row in rows.obs[whole].numpy():
        shift = [by for by, cut in cuts.items() if [picture.tobytes() for picture in row] == cut]
        assert len(shift) == 1
        found[shift[0]] += 1
    assert min(found.values()) > 0 and max(found.values()) < 0.15 * sum(found.values())


def test_shifts_leave_numbers_beside_a_picture_alone() -> None:
    parts = gym.spaces.Dict({"board": gym.spaces.Box(0, 255, (8, 8), np.uint8), "speed": gym.spaces.Box(-1, 1, (2,), np.float32)})
    board = np.arange(64, dtype=np.float32)
    seen = [np.concatenate([board + step, [0.25, -0.5]]).astype(np.float32) for step in range(3)]
    rows = drawn([episode(seen, [0, 1])], (FlatBox(parts), NUMBERS[1]), batch_size=50, shift_px=1)()
    assert isinstance(rows.obs, torch.Tensor)
    assert torch.equal(rows.obs[..., 64:], torch.tensor([0.25, -0.5]).expand(50, 2, 2))
    middles = rows.obs[:, 0, :64].unflatten(-1, (8, 8))[:, 3, 3] - torch.where(rows.action[:, 0] == 1, 1, 0)
    assert set(middles.tolist()) == {27 + 8 * down + right for down in (-1, 0, 1) for right in (-1, 0, 1)}


def test_shifts_of_what_is_no_picture_or_by_half_of_it_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shift_px: expected a number of pixels 0 where nothing seen is a picture"):
        drawn([counting(0, 4)], shift_px=1)
    space = gym.spaces.Box(0, 255, (1, 12, 10), np.uint8)
    with pytest.raises(ValueError, match=r"shift_px: expected a number of pixels below half of a picture's 10, got 5"):
        drawn([episode([np.zeros((1, 12, 10), np.uint8)] * 2, [0])], (space, NUMBERS[1]), shift_px=5)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "pendulum"
    EnvTask("Pendulum-v1", max_episode_steps=9).record_data(Holds(), folder, episodes=3)
    return folder


def shown_to(folder: Path, **settings: Any) -> EnvTask:
    settings = {"max_episode_steps": 9, "num_envs": 2, "num_steps": 4, **settings}
    return EnvTask("Pendulum-v1", demonstrations=DemonstrationsConfig(path=str(folder), batch_size=5), **settings)


def test_what_is_scaled_begins_with_the_recorded_mean_and_deviation(recorded: Path) -> None:
    policy = shown_to(recorded, policy=ControlPolicyConfig(actor_critic=normalising())).build_policy()
    before = np.concatenate([each.observations[:-1] for each in read_episodes(recorded, environment="Pendulum-v1")])
    np.testing.assert_allclose(policy.inputs.norm.mean, before.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(policy.inputs.norm.variance, before.var(axis=0), atol=1e-5)
    assert float(policy.inputs.norm.count) == 27


def normalising(**settings: Any) -> Any:
    from seqrl.policies.actor_critic import ActorCriticConfig

    return ActorCriticConfig(normalise_observations=True, **settings)


def test_a_resumed_task_draws_the_same_rows(recorded: Path) -> None:
    task = shown_to(recorded)
    assert task.demonstrations is not None
    task.demonstrations()
    state, expected = task.state_dict(), task.demonstrations()
    other = shown_to(recorded)
    other.load_state_dict(state)
    assert other.demonstrations is not None and torch.equal(other.demonstrations().action, expected.action)


@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_demonstrations_stand_beside_samples(recorded: Path, memory: str) -> None:
    task = shown_to(recorded, policy=ControlPolicyConfig(hidden_sizes=(8,), actor_critic=normalising(memory=memory)))
    trainer = PPO(task.build_policy(), PPOConfig(minibatches=1, epochs=1, imitation=ImitationConfig(weight=0.5)))
    rows = trainer.collect(task)
    assert rows.batch_size == 7 and rows.imitate is not None and int(rows.imitate.sum()) == 5
    assert trainer.update(rows)["loss/cross_entropy"] > 0


def test_without_a_recording_there_is_nothing_to_imitate() -> None:
    with pytest.raises(ValueError, match=r"no demonstrations to imitate; set task\.demonstrations\.path"):
        Supervised(EnvTask("CartPole-v1").build_policy()).check_task(EnvTask("CartPole-v1"))


def lasting(folder: Path, change: Any) -> Path:
    """Copy a recording, and change it."""
    import shutil

    target = folder.parent / f"changed_{change.__name__}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    change(target)
    return target


def cut(folder: Path) -> None:
    whole = (folder / ARRAYS).read_bytes()
    (folder / ARRAYS).write_bytes(whole[: len(whole) // 2])


def no_arrays(folder: Path) -> None:
    (folder / ARRAYS).unlink()


def no_text(folder: Path) -> None:
    (folder / METADATA).write_text("{", encoding="utf-8")


def lost_episode(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        del file["episode_2"]


def lost_steps(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        kept = file["episode_1/actions"][:-1]
        del file["episode_1/actions"]
        file["episode_1/actions"] = kept


def not_finite(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        file["episode_0/observations"][3, 1] = np.nan


def wider_actions(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        for name in ("episode_0", "episode_1", "episode_2"):
            steps = file[name]["actions"][()]
            del file[name]["actions"]
            file[name]["actions"] = np.concatenate([steps, steps], axis=1)


def whole_actions(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        del file["episode_0/actions"]
        file["episode_0/actions"] = np.zeros(9, np.int64)


def link_out(folder: Path) -> None:
    with h5py.File(folder / ARRAYS, "a") as file:
        del file["episode_0/actions"]
        file["episode_0/actions"] = h5py.ExternalLink("/etc/passwd", "x")


BAD = {
    cut: f"{ARRAYS}: expected an HDF5 file, but it is none, cut short or damaged",
    no_arrays: "no such file; expected a folder of recorded episodes",
    no_text: f"{METADATA}: expected JSON",
    lost_episode: "episode 2 of 3: expected the arrays observations",
    lost_steps: "episode 1: expected as many actions",
    not_finite: "episode 0: expected finite numbers, observations hold others",
    wider_actions: "expected actions of 1 real numbers, got [2]",
    whole_actions: "expected actions of 1 real numbers, got []",
    link_out: "expected arrays in the file itself, got a link",
}


@pytest.mark.parametrize("change", BAD)
def test_a_damaged_recording_is_named_before_anything_is_done(change: Any, recorded: Path) -> None:
    folder = lasting(recorded, change)
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        shown_to(folder)
    assert BAD[change] in str(refusal.value) and folder.name in str(refusal.value)


def test_what_does_not_fit_is_refused(recorded: Path, tmp_path: Path) -> None:
    from seqrl.policies.actor_critic import ActorCriticConfig

    with pytest.raises(ValueError, match=r"expected episodes of CartPole-v1, got those of 'Pendulum-v1'; name another folder"):
        EnvTask("CartPole-v1", demonstrations=DemonstrationsConfig(path=str(recorded)))
    with pytest.raises(ValueError, match=r"squash: expected false with demonstrations"):
        shown_to(recorded, policy=ControlPolicyConfig(actor_critic=ActorCriticConfig(squash=True)))
    with pytest.raises(ValueError, match=r"expected observations of shape \[2, 3\], got \[3\].*task\.frame_stack"):
        shown_to(recorded, frame_stack=2)
    with pytest.raises(FileNotFoundError, match=r"missing/metadata\.json: no such file.*add --task\.demonstrations\.path="):
        shown_to(tmp_path / "missing")
    write_episodes(tmp_path / "far", [episode([0, 1], [7])], environment="FrozenLake-v1", spaces=NUMBERS, spec=None)
    with pytest.raises(ValueError, match=r"expected actions of whole numbers from 0 to below 4, got 7 to 7"):
        EnvTask("FrozenLake-v1", demonstrations=DemonstrationsConfig(path=str(tmp_path / "far")))


def test_nothing_is_overwritten_and_nothing_half_written(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = EnvTask("Pendulum-v1", max_episode_steps=3)
    before = (recorded / ARRAYS).read_bytes()
    with pytest.raises(FileExistsError, match=r"expected a new folder"):
        task.record_data(Holds(), recorded, episodes=1)
    assert (recorded / ARRAYS).read_bytes() == before
    monkeypatch.setattr(h5py.Group, "create_dataset", lambda *_, **__: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        task.record_data(Holds(), tmp_path / "full", episodes=1)
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "--task.num_envs=2",
        "--task.num_steps=8",
        "--task.num_eval_episodes=2",
        "--task.max_episode_steps=20",
        f"--runs_folder={tmp_path}",
    ]
    small += ["--num_updates=1", "--eval_every=1", "--quiet"]
    assert main(["train", "cartpole_ppo", "--name=expert", *small]) == 0
    run, data = str(tmp_path / "expert"), tmp_path / "data"
    assert main(["record", run, f"--data={data}", "--episodes=3"]) == 0
    assert "episode 2: return" in capsys.readouterr().out
    assert main(["record", run, f"--data={data}"]) == 2
    assert "expected a new folder" in capsys.readouterr().err
    assert main(["record", run, f"--data={data}", "--output=x.gif"]) == 2
    assert main(["train", "cartpole_bc", f"--task.demonstrations.path={data}", *small]) == 0
    assert main(["train", "cartpole_bc", f"--task.demonstrations.path={tmp_path / 'other'}", "--name=other", *small]) == 2
    assert "no such file" in capsys.readouterr().err and not (tmp_path / "other").exists()
    assert main(["evaluate", str(tmp_path / "cartpole_bc"), "--task.demonstrations.path="]) == 0
