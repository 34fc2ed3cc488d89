"""Whatever ends a run, the last whole update is saved, and goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqrl.run import checkpoint
from seqrl.run.log import read_metrics
from seqrl.run.loop import fit
from seqrl.run.seeding import seed_everything
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig
from seqrl.trainers.q_table import QTableConfig

ENDS = [ValueError, MemoryError, AssertionError, KeyboardInterrupt, SystemExit]


@pytest.fixture(autouse=True)
def a_copy_before_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's updates are over before a second copy may be made."""
    monkeypatch.setattr("seqrl.run.saving.LARGEST_SHARE", 1e9)


def make() -> tuple[Any, Any]:
    import toy_for_runs

    seed_everything(0)
    task = toy_for_runs.ToyTaskConfig().build(0)
    return toy_for_runs.ToyTrainerConfig().build(task.build_policy(), seed=0, num_updates=10), task


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in trainer.policy.parameters()])


@pytest.fixture
def whole() -> torch.Tensor:
    """The weights after 8 updates without any trouble."""
    trainer, task = make()
    fit(trainer, task, steps=8)
    return weights(trainer)


def newest(folder: Path) -> int:
    return int(checkpoint.read_meta(checkpoint.find(folder))["step"])


def assert_goes_on(folder: Path, expected: torch.Tensor) -> None:
    trainer, task = make()
    seed_everything(9)
    fit(trainer, task, steps=8, run_folder=folder, resume_from=checkpoint.find(folder))
    assert torch.equal(weights(trainer), expected)


def at(number: int, action: Callable[[], Any], function: Callable[..., Any], *, first: bool = False) -> Callable[..., Any]:
    """Do something before or after the n-th call of a function."""
    calls = []

    def called(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if first and len(calls) == number:
            action()
        result = function(*arguments, **settings)
        if not first and len(calls) == number:
            action()
        return result

    return called


def raising(kind: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise kind("trouble")

    return fail


@pytest.mark.parametrize("kind", ENDS)
def test_an_update_that_fails_when_the_weights_have_changed(tmp_path: Path, kind: type[BaseException], whole: torch.Tensor) -> None:
    trainer, task = make()
    trainer.update = at(5, raising(kind), trainer.update)
    with pytest.raises(kind) as raised:
        fit(trainer, task, steps=8, run_folder=tmp_path)
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
        fit(trainer, task, steps=8, run_folder=tmp_path, save_every=3)
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
        ("pop_figures", MemoryError),
        ("write", KeyboardInterrupt),
        ("warn", ValueError),
    ],
)
def test_weights_that_are_whole_are_saved(tmp_path: Path, place: str, kind: type[BaseException]) -> None:
    trainer, task = make()

    class Writer:
        def write(self, step: int, figures: Any) -> None:
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
    elif place == "pop_figures":
        failing = at(1, raising(kind), dict, first=True)
        task.pop_figures = lambda: failing() if task.position == 5 else {}
    elif place == "warn":
        update = trainer.update
        trainer.update = lambda rows: update(rows) | {"optimiser/skipped_share": float(task.position == 5)}
    with pytest.raises(kind) as raised:
        fit(trainer, task, steps=8, run_folder=tmp_path, eval_every=5, writers=[Writer()])
    assert newest(tmp_path) == 5
    (note,) = raised.value.__notes__
    assert note.endswith(f"; the last checkpoint is {checkpoint.step_folder(tmp_path, 5)}")
    other, _ = make()
    checkpoint.load_weights(checkpoint.find(tmp_path), other.policy)
    assert torch.equal(weights(other), weights(trainer))


def test_a_task_that_can_tell_its_state_no_more(tmp_path: Path, whole: torch.Tensor) -> None:
    trainer, task = make()

    def fail() -> None:
        task.state_dict = raising(RuntimeError)
        raise ValueError("lost")

    task.rollout = at(6, fail, task.rollout)
    with pytest.raises(ValueError, match="lost"):
        fit(trainer, task, steps=8, run_folder=tmp_path)
    assert newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


def test_a_table_that_numpy_has_half_changed_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    environment = {"environment": "FrozenLake-v1", "num_envs": 2, "num_steps": 20, "max_episode_steps": 50}
    task = ControlConfig(**environment, policy=ControlPolicyConfig(kind="action_value_table")).build(0)  # type: ignore[arg-type]
    trainer = QTableConfig().build(task.build_policy(), seed=0, num_updates=9)
    trainer._take = at(100, raising(ValueError), trainer._take)  # type: ignore[method-assign]
    with pytest.raises(ValueError) as raised:
        fit(trainer, task, steps=9, run_folder=tmp_path, save_every=1)
    assert newest(tmp_path) == 2 and "in update 3; the last checkpoint is" in raised.value.__notes__[0]
    assert trainer._errors


def test_a_reward_that_is_not_finite_gets_nowhere(tmp_path: Path) -> None:
    trainer, task = make()
    rollout = task.rollout
    task.rollout = lambda policy: at_five(rollout(policy), task.position)

    def at_five(rows: Any, position: int) -> Any:
        return rows.replace(reward=rows.reward.index_fill(1, torch.tensor([2]), torch.nan)) if position == 5 else rows

    with pytest.raises(ValueError, match=r"the reward of row 1 at step 2 is nan; expected a finite number, at most 3.4e\+38"):
        fit(trainer, task, steps=8, run_folder=tmp_path)
    assert newest(tmp_path) == 4


def test_a_checkpoint_by_the_clock_changes_nothing(tmp_path: Path, whole: torch.Tensor) -> None:
    lines = {}
    for name, minutes in (("often", 1e-9), ("never", 0.0)):
        trainer, task = make()
        fit(trainer, task, steps=8, run_folder=tmp_path / name, save_minutes=minutes, log_every=3, keep_checkpoints=3)
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
    fit(trainer, task, steps=8, run_folder=tmp_path, save_every=7, keep_checkpoints=9)
    # Ten minutes, the default, are over after update 5; that of update 7 is save_every's.
    assert [path.name[-2:] for path in checkpoint.step_folders(tmp_path)] == ["05", "07", "08"]


def spin() -> None:
    while True:
        pass


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@pytest.mark.parametrize(
    ("hang", "large", "folder"),
    [(spin, True, True), (wait_for_a_lock, True, True), (wait_for_a_lock, False, True), (lambda: time.sleep(60), False, False)],
)
def test_the_first_signal_ends_a_reward_that_hangs(
    tmp_path: Path, hang: Callable[[], None], large: bool, folder: bool, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqrl.run.loop.GRACE_S", 0.02)
    if large:
        monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()

    def stuck() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        hang()

    task.rollout = at(6, stuck, task.rollout)
    start = time.monotonic()
    result = fit(trainer, task, steps=8, run_folder=tmp_path if folder else None)
    assert result.interrupted == signal.SIGINT and time.monotonic() - start < 10
    assert result.step == 5
    if folder:
        assert newest(tmp_path) == 5
        assert_goes_on(tmp_path, whole)


def test_a_large_update_is_finished(tmp_path: Path, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.loop.GRACE_S", 0.02)
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()

    def slow() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

    trainer.update = at(5, slow, trainer.update, first=True)
    assert fit(trainer, task, steps=8, run_folder=tmp_path).step == newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


def test_a_reward_that_swallows_the_signal_gets_it_again(tmp_path: Path, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.loop.GRACE_S", 0.02)
    monkeypatch.setattr("seqrl.run.interrupt.REPEAT_S", 0.02)
    trainer, task = make()

    def retry() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60)

    task.rollout = at(6, retry, task.rollout)
    assert fit(trainer, task, steps=8, run_folder=tmp_path).interrupted == signal.SIGINT
    assert_goes_on(tmp_path, whole)


@pytest.mark.parametrize("large", [False, True])
def test_the_second_signal_in_a_row_saves_first(tmp_path: Path, large: bool, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    monkeypatch.setattr("seqrl.run.interrupt.SAME_REQUEST_S", 0.0)
    trainer, task = make()

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    task.rollout = at(6, twice, task.rollout)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(trainer, task, steps=8, run_folder=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


SCRIPT = """
import subprocess, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toy_for_runs
from seqrl.run import saving
from seqrl.run.train import train
from seqrl.run.cli import main

rollout = toy_for_runs.ToyTask.rollout
if sys.argv[5] == "large":
    saving.LARGEST_COPY_BYTES = 0

def lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def process():
    subprocess.Popen(["sleep", "20"], stderr=subprocess.DEVNULL).wait()

def swallow():
    while True:
        try:
            time.sleep(1000)
        except BaseException:  # whatever comes, try again
            pass

def stuck(task, policy, **settings):
    rows = rollout(task, policy, **settings)
    if task.position == 6:
        Path(sys.argv[3]).touch()
        globals()[sys.argv[4]]()
    return rows

toy_for_runs.ToyTask.rollout = stuck
sys.exit(main(["train", sys.argv[2], "--quiet"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hang", "size", "code"), [("lock", "large", 130), ("process", "small", 130), ("swallow", "small", -2), ("swallow", "large", -2)]
)
def test_a_process_whose_reward_hangs(
    tmp_path: Path, toy_yaml: Path, toy_environment: Callable[..., dict[str, str]], hang: str, size: str, code: int
) -> None:
    mark, here = tmp_path / "mark", str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", SCRIPT, here, str(toy_yaml), str(mark), hang, size]
    process = subprocess.Popen(command, env=toy_environment(), stderr=subprocess.PIPE, text=True)
    try:
        while not mark.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        if hang == "swallow":
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.0)
            process.send_signal(signal.SIGINT)  # what is whole is saved before it kills
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == code, error
    folder = tmp_path / "runs" / "toy"
    assert newest(folder) == 5 or (size == "small" and newest(folder) == 4)  # the newest copy
    if code == 130:
        assert f"seqrl: interrupted after update {newest(folder)}; `seqrl resume {folder}` goes on" in error
