"""A process of several that is killed, stopped, or fails: the others end within seconds, and say which it was and how to go on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import free_port, wait_for

from seqrl.peers import Beat, Peer, Peers
from seqrl.run import checkpoint

SOON = 50.0  # on a machine with much other work; alone it takes three
AGENT = """name: agent
num_updates: 100000
save_every: 5
num_threads: 1
task: {type: control, environment: CartPole-v1, num_envs: 2, num_steps: 16, vectorization: async}
trainer: {type: ppo, epochs: 1, minibatches: 1, optimiser: {precision: fp32}}
"""
slow = pytest.mark.slow


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test has started, ended with it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()


@pytest.fixture
def launch(
    started: list[subprocess.Popen[str]], toy_environment: Callable[..., dict[str, str]], toy_yaml: Path
) -> Callable[..., list[subprocess.Popen[str]]]:
    """Start the toy's run in some processes, of which some have an environment of their own."""

    def start(number: int, *settings: str, **own: dict[str, str]) -> list[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "seqrl", "train", str(toy_yaml), "--quiet", "--num_updates=100000", "--eval_every=0", *settings]
        shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        for rank in range(number):
            environment = toy_environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank), **own.get(f"rank{rank}", {}))
            started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return started

    return start


@slow
def test_killed_after_an_evaluation_longer_than_the_time_limit(tmp_path: Path, launch: Callable[..., Any]) -> None:
    mark = tmp_path / "mark"
    pause = {"TOY_PAUSE": "evaluate:2", "TOY_PAUSE_S": "5", "TOY_MARK": str(mark)}
    processes = launch(3, "--eval_every=20", "--process_timeout_s=2", "--save_every=1", "--task.delay_s=0.02", rank0=pause)
    folder = tmp_path / "runs" / "toy"
    assert wait_for(lambda: any(one.name > "step_00000021" for one in checkpoint.step_folders(folder)), 90) and mark.exists()
    processes[1].kill()
    begin = time.monotonic()
    errors = [process.communicate(timeout=SOON)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, -signal.SIGKILL, 1], errors
    assert time.monotonic() - begin < SOON / 2
    kept = checkpoint.step_folders(folder)[-1]
    for error in (errors[0], errors[2]):
        assert "Traceback" not in error and "gloo" not in error and "frame #" not in error
        assert f"process 1 (pid {processes[1].pid} on {socket.gethostname()}) is gone" in error or "ended" in error
        assert f"{kept} was kept; `torchrun --nproc_per_node 3 -m seqrl resume {folder}` goes on from it" in error


@slow
def test_stopped(tmp_path: Path, launch: Callable[..., Any]) -> None:
    processes = launch(2, "--process_timeout_s=2", "--task.delay_s=0.02")
    assert wait_for(lambda: checkpoint.step_folders(tmp_path / "runs" / "toy"), 90)
    processes[1].send_signal(signal.SIGSTOP)
    error = processes[0].communicate(timeout=SOON)[1]
    assert processes[0].returncode == 1 and "Traceback" not in error
    assert f"process 1 (pid {processes[1].pid} on {socket.gethostname()}) is stopped" in error and "process 0 waited " in error
    processes[1].send_signal(signal.SIGCONT)  # it finds nobody
    assert processes[1].wait(timeout=SOON) == 1


@slow
def test_an_error_of_one_ends_all(tmp_path: Path, launch: Callable[..., Any]) -> None:
    # The first one, with which the store ends by which the processes know of each other; the time limit is ten minutes.
    processes = launch(2, rank0={"TOY_FAIL_AT": "6"})
    errors = [process.communicate(timeout=SOON)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 1], errors
    assert "seqrl: reward: sample 3 is nan; expected finite numbers" in errors[0]
    assert f"process 0 (pid {processes[0].pid} on {socket.gethostname()}) ended: ValueError: reward: sample 3 is nan; expected" in errors[1]


@slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_killed_under_torchrun(
    tmp_path: Path, started: list[subprocess.Popen[str]], toy_environment: Callable[..., dict[str, str]]
) -> None:
    (tmp_path / "agent.yaml").write_text(AGENT + f"runs_folder: {tmp_path}\n")
    mark = f"{tmp_path.name}{os.getpid()}"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    command = [*torchrun, "-m", "seqrl", "train", str(tmp_path / "agent.yaml"), "--quiet"]
    started.append(subprocess.Popen(command, env=toy_environment(SEQRL_TEST_MARK=mark), stderr=subprocess.PIPE, text=True))
    assert wait_for(lambda: checkpoint.step_folders(tmp_path / "agent"), 90)
    marked = [number for number in with_variable(f"SEQRL_TEST_MARK={mark}") if number != started[0].pid]
    (killed,) = (number for number in marked if number in with_variable("RANK=1\0") and parent(number) == started[0].pid)
    os.kill(killed, signal.SIGKILL)
    error = started[0].communicate(timeout=SOON)[1]
    assert started[0].returncode == 1
    assert f"process 1 (pid {killed} on {socket.gethostname()}) is gone" in error and "-m seqrl resume" in error
    assert wait_for(lambda: not with_variable(f"SEQRL_TEST_MARK={mark}"), 10), "processes are left"


def with_variable(text: str) -> list[int]:
    """List the processes whose environment holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in b"\0" + path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def parent(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def alone_among(*others: Beat) -> Peers:
    """Give process 0 of several on machines that this one knows nothing of, without connections."""
    peers = Peers.__new__(Peers)
    peers.number, peers.count, peers.where, peers.timeout_s = 0, 7, "at the end of an update", 600.0
    peers.peers = [Peer(number, f"machine{number}", 40 + number) for number in range(len(others) + 1)]
    peers.beats = dict(enumerate(others, start=1))
    peers.moved_at, peers._period_s, peers._store_lost = time.monotonic() - 40, 0.5, False
    return peers


def test_words_about_processes_on_other_machines() -> None:
    now = time.monotonic()
    here = Beat("", now, 7, "at the end of an update")
    busy = Beat("", now, 6, "to save")
    assert alone_among(here, here).explain() == ""
    assert alone_among(here, busy)._late() == ["process 2 (pid 42 on machine2) has not come for 40 s; it last met the others to save"]
    silent = Beat("", now - 60, 6, "to save")
    text = alone_among(here, silent).explain()
    assert text == "process 2 (pid 42 on machine2) has given no sign for 60 s; processes 0, 1 waited at the end of an update"
    ended = Beat("", now - 60, 6, "to save", left="ValueError: a bad reward")
    assert (
        alone_among(silent, ended).explain().startswith("process 2 (pid 42 on machine2) ended: ValueError: a bad reward; process 0 waited")
    )
    # Who finished, or only followed another one, is no reason.
    assert alone_among(Beat("", now - 60, 6, "", left="+"), Beat("", now - 60, 6, "", left="")).explain() == ""


def test_whoever_does_not_come_is_named_once_in_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    now = time.monotonic()
    busy = Beat("", now, 6, "to save")
    peers = alone_among(busy, Beat("", now, 7, "at the end of an update"))
    peers.depth, peers.patient, peers.world, peers._said_at = 1, False, torch.distributed.group.WORLD, -1000.0
    for _ in range(3):
        peers._notice()
    said = "seqrl: waiting for 40 s at the end of an update, up to 600 s: process 1 (pid 41 on machine1) has not come for 40 s"
    assert capfd.readouterr().err == f"{said}; it last met the others to save\n"
    peers._said_at, peers.patient = -1000.0, True  # waiting for the main one while it evaluates is no trouble
    peers._notice()
    peers.patient, peers.moved_at = False, now - 5
    peers._notice()
    assert capfd.readouterr().err == ""
    busy.since, peers.moved_at, peers.patient = now - 60, now - 40, True  # but this is
    peers._notice()
    assert "given no sign for 60 s" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_what_the_system_knows_of_a_process() -> None:
    child = subprocess.Popen(["sleep", "60"])
    peer = Peer(1, socket.gethostname(), child.pid)
    assert peer.condition() == "" == Peer(1, "another machine", child.pid).condition()
    child.send_signal(signal.SIGSTOP)
    assert wait_for(lambda: peer.condition() == "stopped", 5)
    child.kill()
    assert wait_for(lambda: peer.condition() == "gone", 5)  # nobody has asked for its exit code yet
    child.wait()
    assert peer.condition() == "gone"
