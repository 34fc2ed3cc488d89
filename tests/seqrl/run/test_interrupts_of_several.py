"""A signal to a command of several processes: all of them end, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launched import free_port, wait_for

from seqrl.run import checkpoint
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, train

SOON = 50.0
AGENT = """name: agent
num_updates: 40
log_every: 1
save_every: 10
num_threads: 1
task: {type: control, environment: CartPole-v1, num_envs: 2, num_steps: 16, vectorization: async}
trainer: {type: ppo, epochs: 1, minibatches: 1}
"""


def with_variable(value: str) -> list[int]:
    """List the processes whose environment holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if value.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A text in the environment of all processes that a test starts."""
    value = f"SEQRL_TEST_MARK={tmp_path.name}{os.getpid()}"
    yield value
    for number in with_variable(value):
        os.kill(number, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_environments_in_processes_of_their_own(
    tmp_path: Path, mark: str, toy_environment: Callable[..., dict[str, str]], same_run: Callable[..., None], times: int
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT + f"runs_folder: {tmp_path}\n")
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-m", "seqrl", "train", str(path), "--num_updates=100000", "--quiet"],
        env=toy_environment(**{name: value}),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = tmp_path / "agent"
    started = wait_for(lambda: checkpoint.step_folders(folder), 60)
    assert started and len(with_variable(mark)) >= 3
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        time.sleep(0.3 * (times - 1))
    error = process.communicate(timeout=SOON)[1]
    assert process.returncode in ((130,) if times == 1 else (130, -signal.SIGINT)), error
    assert wait_for(lambda: not with_variable(mark), 5), "processes are left"
    assert "Traceback" not in error
    if times == 1:
        step = checkpoint.read_meta(checkpoint.find(folder))["step"]
        assert f"interrupted after update {step}; " in error
        train(read_config(path, ["--name=whole", f"--num_updates={step + 2}"]), display=False)
        # The learning rate is constant, so that the number of steps changes nothing.
        resume(folder, [f"--num_updates={step + 2}"], display=False, allow_code=True)
        same_run(tmp_path / "whole", folder)


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "ranks"), [("evaluate:2", [1]), ("evaluate:2", [0, 1]), ("rollout:6", [1])])
def test_two_processes(
    tmp_path: Path, toy_yaml: Path, mark: str, toy_environment: Callable[..., dict[str, str]], phase: str, ranks: list[int]
) -> None:
    name, _, value = mark.partition("=")
    shared = {name: value, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TOY_MARK": str(tmp_path / "mark")}
    script = [sys.executable, str(Path(__file__).with_name("one_of_two_toys.py")), "train", str(toy_yaml), "--quiet"]
    pause = "120" if phase.startswith("evaluate") else "1"
    processes = [
        subprocess.Popen(
            script,
            env=toy_environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank), TOY_PAUSE=phase, TOY_PAUSE_S=pause),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert wait_for((tmp_path / "mark").exists, 60)
    time.sleep(0.3)
    for rank in ranks:
        processes[rank].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=SOON)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], errors
    folder = checkpoint.find(tmp_path / "runs" / "toy")
    assert f"`torchrun --nproc_per_node 2 -m seqrl resume {folder.parent.parent}` goes on" in errors[0]
    assert folder.name == ("step_00000004" if phase.startswith("evaluate") else "step_00000006")
    assert (folder / "trainer_process1.pt").is_file() and "Traceback" not in "".join(errors)
    assert [row["step"] for row in read_metrics(folder.parent.parent) if "dev/score" in row] == [0, 4][: 1 + (folder.name[-1] == "6")]
