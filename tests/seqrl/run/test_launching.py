"""`seqrl train --num_processes 2`: several processes from one command, which ends as they do."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from launched import wait_for

from seqrl.peers import _launcher_is_gone
from seqrl.run import checkpoint
from seqrl.run.interrupt import resume_command
from seqrl.run.launching import _code, _Shown, check_number, without_option

slow = pytest.mark.slow
Environment = Callable[..., dict[str, str]]
SOON = 150.0  # on a machine with much other work; alone it takes five


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seqrl", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(parent: int) -> list[int]:
    """List the processes that the command has started, in the order of their numbers."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                rank = dict(entry.partition(b"=")[::2] for entry in (path / "environ").read_bytes().split(b"\0"))[b"RANK"]
                found.append((int(rank), int(path.name)))
        except (OSError, KeyError):
            continue
    return [number for _, number in sorted(found)]


@slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_killed_one_ends_all_the_run_goes_on_with_another_number_and_a_signal_reaches_all(
    tmp_path: Path, toy_yaml: Path, toy_environment: Environment
) -> None:
    settings = ("--quiet", "--num_updates=100000", "--eval_every=0", "--save_every=1")
    whole = start(toy_environment(), "train", str(toy_yaml), "--num_processes", "2", "--task.delay_s=0.02", *settings)
    folder = tmp_path / "runs" / "toy"
    assert wait_for(lambda: checkpoint.step_folders(folder), SOON)
    both = children(whole.pid)
    assert len(both) == 2
    begin = time.monotonic()
    os.kill(both[1], signal.SIGKILL)
    error = whole.communicate(timeout=SOON)[1]
    assert whole.returncode == 1 and time.monotonic() - begin < 60 and "Traceback" not in error
    kept = checkpoint.step_folders(folder)[-1]
    assert f"process 1 of 2 (pid {both[1]}) was ended by SIGKILL" in error
    assert f"{kept} was kept; `seqrl resume {folder} --num_processes 2` goes on from it, with fewer or more processes, too" in error
    assert not any(Path(f"/proc/{number}").exists() for number in both)
    whole = start(toy_environment(), "resume", str(folder), "--num_processes=3", *settings, "--allow-code")
    assert wait_for(
        lambda: checkpoint.step_folders(folder)[-1] != kept and checkpoint.num_saved(checkpoint.step_folders(folder)[-1]) == 3, SOON
    )
    all_three = children(whole.pid)
    whole.send_signal(signal.SIGTERM)
    error = whole.communicate(timeout=SOON)[1]
    assert whole.returncode == 143 and "Traceback" not in error, error
    step = checkpoint.read_meta(checkpoint.find(folder))["step"]
    assert f"interrupted after update {step}; `seqrl resume {folder} --num_processes 3` goes on" in error
    assert not any(Path(f"/proc/{number}").exists() for number in all_three)
    assert "goes on with 3 processes" in (folder / "warnings.jsonl").read_text()


def test_who_started_it_and_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQRL_LAUNCHER", raising=False)
    assert not _launcher_is_gone()
    monkeypatch.setenv("SEQRL_LAUNCHER", str(os.getppid()))
    assert not _launcher_is_gone()
    monkeypatch.setenv("SEQRL_LAUNCHER", str(os.getppid() + 1))
    assert _launcher_is_gone()


@slow
def test_seeds_one_after_the_other_and_one_error_for_both(tmp_path: Path, toy_yaml: Path, toy_environment: Environment) -> None:
    arguments = (
        "train",
        str(toy_yaml),
        "--num_processes",
        "2",
        "--seeds",
        "3,4",
        "--quiet",
        "--num_updates=2",
        "--eval_every=0",
        "--save_every=0",
    )
    for code in (0, 2):
        both = start(toy_environment(), *arguments)
        _, error = both.communicate(timeout=SOON)
        assert both.returncode == code, error
    for seed in (3, 4):
        assert checkpoint.num_saved(checkpoint.find(tmp_path / "runs" / f"toy_seed{seed}")) == 2
    assert error.count("already holds a run") == 2 and error.count("toy_seed3: ") == 1, error


def test_numbers_that_make_no_sense_are_refused() -> None:
    assert check_number(None, {}) == 1 == check_number(1, {}) and check_number(4, {}) == 4
    assert check_number(4, {"WORLD_SIZE": "4"}) == 1 == check_number(None, {"WORLD_SIZE": "4"})
    for number in (0, -2):
        with pytest.raises(ValueError, match=f"--num_processes: expected at least 1, got {number}"):
            check_number(number, {})
    with pytest.raises(ValueError, match="expected 4, as many as torchrun has started, or none, got 2"):
        check_number(2, {"WORLD_SIZE": "4"})


def test_the_processes_get_the_other_arguments() -> None:
    given = ["train", "a", "--num_processes", "2", "--num_updates=3", "--num_processes=2", "--seeds", "1"]
    assert without_option(given) == ["train", "a", "--num_updates=3", "--seeds", "1"]


def test_one_exit_code_of_several() -> None:
    assert [_code(codes) for codes in ([0, 0], [1, 2], [1, -9], [143, 143], [-9, -9], [0, 1])] == [0, 2, 1, 143, 137, 1]


def test_what_several_say_is_shown_once() -> None:
    stream = io.BytesIO()
    show = _Shown(stream)
    show.read(0, io.BytesIO(b"seqrl: no data\nonce\nonce\n\n"))
    show.read(1, io.BytesIO(b"seqrl: no data\nmore\n\nseqrl: process 0 (pid 7 on a) ended: ValueError: no data; process 1 waited\n"))
    silent = b"seqrl: process 2 (pid 8 on a) ended: ValueError: no data; process 1 waited\n"
    show.read(1, io.BytesIO(silent))
    show.finish()
    assert stream.getvalue() == b"seqrl: no data\nonce\nonce\n\nmore\n\n" + silent


def test_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("SEQRL_LAUNCHER", raising=False)
    assert resume_command("runs/a") == "torchrun --nproc_per_node 2 -m seqrl resume runs/a"
    monkeypatch.setenv("SEQRL_LAUNCHER", "1")
    assert resume_command("runs/a") == "seqrl resume runs/a --num_processes 2"
