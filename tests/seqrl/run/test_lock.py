"""One process at a time works in a run's folder; what a killed one leaves is taken over."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqrl.run import checkpoint, lock
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.listing import listing
from seqrl.run.lock import LOCK, hold, holder_of
from seqrl.run.log import read_metrics
from seqrl.run.loop import fit
from seqrl.run.train import resume, train


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Processes that a test forked, which are ended with it."""
    forked: list[int] = []
    yield forked
    for pid in forked:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def fork(body: Callable[[], Any], children: list[int]) -> int:
    """Run something in a child; its exit code is 0, or 7 when it was refused."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
            os._exit(0)
        except BlockingIOError:
            os._exit(7)
        finally:
            os._exit(9)
    children.append(pid)
    return pid


def hold_and_wait(folder: Path, ready: Path) -> None:
    with hold(folder):
        ready.touch()
        time.sleep(60)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.01)


@pytest.fixture
def held(tmp_path: Path, children: list[int]) -> Callable[[Path], int]:
    """Let another process hold a folder; give its number."""

    def other(folder: Path) -> int:
        ready = tmp_path / "ready"
        pid = fork(lambda: hold_and_wait(folder, ready), children)
        wait_for(ready)
        return pid

    return other


def listed(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_second_is_refused_before_anything_is_changed(
    toy_yaml: Path, held: Callable[[Path], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of one name, `resume` of a run that goes on, `--overwrite` of one, and `fit` as a library."""
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    pid = held(folder)
    before = listed(folder)
    import toy_for_runs

    monkeypatch.setattr(toy_for_runs.ToyTaskConfig, "build", lambda *_: pytest.fail("long work was begun"))
    task, trainer = task_and_trainer()
    said = []
    for arguments in (
        ["train", str(toy_yaml), "--quiet"],
        ["train", str(toy_yaml), "--quiet", "--overwrite"],
        ["resume", str(folder), "--quiet", "--allow-code", "--num_updates=14"],
        ["resume", str(folder), "--quiet", "--allow-code", "--checkpoint=8"],
    ):
        assert main(arguments) == 2
        said.append(capsys.readouterr().err)
    with pytest.raises(BlockingIOError) as caught:
        fit(trainer, task, num_updates=3, run_folder=folder)
    said.append(f"seqrl: {caught.value}\n")
    assert len(set(said)) == 1, said
    assert f"{folder}: is in use by process {pid} on {socket.gethostname()} since 20" in said[0]
    assert f"(`{Path(sys.argv[0]).name}" in said[0] or "(`pytest" in said[0]
    assert listed(folder) == before
    shutil.rmtree(folder / "checkpoints")  # one that has not saved yet
    assert main(["resume", str(folder), "--quiet", "--allow-code"]) == 2
    assert f"{folder}: is in use by process {pid} " in capsys.readouterr().err


def task_and_trainer() -> tuple[Any, Any]:
    from toy_for_runs import ToyTask, ToyTaskConfig, ToyTrainer, ToyTrainerConfig

    task = ToyTask(ToyTaskConfig(), 0)
    return task, ToyTrainer(task.build_policy(), ToyTrainerConfig(), 0)


def test_a_dead_process_leaves_nothing_that_lasts(
    tmp_path: Path, toy_yaml: Path, held: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = read_config(toy_yaml).run_folder
    pid = held(folder)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (folder / LOCK).exists() and holder_of(folder) is None
    assert train(read_config(toy_yaml), display=False).step == 12
    assert f"took over the lock that a dead process left: process {pid} on " in capsys.readouterr().err
    assert not (folder / LOCK).exists()
    # Switched off while it wrote who it is.
    (folder / LOCK).write_text('{"pid": 12')
    assert resume(folder, ["--num_updates=13"], display=False, allow_code=True).step == 13
    assert not (folder / LOCK).exists()


@pytest.mark.slow
def test_one_of_eight_that_start_at_once_wins(tmp_path: Path, children: list[int]) -> None:
    """Four times; the file is there from a dead one every other time."""
    for number in range(4):
        folder, gate = tmp_path / f"run{number}", tmp_path / f"gate{number}"
        if number % 2:
            folder.mkdir()
            (folder / LOCK).write_text("")

        def start(folder: Path = folder, gate: Path = gate) -> None:
            while not gate.exists():
                time.sleep(1e-4)
            with hold(folder):
                with (folder / "winners").open("a") as file:
                    file.write(f"{os.getpid()}\n")
                time.sleep(0.6)

        started = [fork(start, children) for _ in range(8)]
        gate.touch()
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started)
        assert codes == [0] + [7] * 7
        assert len((folder / "winners").read_text().split()) == 1 and sorted(os.listdir(folder)) == ["winners"]


def test_the_same_thread_may_enter_again_and_another_one_not(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def other() -> None:
        try:
            with hold(tmp_path / "run"):
                pass
        except BlockingIOError as error:
            refused.append(error)

    with hold(tmp_path / "run"):
        with hold(tmp_path / "x" / ".." / "run"):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert holder_of(tmp_path / "run")
    assert len(refused) == 1 and f"process {os.getpid()} " in str(refused[0])
    assert not (tmp_path / "run").exists()  # nothing has come into it
    with hold(tmp_path / "run"):
        (tmp_path / "run" / "metrics.jsonl").touch()
    assert os.listdir(tmp_path / "run") == ["metrics.jsonl"]


def test_folders_made_for_the_lock_go_when_nothing_came_into_them(tmp_path: Path) -> None:
    with hold(tmp_path / "runs" / "group" / "one"):
        pass
    assert not any(tmp_path.iterdir())
    with hold(tmp_path / "runs" / "group" / "one"):
        (tmp_path / "runs" / "kept").touch()
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["kept"]


@pytest.mark.parametrize("always", [False, True])
def test_a_folder_that_another_removes_before_it_is_entered_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    folder, make, removed = tmp_path / "runs" / "one", Path.mkdir, list[Path]()

    def make_and_lose(path: Path, *args: Any, **settings: Any) -> None:
        make(path, *args, **settings)
        if path == folder and (always or not removed):
            removed.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    if always:
        with pytest.raises(OSError, match=r"one: cannot"), hold(folder):
            pass
    else:
        with hold(folder):
            assert (folder / LOCK).is_file()


def test_processes_of_environments_do_not_keep_it(tmp_path: Path, children: list[int]) -> None:
    """Forked ones and those of a pool outlive a main process that is killed."""

    def main_process() -> None:
        with hold(tmp_path / "run"):
            if os.fork() == 0:
                (tmp_path / "child").write_text(str(os.getpid()))
                time.sleep(60)
            multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
            subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], close_fds=False)
            (tmp_path / "ready").touch()
            time.sleep(60)

    pid = os.fork()
    if pid == 0:
        os.setsid()
        main_process()
        os._exit(0)
    try:
        wait_for(tmp_path / "ready")
        wait_for(tmp_path / "child")
        with pytest.raises(BlockingIOError), hold(tmp_path / "run"):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.kill(int((tmp_path / "child").read_text()), 0)  # is still there
        with hold(tmp_path / "run"):
            pass
    finally:
        os.killpg(pid, signal.SIGKILL)


def test_a_forked_child_does_not_end_what_its_parent_holds(tmp_path: Path) -> None:
    with hold(tmp_path):
        pid = os.fork()
        if pid == 0:
            raise_out = pytest.raises(BlockingIOError)
            with raise_out, hold(tmp_path):
                pass
            lock._let_go_in_child()
            os._exit(0 if holder_of(tmp_path) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert (tmp_path / LOCK).exists()


def test_other_processes_of_one_run_are_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    def other_process() -> None:
        with hold(tmp_path):
            pass

    with hold(tmp_path):
        monkeypatch.setenv("RANK", "1")
        thread = threading.Thread(target=other_process)
        thread.start()
        thread.join()
        monkeypatch.setenv("RANK", "0")
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_of_the_file_system(
    number: int, tmp_path: Path, children: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(tmp_path):
        assert "keeps no locks, so a run of the same name on another machine is not noticed" in capsys.readouterr().err
        assert os.waitstatus_to_exitcode(os.waitpid(fork(lambda: hold(tmp_path).__enter__(), children), 0)[1]) == 7
    assert not (tmp_path / LOCK).exists()
    (tmp_path / LOCK).write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "since": "", "command": ""}))
    with hold(tmp_path):
        assert "a dead process left" in capsys.readouterr().err


def test_what_a_stranger_puts_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / LOCK
    for content in (b"[" * 4096, b"\xff\xfe", b'{"pid": "x"}', b'{"pid": 1, "host": "\\u001b[2J", "since": "a", "command": "b"}'):
        path.write_bytes(content)
        with hold(tmp_path):
            pass
        assert "\x1b" not in capfd.readouterr().err
    other = tmp_path / "other"
    other.write_text("mine")
    path.symlink_to(other)
    with pytest.raises(OSError, match="cannot be written"), hold(tmp_path):
        pass
    assert other.read_text() == "mine"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="expected a plain file"), hold(tmp_path):
        pass


def test_lines_of_an_old_folder_are_not_mixed(toy_yaml: Path) -> None:
    """A folder of before there were locks has none; of two that go on with it one is refused, and two in a row are well."""
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder and not (folder / LOCK).exists()
    for steps in (14, 16):
        resume(folder, [f"--num_updates={steps}"], display=False, allow_code=True)
    assert [row["step"] for row in read_metrics(folder) if "loss" in row or "train/loss" in row] == list(range(1, 17))
    for steps in (3, 5):  # as a library, too
        task, trainer = task_and_trainer()
        fit(trainer, task, num_updates=steps, run_folder=folder.parent / "library")
    assert checkpoint.find(folder.parent / "library").name == "step_00000005"


def test_the_list_says_which_runs_go_on(toy_yaml: Path, held: Callable[[Path], int]) -> None:
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder and "running" not in listing(toy_yaml.parent, folder.parent)
    held(folder)
    shown = listing(toy_yaml.parent, folder.parent).splitlines()
    assert [line.split()[-1] for line in shown if line.startswith(f"  {folder} ")] == ["running"]


def test_a_folder_in_use_is_found_before_the_first_seed(
    toy_yaml: Path, held: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = read_config(toy_yaml).runs_folder
    pid = held(runs / "toy_seed1")
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1"]) == 2
    assert f"toy_seed1: is in use by process {pid} " in capsys.readouterr().err
    assert [path.name for path in runs.iterdir()] == ["toy_seed1"]
