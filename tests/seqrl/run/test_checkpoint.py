from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqrl.run import checkpoint
from seqrl.run.run_folder import check_writable


class Tied(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.inner = nn.Embedding(5, width)
        self.outer = nn.Linear(width, 5, bias=False)
        self.outer.weight = self.inner.weight
        self.register_buffer("count", torch.tensor(7))


def save(folder: Path, policy: nn.Module, **state: Any) -> Path:
    checkpoint.save(folder, policy, state, {"step": 1})
    return folder


def test_weights_and_state_come_back(tmp_path: Path) -> None:
    policy = Tied()
    folder = save(tmp_path / "step_00000001", policy, numbers=(1, 2.5, "x", None), tensor=torch.arange(3))
    other = Tied()
    other.count += 1
    checkpoint.load_weights(folder, other)
    assert torch.equal(other.inner.weight, policy.inner.weight)
    assert other.outer.weight is other.inner.weight
    assert int(other.count) == 7
    state = checkpoint.load_state(folder)
    assert state["numbers"] == (1, 2.5, "x", None) and torch.equal(state["tensor"], torch.arange(3))
    assert checkpoint.read_meta(folder) == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000001"]


def test_other_architecture_names_the_tensors(tmp_path: Path) -> None:
    folder = save(tmp_path / "c", nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
    with pytest.raises(ValueError, match=r"0.weight is \[4, 3\] in the checkpoint, \[5, 3\] in the policy"):
        checkpoint.load_weights(folder, nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1)))
    with pytest.raises(ValueError, match=r"2.weight is missing in the checkpoint"):
        checkpoint.load_weights(folder, nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(1, 1)))
    with pytest.raises(ValueError, match=r"1.weight is only in the checkpoint"):
        checkpoint.load_weights(folder, nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(ValueError, match=r"and 2 more"):
        checkpoint.load_weights(folder, nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(2, 2), nn.Linear(2, 2)))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    policy = nn.Linear(2, 2)
    folder = save(tmp_path / "c", policy)
    for name in (checkpoint.WEIGHTS, checkpoint.STATE):
        (folder / name).write_bytes((folder / name).read_bytes()[:20])
    with pytest.raises(ValueError, match="model.safetensors: damaged"):
        checkpoint.load_weights(folder, policy)
    with pytest.raises(ValueError, match="trainer.pt: damaged"):
        checkpoint.load_state(folder)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "evil"),)

    folder = save(tmp_path / "c", nn.Linear(2, 2))
    torch.save({"trainer": Evil()}, folder / checkpoint.STATE)
    with pytest.raises(ValueError, match="holds more than tensors and plain data"):
        checkpoint.load_state(folder)
    assert not (tmp_path / "evil").exists()


def test_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = nn.Linear(2, 2)
    folder = save(tmp_path / "c", policy, number=1)

    def fail(value: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match="could not write the checkpoint .*No space left.*free some space"):
        save(folder, policy, number=2)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert checkpoint.load_state(folder) == {"number": 1}


def test_replacing_and_pruning(tmp_path: Path) -> None:
    policy = nn.Linear(1, 1)
    for step in (1, 2, 3, 10):
        save(checkpoint.step_folder(tmp_path, step), policy, step=step)
    save(checkpoint.best_folder(tmp_path), policy, step=1)
    save(checkpoint.best_folder(tmp_path), policy, step=2)
    (tmp_path / "checkpoints" / ".step_00000011.abc.partial").mkdir()
    (tmp_path / "checkpoints" / "step_00000012").mkdir()  # not a whole one
    checkpoint.prune(tmp_path, keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best", "step_00000003", "step_00000010", "step_00000012"]
    assert checkpoint.load_state(checkpoint.find(tmp_path)) == {"step": 10}
    assert checkpoint.load_state(checkpoint.find(tmp_path, prefer_best=True)) == {"step": 2}
    assert checkpoint.find(checkpoint.step_folder(tmp_path, 3)).name == "step_00000003"


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        checkpoint.find(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="holds no whole checkpoint"):
        checkpoint.find(tmp_path)


def test_fingerprints_that_differ_are_refused_with_both_values(tmp_path: Path) -> None:
    checkpoint.check_fingerprints({"vocabulary": "a", "gone": 1}, {"vocabulary": "a", "new": 2}, folder=tmp_path)
    with pytest.raises(ValueError, match="vocabulary: a in the checkpoint, b now"):
        checkpoint.check_fingerprints({"vocabulary": "a"}, {"vocabulary": "b"}, folder=tmp_path)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written .*--runs_folder"):
        check_writable(tmp_path / "file" / "run")
    with pytest.raises(OSError, match="MiB are free, the checkpoints need about"):
        check_writable(tmp_path / "run", num_bytes=2**62)
    check_writable(tmp_path / "run", num_bytes=1)
    assert list((tmp_path / "run").iterdir()) == []
