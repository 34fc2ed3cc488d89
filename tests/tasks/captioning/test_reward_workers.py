"""A slow reward function in processes of its own: what it says, how it fails, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqrl.failures import RewardFailed
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward import RewardConfig
from seqrl.tasks.writing.reward_workers import RewardWorkers
from seqrl.tasks.writing.trl_form import Notes, TrainerState

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = """
import os, pathlib, signal, subprocess, sys, time
import numpy as np
HERE = pathlib.Path(__file__).parent

def lengths(captions, references):
    print("this goes to standard error")
    subprocess.run(["cat"])  # reads standard input to its end, which must not be the requests
    (HERE / f"pid{os.getpid()}").touch()
    return np.array([len(caption) + 0.1 * len(given) for caption, given in zip(captions, references)])

def fails(captions, references):
    if "fail" in captions:
        raise ZeroDivisionError("no words")
    if "die" in captions:
        os.kill(os.getpid(), signal.SIGKILL)
    if "leave" in captions:
        sys.exit(7)
    if "hang" in captions:
        (HERE / "pid0").write_text(str(subprocess.Popen(["sleep", "60"]).pid))
        time.sleep(60)
    return [1.0] * (len(captions) - ("short" in captions))
"""
CAPTIONS = ["a dog", "", "two cats sleep", "ü – ☃", "x" * 70_000]
REFERENCES = [["one"], ["one", "two"], ["1"] * 5, ["é"], ["a", "b"]]


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RewardWorkers]:
    module = f"workers_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, number=2, timeout_s=60.0: RewardWorkers([f"{module}:{name}"], number, timeout_s)


def score(pool: RewardWorkers, captions: list[str], references: list[list[str]]) -> np.ndarray:
    return pool.score(Asked(captions, references), TrainerState(), Notes())[0][0]


def is_running(pid: int) -> bool:
    """Say whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("number", [1, 3])
def test_scores_come_in_the_captions_order(number: int, workers: Callable[..., RewardWorkers], tmp_path: Path) -> None:
    pool = workers("lengths", number)
    by_hand = [5.1, 0.2, 14.5, 5.1, 70_000.2]
    assert score(pool, CAPTIONS, REFERENCES).tolist() == pytest.approx(by_hand, abs=1e-9)
    assert score(pool, CAPTIONS[:2], REFERENCES[:2]).tolist() == pytest.approx(by_hand[:2])
    pids = [int(path.name[3:]) for path in tmp_path.glob("pid*")]
    assert len(pids) == number and all(map(is_running, pids))
    del pool
    assert not any(map(is_running, pids))


def test_failures_name_the_captions_and_the_next_call_goes_on(workers: Callable[..., RewardWorkers]) -> None:
    pool = workers("fails")
    rows = [[]] * 4
    with pytest.raises(RewardFailed, match=r"(?s):fails raised ZeroDivisionError: no words for captions 2 to 3 of 4, .*'fail'.*line 14"):
        score(pool, ["a", "b", "fail", "c"], rows)
    with pytest.raises(RewardFailed, match="ended \\(signal 9, SIGKILL\\) for captions 0 to 1 of 4, the first of them 'a'"):
        score(pool, ["a", "die", "b", "c"], rows)
    with pytest.raises(RewardFailed, match="raised SystemExit: 7 for captions 0 to 1"):
        score(pool, ["leave", "a", "b", "c"], rows)
    with pytest.raises(ValueError, match=r"gave scores of shape \[1\] for 2 captions; expected one number each; for captions 2 to 3"):
        score(pool, ["a", "b", "short", "c"], rows)
    assert score(pool, ["a", "b", "c"], rows[:3]).tolist() == [1.0, 1.0, 1.0]
    absent = RewardWorkers(["os:no_such_function"], 1, 60.0)
    with pytest.raises(RewardFailed, match="cannot import 'os:no_such_function'"):
        score(absent, ["a"], [[]])


def test_what_hangs_is_given_up_with_all_that_it_started(workers: Callable[..., RewardWorkers], tmp_path: Path) -> None:
    pool = workers("fails", timeout_s=5.0)
    with pytest.raises(TimeoutError, match=r":fails \(task.reward.timeout_s\) did not answer for 5 seconds"):
        score(pool, ["a", "hang"], [[], []])
    assert wait_until(lambda: not is_running(int((tmp_path / "pid0").read_text())))


def test_none_is_left_when_the_main_process_is_killed(workers: Callable[..., RewardWorkers], tmp_path: Path) -> None:
    function = workers("lengths").functions
    code = f"""
import sys, time
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.reward_workers import RewardWorkers
from seqrl.tasks.writing.trl_form import Notes, TrainerState
pool = RewardWorkers({function!r}, 2, 60.0)
pool.score(Asked(["a", "b"], [[], []]), TrainerState(), Notes())
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(60)
"""
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    try:
        assert wait_until((tmp_path / "ready").exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    pids = [int(path.name[3:]) for path in tmp_path.glob("pid*")]
    assert len(pids) == 2 and wait_until(lambda: not any(map(is_running, pids)))


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="workers: expected 0 without reward.function, got 2"):
        RewardConfig(workers=2)
    with pytest.raises(ValueError, match="workers: expected 0 or more"):
        RewardConfig(function="os:getcwd", workers=-1)
    assert np.isfinite(RewardConfig(function="os:getcwd", workers=2).timeout_s)
