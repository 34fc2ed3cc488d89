"""A signal to a run whose reward hangs: the first one ends it, and what was done is kept; the second one loses nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rescued import assert_goes_on, at, make, newest

from seqrl.run.loop import fit

pytestmark = pytest.mark.usefixtures("a_copy_before_each_update")


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
    monkeypatch.setattr("seqrl.run.way_back.GRACE_S", 0.02)
    if large:
        monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()

    def stuck() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        hang()

    task.rollout = at(6, stuck, task.rollout)
    start = time.monotonic()
    result = fit(trainer, task, num_updates=8, run_folder=tmp_path if folder else None)
    assert result.interrupted == signal.SIGINT and time.monotonic() - start < 30
    assert result.step == 5
    if folder:
        assert newest(tmp_path) == 5
        assert_goes_on(tmp_path, whole)


def test_a_large_update_is_finished(tmp_path: Path, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.way_back.GRACE_S", 0.02)
    monkeypatch.setattr("seqrl.run.saving.LARGEST_COPY_BYTES", 0)
    trainer, task = make()

    def slow() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

    trainer.update = at(5, slow, trainer.update, first=True)
    assert fit(trainer, task, num_updates=8, run_folder=tmp_path).step == newest(tmp_path) == 5
    assert_goes_on(tmp_path, whole)


def test_a_reward_that_swallows_the_signal_gets_it_again(tmp_path: Path, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqrl.run.way_back.GRACE_S", 0.02)
    monkeypatch.setattr("seqrl.run.interrupt.REPEAT_S", 0.02)
    trainer, task = make()

    def retry() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(60)

    task.rollout = at(6, retry, task.rollout)
    assert fit(trainer, task, num_updates=8, run_folder=tmp_path).interrupted == signal.SIGINT
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
            fit(trainer, task, num_updates=8, run_folder=tmp_path)
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
