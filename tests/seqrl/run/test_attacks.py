"""Twenty kills, and a flipped bit in each file that a run leaves: all are recognised, and what goes on ends as if nothing had been."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seqrl.run import checkpoint, exchange, integrity, recovery
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, train

NUM_KILLS, NUM_REAL_KILLS, PLACES = 20, 3, 16
OPTIONS = ["--early_stop.metric=score", "--early_stop.patience=999", "--save_every=1", "--eval_every=5", "--keep_checkpoints=2"]


class Portable(nn.Sequential):
    """Writes itself in another form, too."""

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "toy"}')
        (folder / "weights.bin").write_bytes(bytes(range(256)))


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch, toy_on_path: None) -> None:
    from toy_for_runs import ToyTask

    monkeypatch.setattr(ToyTask, "build_policy", lambda self: Portable(nn.Linear(3, self.config.width), nn.Linear(self.config.width, 1)))


def flipped(path: Path, generator: np.random.Generator) -> Callable[[], None]:
    """Flip one bit anywhere in a file; give what puts it back."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
    path.write_bytes(bytes(changed))
    return lambda: path.write_bytes(whole) and None


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_one_bit_in_each_file_of_a_checkpoint(portable: None, toy_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in those of another process; whoever looks at the checkpoint hears of the file, and a run takes the one before."""
    generator = np.random.default_rng(1)
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    newest, before = checkpoint.step_folder(folder, 12), checkpoint.step_folder(folder, 8)
    state = tmp_path / "state"
    state.write_bytes((newest / checkpoint.STATE).read_bytes())
    policy = Portable(nn.Linear(3, 4), nn.Linear(4, 1))
    checkpoint.save(newest, policy, checkpoint.load_state(newest), checkpoint.read_meta(newest), other_processes=[state])
    names = [path.relative_to(newest).as_posix() for path in files_of(newest)]
    assert names == [
        *("SHA256SUMS", "meta.json", "model.safetensors", "pretrained/config.json", "pretrained/weights.bin"),
        *("trainer.pt", "trainer_process1.pt"),
    ]
    num_recognised: Counter[str] = Counter()
    for name in names:
        for _ in range(PLACES):
            put_back = flipped(newest / name, generator)
            found, troubles = recovery.newest_whole(folder)
            # A changed line of the sums blames the file that it names, or itself.
            assert found == before and len(troubles) == 1 and ("SHA256SUMS" if name == "SHA256SUMS" else f": {name} ") in troubles[0]
            with pytest.raises(ValueError, match="step_00000012: damaged: .*--checkpoint=8"):
                recovery.check(newest)
            put_back()
            num_recognised[name] += 1
    assert recovery.newest_whole(folder) == (newest, []) and set(num_recognised.values()) == {PLACES}
    flipped(newest / "model.safetensors", generator)
    for command in ("evaluate", "sample"):
        assert main([command, str(folder), "--allow-code"]) == 2
        assert "step_00000012: damaged: model.safetensors is not as it was written" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_goes_on_from_before_the_bit(
    portable: None, toy_yaml: Path, same_run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(2)
    whole = train(read_config(toy_yaml, ["--name=whole", "--num_updates=14"]), display=False).run_folder
    parts = train(read_config(toy_yaml, ["--name=parts", "--num_updates=12"]), display=False).run_folder
    assert whole and parts
    for name in [path.relative_to(checkpoint.find(parts)).as_posix() for path in files_of(checkpoint.find(parts))]:
        flipped(checkpoint.find(parts) / name, generator)
        capsys.readouterr()
        # With the sums themselves the damage is seen, too, and the file named that they do not fit.
        assert main(["resume", str(parts), "--quiet", "--allow-code", "--num_updates=14"]) == 0
        said = capsys.readouterr().err
        assert " is damaged: " in said and f"going on from {parts}/checkpoints/step_" in said
        same_run(whole, parts)


@pytest.mark.slow
def test_one_bit_in_the_files_beside_the_checkpoints(toy_yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What decides is refused, what tells is warned of, and what nothing depends on is set aside or left."""
    generator = np.random.default_rng(3)
    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    metrics = (folder / "metrics.jsonl").read_bytes()
    for _ in range(4 * PLACES):
        put_back = flipped(folder / "config.yaml", generator)
        for arguments in (["resume", str(folder), "--num_updates=13"], ["evaluate", str(folder)], ["train", str(folder / "config.yaml")]):
            assert main([*arguments, "--allow-code"]) == 2
            assert "config.yaml: is not as it was written" in capsys.readouterr().err
        put_back()
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    for number in range(8):
        flipped(folder / "metrics.jsonl", generator)
        resume(folder, [f"--num_updates={13 + number}"], display=False, allow_code=True)
        warned = (folder / "warnings.jsonl").read_text()
        assert warned.count("are not as they were written") == number + 1
        flipped(folder / "env.json", generator)
    assert checkpoint.find(folder).name == "step_00000020"


def forked(arguments: list[str], dies_at: int = 0) -> int:
    """Run the command in a child of this process, which has imported all; give its number.

    With `dies_at` it kills itself before that call of what a save consists of.
    """
    pid = os.fork()
    if pid == 0:
        if dies_at:
            calls = itertools.count(1)
            parts = [(checkpoint, "save_model"), (torch, "save"), (integrity, "write_sums"), (checkpoint, "flush"), (os, "rename")]
            for module, name in [*parts, (exchange, "exchange"), (exchange, "flush"), (shutil, "rmtree")]:
                setattr(module, name, dying(getattr(module, name), calls, dies_at))
        with contextlib.suppress(BaseException), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            os._exit(main(arguments))
        os._exit(99)
    return pid


def dying(function: Callable[..., Any], calls: Iterator[int], last: int) -> Callable[..., Any]:
    def call(*arguments: Any, **settings: Any) -> Any:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **settings)

    return call


@pytest.mark.slow
def test_twenty_kills(
    toy_yaml: Path, toy_environment: Callable[..., dict[str, str]], same_run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At random moments of a run that saves after each update, three of them in a real process, and eight inside of a save."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # matters to a machine that is switched off, not to a kill
    generator, steps = random.Random(0), 300
    whole = train(read_config(toy_yaml, ["--name=whole", f"--num_updates={steps}", *OPTIONS]), display=False).run_folder
    assert whole
    folder = whole.with_name("parts")
    begin = ["train", str(toy_yaml), "--name=parts", f"--num_updates={steps}", "--quiet", *OPTIONS]
    go_on = ["resume", str(folder), "--quiet", "--allow-code"]
    reached = [0]
    for number in range(NUM_KILLS):
        command = go_on if checkpoint.step_folders(folder) else [*begin, "--overwrite"]
        if number < NUM_REAL_KILLS:
            with open(os.devnull, "w") as nowhere:
                arguments = [sys.executable, "-m", "seqrl", *command]
                process = subprocess.Popen(arguments, env=toy_environment(), stdout=nowhere, stderr=nowhere)
            kill_later(process.pid, folder, reached[-1] + 1, generator)
            code = process.wait()
        else:
            dies_at = generator.randrange(1, 50) if number % 2 else 0
            pid = forked(command, dies_at)
            if not dies_at:
                kill_later(pid, folder, reached[-1] + 1, generator)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == -signal.SIGKILL, (number, code, reached)
        if checkpoint.step_folders(folder):
            found, troubles = recovery.newest_whole(folder)
            assert not troubles
            reached.append(int(checkpoint.read_meta(found)["step"]))
    assert NUM_KILLS / 2 < reached[-1] < steps, reached
    assert main(go_on) == 0
    same_run(whole, folder)
    counted = Counter((row["step"], "dev/score" in row) for row in read_metrics(folder))
    assert set(counted.values()) == {1} and len(counted) == steps + 1 + steps // 5
    assert (checkpoint.best_folder(folder) / checkpoint.WEIGHTS).read_bytes() == (
        checkpoint.best_folder(whole) / checkpoint.WEIGHTS
    ).read_bytes()
    assert sorted(path.name for path in folder.iterdir() if path.name != "figures") == sorted(path.name for path in whole.iterdir())


def kill_later(pid: int, folder: Path, step: int, generator: random.Random) -> None:
    """Kill a process soon after a run has saved that many updates."""
    end = time.monotonic() + 120
    while not any(path >= checkpoint.step_folder(folder, step) for path in checkpoint.step_folders(folder)):
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(generator.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
