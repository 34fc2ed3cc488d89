"""A real signal to a real process, in every phase of a command: it ends soon, says how to go on, and goes on to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.train import resume, train

INT, TERM = signal.SIGINT, signal.SIGTERM
# Seconds; a busy machine included, while what is broken off would take two minutes.
SOON = 50.0


class Ended:
    """How a command ended that was sent a signal."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self.seconds = seconds
        self.out, self.error = process.communicate(timeout=60)
        self.code = process.returncode


@pytest.fixture
def interrupted(tmp_path: Path, toy_environment: Callable[..., dict[str, str]]) -> Callable[..., Ended]:
    """Start a command that pauses in a phase, send it signals there, and wait for its end."""

    def run(arguments: list[str], phase: str, *signals: int, pause_s: float = 120.0) -> Ended:
        mark = tmp_path / "mark"
        environment = toy_environment(TOY_PAUSE=phase, TOY_MARK=str(mark), TOY_PAUSE_S=str(pause_s))
        process = subprocess.Popen(
            [sys.executable, "-m", "seqrl", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            while not mark.exists() and process.poll() is None:
                time.sleep(0.02)
            start = time.monotonic()
            for number in signals:
                process.send_signal(number)
                time.sleep(0.2)
            process.wait(timeout=SOON)
            return Ended(process, time.monotonic() - start)
        finally:
            process.kill()

    return run


@pytest.mark.parametrize(
    ("phase", "number", "steps"),
    [
        pytest.param("evaluate:1", TERM, {0}, marks=pytest.mark.slow),
        pytest.param("rollout:1", INT, {0}, marks=pytest.mark.slow),
        pytest.param("rollout:6", TERM, {4, 5}, marks=pytest.mark.slow),
        pytest.param("update:6", INT, {4, 5}, marks=pytest.mark.slow),
        pytest.param("evaluate:2", INT, {4}, marks=pytest.mark.slow),
    ],
)
def test_what_takes_long_is_broken_off_and_done_again(
    interrupted: Callable[..., Ended],
    toy_yaml: Path,
    tmp_path: Path,
    phase: str,
    number: int,
    steps: set[int],
    same_run: Callable[..., None],
) -> None:
    ended = interrupted(["train", str(toy_yaml), "--name=parts", "--quiet"], phase, number)
    folder = tmp_path / "runs" / "parts"
    assert ended.code == 128 + number and ended.seconds < SOON, ended.error
    step = checkpoint.read_meta(checkpoint.find(folder))["step"]
    assert step in steps
    assert f"seqrl: interrupted after update {step}; `seqrl resume {folder}` goes on" in ended.error and "Traceback" not in ended.error
    whole = train(read_config(toy_yaml, ["--name=whole"]), display=False)
    assert resume(folder, display=False, allow_code=True).step == 12 and whole.run_folder
    same_run(whole.run_folder, folder)


@pytest.mark.slow
def test_a_save_is_finished(interrupted: Callable[..., Ended], toy_yaml: Path, tmp_path: Path, same_run: Callable[..., None]) -> None:
    ended = interrupted(["train", str(toy_yaml), "--name=parts", "--quiet"], "save:1", TERM, pause_s=1.0)
    folder = tmp_path / "runs" / "parts"
    assert ended.code == 143 and "interrupted after update 4" in ended.error
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000004"]
    whole = train(read_config(toy_yaml, ["--name=whole"]), display=False)
    assert resume(folder, display=False, allow_code=True).step == 12 and whole.run_folder
    same_run(whole.run_folder, folder)


def test_the_second_signal_ends_at_once(interrupted: Callable[..., Ended], toy_yaml: Path, tmp_path: Path) -> None:
    ended = interrupted(["train", str(toy_yaml), "--quiet"], "save:2", TERM, TERM)
    folder = tmp_path / "runs" / "toy"
    assert ended.code == -TERM and ended.seconds < SOON and "once more to end at once" in ended.error
    assert checkpoint.find(folder).name == "step_00000004"  # not the one that was being written
    assert resume(folder, display=False, allow_code=True).step == 12
    assert not list((folder / "checkpoints").glob(".*"))


@pytest.mark.parametrize(("phase", "number"), [pytest.param("import:1", TERM, marks=pytest.mark.slow), ("data:1", INT)])
def test_before_the_first_update(interrupted: Callable[..., Ended], toy_yaml: Path, tmp_path: Path, phase: str, number: int) -> None:
    ended = interrupted(["train", str(toy_yaml), "--quiet"], phase, number)
    assert ended.code == 128 + number and "Traceback" not in ended.error
    assert ended.error.startswith(f"seqrl: interrupted by {'Ctrl-C' if number == INT else 'SIGTERM'}") and ended.error.count("\n") == 1
    assert train(read_config(toy_yaml), display=False).step == 12  # nothing stands in its way


def test_right_after_the_start(toy_yaml: Path, toy_environment: Callable[..., dict[str, str]]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "seqrl", "train", str(toy_yaml)]
    process = subprocess.Popen(command, env=toy_environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "seqrl.run.interrupt" in line:
            break
    time.sleep(0.02)
    process.send_signal(TERM)
    error = process.communicate(timeout=SOON)[1]
    said = "".join(line for line in error.splitlines(keepends=True) if not line.startswith("import time:"))
    assert process.returncode == 143 and said.startswith("seqrl: interrupted by SIGTERM") and said.count("\n") == 1


@pytest.mark.slow
def test_between_seeds(interrupted: Callable[..., Ended], toy_yaml: Path, tmp_path: Path) -> None:
    ended = interrupted(["train", str(toy_yaml), "--seeds=0,1,2", "--quiet"], "curves:1", INT)
    folder = tmp_path / "runs" / "toy_seed0"
    assert ended.code == 130
    assert ended.error == f"seqrl: interrupted by Ctrl-C; {folder} is finished, then `--seeds 1,2` is left to do\n"
    assert checkpoint.find(folder).name == "step_00000012" and not (tmp_path / "runs" / "toy_seed1").exists()


@pytest.mark.slow
def test_looking_at_a_run(interrupted: Callable[..., Ended], toy_yaml: Path) -> None:
    folder = train(read_config(toy_yaml), display=False).run_folder
    ended = interrupted(["evaluate", str(folder), "--allow-code"], "evaluate:1", TERM)
    assert ended.code == 143 and ended.error == "seqrl: interrupted by SIGTERM\n" and not list(folder.glob("evaluation*"))  # type: ignore[union-attr]
