"""How the demonstration's processes end: all well, all stopped by one signal, or all because one failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqrl.run import checkpoint
from seqrl.tasks.captioning.demo.child import end_with_parent
from seqrl.tasks.captioning.demo.processes import Stage, StageFailed, run_side_by_side

SMALL = ["--task.images_per_batch=4", "--task.policy.dim=16", "--task.policy.num_layers=1"]
SMALL += [f"--task.data.scenes.{name}={count}" for name, count in {"num_train": 24, "num_dev": 14, "num_test": 14}.items()]
# A child that notes its signals and ends at the first SIGTERM, as training does.
NOTES_SIGNALS = """
import signal, sys, time
def note(number, frame):
    open(sys.argv[1], "a").write(f"{number}\\n")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, note)
signal.signal(signal.SIGINT, note)
open(sys.argv[1], "a").write("ready\\n")
time.sleep(60)
"""


def stage(folder: Path, name: str, code: str) -> Stage:
    return Stage(name, [sys.executable, "-c", code, str(folder / f"{name}.signals")], folder / f"{name}.log")


def test_stages_run_at_once(tmp_path: Path) -> None:
    # Each waits for the other's file.
    code = (
        "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\n"
        "while len(list(pathlib.Path(sys.argv[1]).parent.glob('*.signals'))) < 2: time.sleep(0.01)"
    )
    looks: list[None] = []
    run_side_by_side([stage(tmp_path, name, code) for name in ("one", "other")], lambda: looks.append(None), period_s=0.01)
    assert looks


def test_a_stage_that_fails_ends_the_other_and_tells_why(tmp_path: Path) -> None:
    fails = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1].replace("bad", "good")).exists():
    time.sleep(0.01)
sys.exit("no data")
"""
    stages = [stage(tmp_path, "good", NOTES_SIGNALS), stage(tmp_path, "bad", fails)]
    with pytest.raises(StageFailed, match=r"(?s)bad ended with code 1.*no data"):
        run_side_by_side(stages, lambda: None, period_s=0.01)
    assert (tmp_path / "good.signals").read_text().split() == ["ready", str(int(signal.SIGTERM))]


def test_an_exception_ends_both_with_one_signal_each(tmp_path: Path) -> None:
    stages = [stage(tmp_path, name, NOTES_SIGNALS) for name in ("one", "other")]

    def until_ready() -> None:
        notes = [tmp_path / f"{name}.signals" for name in ("one", "other")]
        if all(each.is_file() and "ready" in each.read_text() for each in notes):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(stages, until_ready, period_s=0.01)
    for name in ("one", "other"):
        assert (tmp_path / f"{name}.signals").read_text().split() == ["ready", str(int(signal.SIGTERM))]


def test_a_child_ends_with_its_parent() -> None:
    code = f"from {end_with_parent.__module__} import end_with_parent\nimport time\nend_with_parent()\ntime.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == -signal.SIGTERM


class Running:
    """`make demo` without make, in a process group of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder, self.output = folder, folder.parent / "output.txt"
        environment = os.environ | {"SEQRL_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "seqrl.tasks.captioning.demo", "--folder", str(folder), *arguments]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + 240
        while not re.search(pattern, self.text()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def text(self) -> str:
        return self.output.read_text()

    def ended(self, seconds: float) -> int:
        """Wait for the exit code; nothing of the demonstration is left then."""
        code = self.process.wait(seconds)
        deadline = time.monotonic() + 5  # a child that was asked twice dies without being waited for
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
        return code

    def left(self) -> list[str]:
        ps = subprocess.run(["ps", "-e", "-ww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
        return [line for line in ps.splitlines() if str(self.folder) in line and "pytest" not in line.split()[1:3]]


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for running in started:
        if running.process.poll() is None:
            running.process.kill()


# Where to interrupt: what must have been printed, the signal, and whether it goes to the whole group, as Ctrl-C does.
PHASES = {
    "imports": ("Loading", signal.SIGINT, True),
    "measuring": ("Loading", signal.SIGTERM, False),
    "first_stage": ("cross-entropy [1-9]", signal.SIGTERM, True),
    "first_evaluation": ("Before", signal.SIGINT, False),
    "side_by_side": ("self-critical [1-9]", signal.SIGINT, True),
    "test_and_pictures": ("Evaluating", signal.SIGTERM, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_ends_everything(tmp_path: Path, demos: list[Running], phase: str) -> None:
    printed, number, group = PHASES[phase]
    counts = {"first_stage": ("300", "3"), "side_by_side": ("2", "100")}.get(phase, ("2", "2"))
    running = Running(tmp_path / "demo", "--from-scratch", f"--cross-entropy-updates={counts[0]}", f"--updates={counts[1]}", *SMALL)
    demos.append(running)
    running.wait_for(printed)
    if phase == "measuring":
        time.sleep(4.0)
    (os.killpg if group else os.kill)(running.process.pid, number)
    assert running.ended(60) == 128 + number
    output = running.text()
    assert "Greedy captions of" not in output and "Traceback" not in output
    begun = (tmp_path / "demo" / "plan.json").is_file()
    assert (f"--resume --folder={tmp_path / 'demo'}'` goes on" if begun else "nothing had been trained yet") in output
    if phase == "side_by_side":
        # Each has a checkpoint, from which it goes on to the end.
        assert all(checkpoint.step_folders(tmp_path / "demo" / name) for name in ("self_critical", "more_cross_entropy"))
    if phase in ("first_stage", "side_by_side"):
        assert begun
        again = Running(tmp_path / "demo", "--resume")
        demos.append(again)
        assert again.ended(400) == 0
        assert "Greedy captions of 14" in again.text()


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path, demos: list[Running]) -> None:
    running = Running(tmp_path / "demo", "--from-scratch", "--cross-entropy-updates=2", "--updates=400", *SMALL)
    demos.append(running)
    running.wait_for("self-critical [1-9]")
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    start = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.ended(5) in (128 + signal.SIGINT, -signal.SIGINT)
    assert time.monotonic() - start < 5


@pytest.mark.slow
def test_a_stage_that_dies_takes_the_demonstration_down(tmp_path: Path, demos: list[Running]) -> None:
    running = Running(tmp_path / "demo", "--from-scratch", "--cross-entropy-updates=2", "--updates=400", *SMALL)
    demos.append(running)
    running.wait_for("self-critical [1-9]")
    victims = [int(line.split()[0]) for line in running.left() if "--name=more_cross_entropy" in line]
    assert len(victims) == 1, running.text()
    os.kill(victims[0], signal.SIGKILL)
    assert running.ended(60) == 1
    assert "the stage more_cross_entropy ended with code -9" in running.text() and "Greedy captions of" not in running.text()
