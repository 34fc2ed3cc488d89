"""A run's folder that is deleted, read while it changes, or cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqrl.run import checkpoint, exchange, plots, recovery, run_folder
from seqrl.run.cli import main
from seqrl.run.config import read_config
from seqrl.run.log import read_metrics
from seqrl.run.train import resume, start_from, train


@pytest.fixture
def at_rollout(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Let something happen in a rollout of the toy."""

    def arrange(number: int, happens: Callable[[], Any]) -> None:
        from toy_for_runs import ToyTask

        before = ToyTask.rollout

        def rollout(self: ToyTask, *arguments: Any, **settings: Any) -> Any:
            given = before(self, *arguments, **settings)
            if self.position == number:
                happens()
            return given

        monkeypatch.setattr(ToyTask, "rollout", rollout)

    return arrange


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_deleted_folder_stops_the_run_at_the_next_line_or_save(
    log_every: int, toy_yaml: Path, at_rollout: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = read_config(toy_yaml).run_folder
    steps = []
    at_rollout(6, lambda: shutil.rmtree(folder))
    at_rollout(7, lambda: steps.append(7))
    at_rollout(9, lambda: steps.append(9))
    assert main(["train", str(toy_yaml), "--quiet", f"--log_every={log_every}", "--eval_every=0"]) == 2
    said = capsys.readouterr().err
    assert f"{folder / 'metrics.jsonl'}: was deleted, moved or replaced while the run went on, which stops here" in said
    assert said.count("metrics.jsonl") == 1 and "what was trained since the last checkpoint" in said
    assert not folder.exists()
    assert steps == ([] if log_every == 1 else [7])  # the checkpoint after update 8 is where it is noticed at the latest


def test_a_moved_folder_is_found_again(
    toy_yaml: Path, at_rollout: Callable[..., None], capsys: pytest.CaptureFixture[str], same_run: Callable[..., None]
) -> None:
    whole = train(read_config(toy_yaml, ["--name=whole"]), display=False).run_folder
    folder = read_config(toy_yaml).run_folder
    moved = folder.with_name("moved")
    at_rollout(6, lambda: folder.exists() and folder.rename(moved))
    assert main(["train", str(toy_yaml), "--quiet"]) == 2
    assert f"it is in {moved} now; `seqrl resume {moved}` goes on" in capsys.readouterr().err
    assert not folder.exists() and whole
    resume(moved, display=False, allow_code=True)
    same_run(whole, moved)
    assert "took over" not in capsys.readouterr().err  # the process that held it is well


def test_a_folder_of_the_same_name_is_another_one(toy_yaml: Path, at_rollout: Callable[..., None]) -> None:
    folder = read_config(toy_yaml).run_folder

    def replace() -> None:
        shutil.rmtree(folder)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("another run's\n")

    at_rollout(6, replace)
    with pytest.raises(OSError, match="was deleted, moved or replaced"):
        train(read_config(toy_yaml), display=False)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "metrics.jsonl"]
    assert (folder / "metrics.jsonl").read_text() == "another run's\n" and not list((folder / "checkpoints").iterdir())


def test_lines_of_another_writer_are_noticed_where_no_lock_keeps_it_away(toy_yaml: Path, at_rollout: Callable[..., None]) -> None:
    """A program of before there were locks, or on another machine whose file system keeps none."""
    folder = read_config(toy_yaml).run_folder
    line, appended = '{"step": 3}\n', []

    def append() -> None:
        if appended:
            return
        appended.append(line)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(line)

    at_rollout(6, append)
    with pytest.raises(OSError, match=r"metrics.jsonl: expected \d+ bytes, got \d+; something else writes to it"):
        train(read_config(toy_yaml), display=False)
    assert (folder / "metrics.jsonl").read_text().endswith(line)
    assert resume(folder, display=False, allow_code=True).step == 12
    assert [row["step"] for row in read_metrics(folder) if "train/loss" in row] == list(range(1, 13))


class Filled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(100))

    def fill(self, value: float) -> None:
        self.weight.data.fill_(value)


def save_best(run_folder: Path, policy: Filled, step: int) -> None:
    policy.fill(step)
    checkpoint.save(checkpoint.best_folder(run_folder), policy, {"step": step}, {"step": step})


@pytest.mark.parametrize("can_exchange", [True, False])
def test_there_is_always_a_best_one(can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader finds one of the two at any moment, and weights that belong to its meta.json."""
    if not can_exchange:
        monkeypatch.setattr(exchange, "exchange", lambda *_: False)
    policy = Filled()
    save_best(tmp_path, policy, 0)
    reader = os.fork()
    if reader == 0:
        code, num_read, seen = 1, 0, set()
        try:
            end = time.monotonic() + 60
            while (num_read < 10 or len(seen) < 4) and time.monotonic() < end:
                found = recovery.steadily(
                    lambda: checkpoint.find(tmp_path, prefer_best=True),
                    lambda folder: (recovery.check(folder).name, checkpoint.load_weights(folder, policy), checkpoint.read_meta(folder)),
                )
                values = set(policy.weight.tolist())
                assert found[0] == "best" and values == {found[2]["step"]}, (found, values)
                num_read += 1
                seen |= values
            code = 0 if len(seen) > 3 else 3
        except Exception:
            traceback.print_exc()  # shown by pytest
        finally:
            os._exit(code)
    step, ended = 0, (0, 0)
    while not ended[0]:
        step += 1
        save_best(tmp_path, policy, step)
        checkpoint.prune(tmp_path, 2)
        ended = os.waitpid(reader, os.WNOHANG)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best"]


def test_exchange_leaves_no_moment_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before each call that renames or deletes."""
    policy, best = Filled(), checkpoint.best_folder(tmp_path)
    save_best(tmp_path, policy, 1)
    looked = []
    for module, name in ((os, "rename"), (shutil, "rmtree"), (exchange, "exchange"), (exchange, "flush")):
        plain = getattr(module, name)

        def call(*arguments: Any, plain: Any = plain, **settings: Any) -> Any:
            looked.append(recovery.damage(best))
            return plain(*arguments, **settings)

        monkeypatch.setattr(module, name, call)
    save_best(tmp_path, policy, 2)
    if not [path for path in (tmp_path / "checkpoints").iterdir() if path != best]:
        assert len(looked) == 3 and set(looked) == {None}


def test_a_kill_between_two_renames_leaves_the_best_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "exchange", lambda *_: False)
    policy, best = Filled(), checkpoint.best_folder(tmp_path)
    save_best(tmp_path, policy, 1)
    child = os.fork()
    if child == 0:
        rename, names = os.rename, []

        def counted(*arguments: Any) -> None:
            names.append(arguments)
            if len(names) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*arguments)

        monkeypatch.setattr(os, "rename", counted)
        save_best(tmp_path, policy, 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not best.exists()
    (best.parent / ".best.half.partial").mkdir()
    for path in (tmp_path, best):
        start_from(path, policy, {})
        assert set(policy.weight.tolist()) == {2.0}
    checkpoint.prune(tmp_path, 2)
    assert [path.name for path in best.parent.iterdir()] == ["best"]
    assert checkpoint.read_meta(best)["step"] == 2 and recovery.damage(best) is None


def test_evaluate_while_the_run_goes_on(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What it evaluated is what it says, though the run has replaced the checkpoint, or deleted it, in the meantime."""
    from toy_for_runs import ToyTask

    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    evaluate = ToyTask.evaluate

    def slow(self: ToyTask, *arguments: Any, **settings: Any) -> dict[str, float]:
        shutil.rmtree(folder / "checkpoints" / "step_00000012")
        return evaluate(self, *arguments, **settings)

    monkeypatch.setattr(ToyTask, "evaluate", slow)
    assert main(["evaluate", str(folder), "--allow-code"]) == 0
    assert json.loads((folder / "evaluation_dev.json").read_text())["step"] == 12


def blocked(place: Path) -> Path:
    """Put a file where a folder is expected, or a folder where a file is; being root stops no writing otherwise."""
    if place.suffix:
        (place / "inside").mkdir(parents=True)
    else:
        place.write_text("")
    return place


@pytest.mark.parametrize(
    "command, place, option",
    [
        (["evaluate", "--split=dev"], "evaluation_dev.json", "--output={}/figures.json"),
        (["sample"], "samples", "--output={}/elsewhere"),
        (["record"], "figures", "--output={}/elsewhere/episode.gif"),
    ],
)
def test_what_cannot_be_written_is_seen_before_the_work(
    command: list[str],
    place: str,
    option: str,
    toy_yaml: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from toy_for_runs import ToyTask

    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    blocked(folder / place)
    monkeypatch.setattr(ToyTask, "record", lambda self, policy, path, **_: [str(path.write_text("played"))], raising=False)
    work = {name: getattr(ToyTask, name) for name in ("evaluate", "sample", "record")}
    for name in work:
        monkeypatch.setattr(ToyTask, name, lambda *_, **__: pytest.fail("work was begun"))
    arguments = [command[0], str(folder), "--allow-code", *command[1:]]
    assert main(arguments) == 2
    assert f"{folder / place}: " in (said := capsys.readouterr().err) and f"choose another place with {option[:9]}" in said
    for name, function in work.items():
        monkeypatch.setattr(ToyTask, name, function)
    assert main([*arguments, option.format(tmp_path)]) == 0
    assert [path for path in (tmp_path / "figures.json", *(tmp_path / "elsewhere").glob("*")) if path.is_file()]


@pytest.mark.parametrize("name", ["config.yaml", "env.json", "metrics.jsonl", "warnings.jsonl", "checkpoints"])
def test_another_kind_of_file_in_the_place_of_a_run_s_is_seen_before_the_work(
    name: str, toy_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toy_for_runs import ToyTask

    monkeypatch.setattr(ToyTask, "rollout", lambda *_, **__: pytest.fail("work was begun"))
    place = tmp_path / "runs" / "toy" / name
    place.parent.mkdir(parents=True)
    if name == "checkpoints":
        place.touch()
    elif name == "metrics.jsonl":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert main(["train", str(toy_yaml)]) == 2
    kind = "folder" if name == "checkpoints" else "file"
    assert f"seqrl: {place}: expected a {kind}, or nothing yet, got something else" in capsys.readouterr().err
    assert sorted(path.name for path in place.parent.iterdir()) == [name]


def test_metrics_are_not_lost_when_the_disk_fills(
    toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toy_for_runs import ToyTask

    folder = train(read_config(toy_yaml), display=False).run_folder
    assert folder
    monkeypatch.setattr(ToyTask, "evaluate", lambda *_, **__: blocked(folder / "evaluation_dev.json") and {"score": 0.25})
    assert main(["evaluate", str(folder), "--allow-code"]) == 2
    assert "could not be written" in (said := capsys.readouterr().err) and 'the metrics are {"score": 0.25}' in said


def test_curves_that_cannot_be_drawn_are_no_failure_of_the_run(toy_yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = read_config(toy_yaml).run_folder
    folder.mkdir(parents=True)
    blocked(folder / "figures")
    assert main(["train", str(toy_yaml), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "12 updates" in said.out and "the curves could not be drawn" in said.err


def test_all_seeds_are_looked_at_before_the_first_is_trained(
    toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toy_for_runs import ToyTaskConfig

    for seed in (2, 3):
        train(read_config(toy_yaml, [f"--name=toy_seed{seed}", "--num_updates=1"]), display=False)
    monkeypatch.setattr(ToyTaskConfig, "build", lambda *_: pytest.fail("work was begun"))
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1,2"]) == 2
    runs = read_config(toy_yaml).runs_folder
    assert f"seqrl: {runs}/toy_seed2: already holds a run" in capsys.readouterr().err
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1,2,3"]) == 2
    said = capsys.readouterr().err
    assert "2 of 4 seeds could not begin:" in said and said.count("already holds a run") == 2
    assert sorted(path.name for path in runs.iterdir()) == ["toy_seed2", "toy_seed3"]
    (runs / "toy_seed1").mkdir()
    (runs / "toy_seed1" / "checkpoints").symlink_to(toy_yaml.parent)
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1"]) == 2
    assert "toy_seed1/checkpoints: is a link to" in capsys.readouterr().err
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,4,0"]) == 2
    assert "--seeds: expected each number once, got 0 twice" in capsys.readouterr().err


def test_the_disk_has_to_hold_the_runs_of_all_seeds(
    toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "run_curves", lambda folder: folder)
    # Weights and Adam's two moments, of the two newest, the best and a half-written one: 12 times the toy's 21 numbers of 4 bytes.
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2 * 12 * 21 * 4))
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1,2"]) == 2
    assert "MiB are free, the checkpoints need about" in capsys.readouterr().err
    assert not read_config(toy_yaml).runs_folder.exists()
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1"]) == 0


def test_a_seed_that_fails_does_not_stop_the_others(
    toy_yaml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toy_for_runs import ToyTask

    before = ToyTask.rollout

    def rollout(self: ToyTask, *arguments: Any, **settings: Any) -> Any:
        if self.generator.initial_seed() == 0 and self.position == 5:
            raise ValueError("reward: no number")
        return before(self, *arguments, **settings)

    monkeypatch.setattr(ToyTask, "rollout", rollout)
    monkeypatch.setattr(plots, "run_curves", lambda folder: folder)
    assert main(["train", str(toy_yaml), "--quiet", "--seeds=0,1,2"]) == 2
    said, runs = capsys.readouterr(), read_config(toy_yaml).runs_folder
    assert said.err.splitlines()[-1] == f"seqrl: 1 of 3 seeds failed: {runs}/toy_seed0 (reward: no number); the others are finished"
    assert said.out.count("12 updates") == 2
    assert [checkpoint.find(runs / f"toy_seed{seed}").name for seed in (0, 1, 2)] == ["step_00000005"] + 2 * ["step_00000012"]
