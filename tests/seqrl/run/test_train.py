from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from seqrl.run import checkpoint
from seqrl.run.config import RunConfig, read_config
from seqrl.run.log import read_metrics
from seqrl.run.loop import RunResult
from seqrl.run.seeds import check_all_folders
from seqrl.run.train import load, read_run, train
from seqrl.run.train import resume as resume_run


def config_of(toy_yaml: Path, *overrides: str) -> RunConfig:
    return read_config(toy_yaml, overrides)


def resume(folder: Path, overrides: Sequence[str] = ()) -> RunResult:
    # The toy is no installed package's.
    return resume_run(folder, overrides, display=False, allow_code=True)


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_metrics(folder)]


def weights(folder: Path) -> bytes:
    return (checkpoint.find(folder) / checkpoint.WEIGHTS).read_bytes()


@pytest.mark.slow
def test_killed_and_resumed_run_equals_the_whole_one_to_the_bit(toy_yaml: Path, toy_environment: Callable[..., dict[str, str]]) -> None:
    whole = train(config_of(toy_yaml, "--name=whole", "--early_stop.metric=score", "--early_stop.patience=99"), display=False)
    command = [
        sys.executable,
        "-m",
        "seqrl",
        "train",
        str(toy_yaml),
        "--name=parts",
        "--early_stop.metric=score",
        "--early_stop.patience=99",
        "--quiet",
    ]
    # Killed in update 11: the lines after the checkpoint at 8 have to be forgotten.
    killed = subprocess.run(command, env=toy_environment(TOY_SIGNAL="9", TOY_SIGNAL_AT="11"), capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert whole.run_folder is not None
    parts_folder = whole.run_folder.with_name("parts")
    assert read_metrics(parts_folder)[-1]["step"] == 10
    assert checkpoint.find(parts_folder).name == "step_00000008"
    parts = resume(parts_folder)
    assert weights(parts_folder) == weights(whole.run_folder)
    assert without_times(parts_folder) == without_times(whole.run_folder)
    assert parts.evaluation == whole.evaluation and parts.best_step == whole.best_step
    whole_state, parts_state = (checkpoint.load_state(checkpoint.find(folder)) for folder in (whole.run_folder, parts_folder))
    assert torch.equal(whole_state["random"]["torch"], parts_state["random"]["torch"])
    assert whole_state["random"]["python"] == parts_state["random"]["python"]


def test_interrupted_run_equals_the_whole_one(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(config_of(toy_yaml, "--name=whole"), display=False)
    monkeypatch.setenv("TOY_SIGNAL", str(int(signal.SIGTERM)))
    monkeypatch.setenv("TOY_SIGNAL_AT", "8")  # where an evaluation is due
    parts = train(config_of(toy_yaml, "--name=parts"), display=False)
    assert parts.interrupted and parts.step == 8 and parts.run_folder and whole.run_folder
    monkeypatch.delenv("TOY_SIGNAL_AT")
    assert not resume(parts.run_folder).interrupted
    assert weights(parts.run_folder) == weights(whole.run_folder)
    assert without_times(parts.run_folder) == without_times(whole.run_folder)


def test_run_on_disk(toy_yaml: Path) -> None:
    config = config_of(toy_yaml, "--trackers=[tensorboard]", "--num_threads=1")
    folder = train(config, display=False).run_folder
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "config.yaml", "env.json", "metrics.jsonl", "tensorboard"]
    assert read_config(folder / "config.yaml") == config
    environment = json.loads((folder / "env.json").read_text())
    assert environment[0]["seed"] == 0 and environment[0]["packages"]["torch"] == torch.__version__
    meta = checkpoint.read_meta(checkpoint.find(folder))
    assert meta["step"] == 12 and meta["task"] == {"vocabulary": "abc"} and meta["config"]["task.width"] == 4


def test_earlier_run_is_kept_unless_told(toy_yaml: Path) -> None:
    folder = train(config_of(toy_yaml), display=False).run_folder
    assert folder is not None
    before = weights(folder)
    with pytest.raises(FileExistsError, match="already holds a run .*seqrl resume .*--overwrite"):
        train(config_of(toy_yaml, "--seed=1"), display=False)
    assert weights(folder) == before
    (folder / "notes.txt").write_text("mine")
    train(config_of(toy_yaml, "--seed=1"), overwrite=True, display=False)
    assert weights(folder) != before
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(json.loads((folder / "env.json").read_text())) == 1


def test_start_from_another_run(toy_yaml: Path) -> None:
    first = train(config_of(toy_yaml, "--name=first"), display=False).run_folder
    second = train(config_of(toy_yaml, "--name=second", f"--init_from={first}", "--num_updates=0"), display=False).run_folder
    assert first and second and weights(first) == weights(second)
    with pytest.raises(ValueError, match="vocabulary: abc in the checkpoint, xyz now"):
        train(config_of(toy_yaml, "--name=third", f"--init_from={first}", "--task.vocabulary=xyz"), display=False)
    train(
        config_of(toy_yaml, "--name=third", f"--init_from={first}", "--task.vocabulary=xyz", "--allow_other_fingerprint=true"),
        display=False,
    )
    with pytest.raises(ValueError, match="vocabulary: abc in the checkpoint, xyz now; .*--allow_other_fingerprint=true"):
        load(str(first), ["--task.vocabulary=xyz"], allow_code=True)
    load(str(first), ["--task.vocabulary=xyz", "--allow_other_fingerprint=true"], allow_code=True)
    with pytest.raises(ValueError, match=r"0.weight is \[4, 3\] in the checkpoint, \[5, 3\] in the policy"):
        train(config_of(toy_yaml, "--name=fourth", f"--init_from={first}", "--task.width=5"), display=False)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        train(config_of(toy_yaml, "--name=fourth", "--init_from=absent"), display=False)


def test_resume_refuses_what_it_cannot_continue_exactly(toy_yaml: Path) -> None:
    folder = train(config_of(toy_yaml), display=False).run_folder
    assert folder is not None
    before = without_times(folder)
    refused = {
        "--task.width=5": r"another architecture .*0.weight is \[4, 3\] in the checkpoint, \[5, 3\]",
        "--task.vocabulary=xyz": "vocabulary: abc in the checkpoint, xyz now",
        "--trainer.optimiser.learning_rate=1": "trainer.optimiser.learning_rate was 0.01, is 1.0; .*init_from",
        "--seed=3": "seed was 0, is 3",
    }
    for override, message in refused.items():
        with pytest.raises(ValueError, match=message):
            resume(folder, [override])
    assert without_times(folder) == before
    assert read_run(folder, allow_code=True) == config_of(toy_yaml, "--num_threads=1")
    assert resume(folder, ["--num_updates=14"]).step == 14
    with pytest.raises(FileNotFoundError, match="holds no whole checkpoint|there is no such folder"):
        train(config_of(toy_yaml, "--name=absent"), resume=True, display=False)


def test_moved_run_is_read_where_it_is(toy_yaml: Path, tmp_path: Path) -> None:
    folder = train(config_of(toy_yaml), display=False).run_folder
    assert folder is not None
    moved = folder.rename(tmp_path / "elsewhere")
    assert read_run(moved, allow_code=True).run_folder == moved
    assert resume(moved, ["--num_updates=13"]).run_folder == moved
    config, task, policy, used = load(moved / "checkpoints" / "step_00000012", allow_code=True)
    assert used.name == "step_00000012" and config.name == "elsewhere"
    with pytest.raises(FileNotFoundError, match="with a config.yaml"):
        read_run(tmp_path, allow_code=True)


def test_folder_that_cannot_be_written_fails_before_anything_is_built(toy_yaml: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        train(config_of(toy_yaml, f"--runs_folder={tmp_path / 'file'}", "--task.width=-1"), display=False)


def test_one_process_tries_the_folders_of_all_seeds(toy_yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(toy_yaml)
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(FileExistsError, match="already holds a run"):
        check_all_folders([config], overwrite=False)
    new = config_of(toy_yaml, "--name=new")
    monkeypatch.setattr("seqrl.run.seeds.is_main", lambda: False)
    # The main process removes what it made to try, so another one must not look there meanwhile.
    monkeypatch.setattr("seqrl.run.seeds.check_folder", lambda *_, **__: pytest.fail("looked at the folder"))
    check_all_folders([config, new], overwrite=False)
    assert not new.run_folder.exists()


@pytest.mark.parametrize("is_main", [True, False])
def test_one_process_looks_for_the_checkpoint_that_all_go_on_from(toy_yaml: Path, is_main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that give `best` its name back would fail, and a disk may show them different files."""
    config, found = config_of(toy_yaml), []
    train(config, display=False)
    best = checkpoint.best_folder(config.run_folder)
    checkpoint.step_folders(config.run_folder)[-1].rename(checkpoint.hidden(best))  # as a kill between two renames leaves it

    def from_main(value: object, where: str) -> object:
        found.append(value)
        raise InterruptedError

    monkeypatch.setattr("seqrl.run.train.from_main", from_main)
    monkeypatch.setattr("seqrl.run.recovery.is_main", lambda: is_main)
    with pytest.raises(InterruptedError):
        train(config, resume=True, display=False)
    assert best.exists() == is_main
    assert found == [(checkpoint.step_folder(config.run_folder, 8), []) if is_main else (None, [])]
