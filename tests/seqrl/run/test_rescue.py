"""Whatever ends a run, the last whole update is saved, and goes on to the same bits."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rescued import assert_goes_on, at, make, newest, raising, weights

from seqrl import PPOConfig
from seqrl.policies.actor_critic import ActorCriticConfig
from seqrl.run import checkpoint
from seqrl.run.log import read_metrics
from seqrl.run.loop import fit
from seqrl.run.seeding import seed_everything
from seqrl.run.way_back import WayBack
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig
from seqrl.trainers.q_table import QTableConfig

pytestmark = pytest.mark.usefixtures("a_copy_before_each_update")
ENDS = [ValueError, MemoryError, AssertionError, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("kind", ENDS)
def test_an_update_that_fails_when_the_weights_have_changed(tmp_path: Path, kind: type[BaseException], whole: torch.Tensor) -> None:
    trainer, task = make()
    trainer.update = at(5, raising(kind), trainer.update)
    with pytest.raises(kind) as raised:
        fit(trainer, task, num_updates=8, run_folder=tmp_path)
    assert raised.value.__notes__ == [f"in update 5; the last checkpoint is {checkpoint.step_folder(tmp_path, 4)}"]
    assert_goes_on(tmp_path, whole)


@pytest.mark.parametrize(("first", "step"), [(True, 4), (False, 3)])
def test_of_weights_too_large_for_a_copy(tmp_path: Path, first: bool, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are saved where no step has changed them; half changed they are not."""
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()
    seen: list[torch.Tensor] = []
    trainer.update = at(step, lambda: seen.append(weights(trainer)), trainer.update)
    trainer.update = at(5, raising(MemoryError), trainer.update, first=first)
    with pytest.raises(MemoryError):
        fit(trainer, task, num_updates=8, run_folder=tmp_path, save_every=3)
    assert newest(tmp_path) == step
    other, _ = make()
    checkpoint.load_weights(checkpoint.find(tmp_path), other.policy)
    assert torch.equal(weights(other), seen[0])


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("rollout", SystemExit),
        ("rollout", KeyboardInterrupt),
        ("evaluate", KeyboardInterrupt),
        ("evaluate", AssertionError),
        ("pop_metrics", MemoryError),
        ("write", KeyboardInterrupt),
        ("warn", ValueError),
    ],
)
def test_weights_that_are_whole_are_saved(tmp_path: Path, place: str, kind: type[BaseException]) -> None:
    trainer, task = make()

    class Writer:
        def write(self, step: int, metrics: Any) -> None:
            if place == "write" and step == 5 or place == "warn" and step == 8:
                raise kind("trouble")

        def say(self, step: int, text: str) -> None:
            raise kind("trouble")

        def close(self) -> None:
            pass

    if place == "rollout":
        task.rollout = at(6, raising(kind), task.rollout)
    elif place == "evaluate":
        task.evaluate = at(2, raising(kind), task.evaluate)
    elif place == "pop_metrics":
        failing = at(1, raising(kind), dict, first=True)
        task.pop_metrics = lambda: failing() if task.position == 5 else {}
    elif place == "warn":
        update = trainer.update
        trainer.update = lambda rows: update(rows) | {"optimiser/skipped_share": float(task.position == 5)}
    with pytest.raises(kind) as raised:
        fit(trainer, task, num_updates=8, run_folder=tmp_path, eval_every=5, writers=[Writer()])
    assert newest(tmp_path) == 5
    (note,) = raised.value.__notes__
    assert note.endswith(f"; the last checkpoint is {checkpoint.step_folder(tmp_path, 5)}")
    other, _ = make()
    checkpoint.load_weights(checkpoint.find(tmp_path), other.policy)
    assert torch.equal(weights(other), weights(trainer))


def test_a_task_that_can_tell_its_metrics_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()

    def fail() -> None:
        task.pop_metrics = raising(RuntimeError)
        raise ValueError("lost")

    task.rollout = at(6, fail, task.rollout)
    with pytest.raises(ValueError, match="lost"):
        fit(trainer, task, num_updates=8, run_folder=tmp_path)
    assert newest(tmp_path) == 5


def test_a_task_that_can_tell_its_state_no_more(tmp_path: Path, whole: torch.Tensor) -> None:
    trainer, task = make()

    def fail() -> None:
        task.state_dict = raising(RuntimeError)
        raise ValueError("lost")

    task.rollout = at(6, fail, task.rollout)
    with pytest.raises(ValueError, match="lost"):
        fit(trainer, task, num_updates=8, run_folder=tmp_path)
    assert newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


def test_a_table_that_numpy_has_half_changed_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    environment = {"environment": "FrozenLake-v1", "num_envs": 2, "num_steps": 20, "max_episode_steps": 50}
    task = ControlConfig(**environment, policy=ControlPolicyConfig(type="action_value_table")).build(0)  # type: ignore[arg-type]
    trainer = QTableConfig().build(task.build_policy(), seed=0, num_updates=9)
    trainer._take = at(100, raising(ValueError), trainer._take)  # type: ignore[method-assign]
    with pytest.raises(ValueError) as raised:
        fit(trainer, task, num_updates=9, run_folder=tmp_path, save_every=1)
    assert newest(tmp_path) == 2 and "in update 3; the last checkpoint is" in raised.value.__notes__[0]
    assert trainer._errors


def test_a_reward_that_is_not_finite_gets_nowhere(tmp_path: Path) -> None:
    trainer, task = make()
    rollout = task.rollout
    task.rollout = lambda policy: at_five(rollout(policy), task.position)

    def at_five(rows: Any, position: int) -> Any:
        return rows.replace(reward=rows.reward.index_fill(1, torch.tensor([2]), torch.nan)) if position == 5 else rows

    with pytest.raises(ValueError, match=r"the reward of row 1 at step 2 is nan; expected a finite number, at most 3.4e\+38"):
        fit(trainer, task, num_updates=8, run_folder=tmp_path)
    assert newest(tmp_path) == 4


def test_a_checkpoint_by_the_clock_changes_nothing(tmp_path: Path, whole: torch.Tensor) -> None:
    lines = {}
    for name, minutes in (("often", 1e-9), ("never", 0.0)):
        trainer, task = make()
        fit(trainer, task, num_updates=8, run_folder=tmp_path / name, save_minutes=minutes, log_every=3, keep_checkpoints=3)
        assert torch.equal(weights(trainer), whole)
        lines[name] = [{key: row[key] for key in row if not key.startswith("time/")} for row in read_metrics(tmp_path / name)]
    assert lines["often"] == lines["never"]
    steps = {name: [int(path.name[-2:]) for path in checkpoint.step_folders(tmp_path / name)] for name in lines}
    assert steps == {"often": [6, 7, 8], "never": [8]}


def test_the_clock_begins_anew_with_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("seqrl.run.saving.time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter))
    trainer, task = make()

    def two_minutes(rows: Any, update: Any = trainer.update) -> Any:
        now[0] += 120.0
        return update(rows)

    trainer.update = two_minutes
    fit(trainer, task, num_updates=8, run_folder=tmp_path, save_every=7, keep_checkpoints=9)
    # Ten minutes, the default, are over after update 5; that of update 7 is save_every's.
    assert [path.name[-2:] for path in checkpoint.step_folders(tmp_path)] == ["05", "07", "08"]


@pytest.mark.parametrize("place", ["rollout", "broken reward", "evaluate"])
def test_what_fails_before_the_weights_change_is_done_again_to_the_same_bits(tmp_path: Path, place: str, whole: torch.Tensor) -> None:
    trainer, task = make()
    if place == "rollout":
        task.rollout = at(6, raising(KeyboardInterrupt), task.rollout)
    elif place == "broken reward":
        rollout = task.rollout
        task.rollout = lambda policy: (rows := rollout(policy)).replace(reward=rows.reward * (math.nan if task.position == 6 else 1.0))
    else:
        task.evaluate = at(2, raising(ValueError), task.evaluate)
    with pytest.raises((KeyboardInterrupt, ValueError)):
        fit(trainer, task, num_updates=8, run_folder=tmp_path, eval_every=5 if place == "evaluate" else 0)
    assert newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


def test_a_failure_right_after_a_resume_leaves_the_checkpoint_as_it_was(tmp_path: Path, whole: torch.Tensor) -> None:
    trainer, task = make()
    fit(trainer, task, num_updates=5, run_folder=tmp_path)
    folder = checkpoint.find(tmp_path)
    before = (folder / "SHA256SUMS").read_bytes()
    trainer, task = make()
    task.rollout = at(1, raising(KeyboardInterrupt), task.rollout)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, task, num_updates=8, run_folder=tmp_path, resume_from=folder)
    assert (folder / "SHA256SUMS").read_bytes() == before
    assert_goes_on(tmp_path, whole)


def test_a_second_signal_while_collecting_saves_the_metrics_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a line has told already would be told again."""
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)  # so that only what collecting changes is copied
    trainer, task = make()
    runs: list[WayBack] = []
    rescue_at_once = WayBack._rescue_at_once
    monkeypatch.setattr(WayBack, "_rescue_at_once", lambda way_back: (runs.append(way_back), rescue_at_once(way_back)))

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    task.rollout = at(6, twice, task.rollout)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, task, num_updates=8, run_folder=tmp_path, save_every=2, log_every=5)
    assert newest(tmp_path) == 5 and runs
    assert checkpoint.load_state(checkpoint.find(tmp_path))["progress"]["gathered"]["sums"] == {}


def test_what_was_seen_in_a_rollout_that_is_done_again_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task shows the policy what a rollout saw, for running statistics, before anybody looks at its rewards."""
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    policy = ControlPolicyConfig(hidden_sizes=(4,), actor_critic=ActorCriticConfig(normalise_observations=True))
    config = ControlConfig(num_envs=2, num_steps=8, policy=policy)

    def made(broken: int = 0) -> tuple[Any, Any]:
        seed_everything(0)
        task: Any = config.build(0)
        trainer = PPOConfig(epochs=1, minibatches=1).build(task.build_policy(), seed=0, num_updates=6)
        rollout, number = task.rollout, iter(range(1, 99))

        def maybe_broken(*arguments: Any, **settings: Any) -> Any:
            rows = rollout(*arguments, **settings)
            return rows.replace(reward=rows.reward * math.nan) if next(number) == broken else rows

        task.rollout = maybe_broken
        return trainer, task

    whole, task = made()
    fit(whole, task, num_updates=5)
    trainer, task = made(broken=4)
    with pytest.raises(ValueError, match="the reward of row 0"):
        fit(trainer, task, num_updates=5, run_folder=tmp_path)
    trainer, task = made()
    fit(trainer, task, num_updates=5, run_folder=tmp_path, resume_from=checkpoint.find(tmp_path))
    expected, found = whole.policy.state_dict(), trainer.policy.state_dict()
    assert {name for name in expected if not torch.equal(expected[name], found[name])} == set()
