from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from typing import Any

import pytest

from seqrl.run.log import AccelerateTracker, JsonLines, Log, make_tracker, read_metrics


def test_lines_are_flushed_and_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = JsonLines(path)
    lines.write(1, {"a/b": 1.5})
    length = lines.num_bytes()
    lines.write(2, {"a/b": math.nan, "a/c": math.inf})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 1, "a/b": 1.5}, {"step": 2, "a/b": None, "a/c": None}]
    lines.close()
    lines = JsonLines(path, length)
    lines.write(2, {"a/b": 3})
    lines.close()
    assert read_metrics(tmp_path) == [{"step": 1, "a/b": 1.5}, {"step": 2, "a/b": 3}]
    with pytest.raises(ValueError, match="expected at least 9999 bytes"):
        JsonLines(path, 9999)


def test_line_that_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step"')
    assert read_metrics(tmp_path) == [{"step": 1}]
    path.write_text('{"step"\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1: not JSON"):
        read_metrics(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        read_metrics(tmp_path / "absent")


def test_every_writer_gets_plain_floats() -> None:
    class Memory:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, float]]] = []
            self.closed = False

        def write(self, step: int, metrics: dict[str, float]) -> None:
            self.rows.append((step, metrics))

        def close(self) -> None:
            self.closed = True

    writers = [Memory(), Memory()]
    log = Log(writers)
    log.write(3, {"x": 1})
    log.close()
    for writer in writers:
        assert writer.rows == [(3, {"x": 1.0})] and isinstance(writer.rows[0][1]["x"], float) and writer.closed


def test_tensorboard_holds_the_metrics(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    writer = make_tracker("tensorboard", run_folder=tmp_path, config={})
    for step in (1, 2, 3):
        writer.write(step, {"dev/score": step * 2.0})
    writer.close()
    resumed = make_tracker("tensorboard", run_folder=tmp_path, config={}, start=1)
    resumed.write(2, {"dev/score": 40.0})
    resumed.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("dev/score")] == [(1, 2.0), (2, 40.0)]


def test_trackers_that_are_not_there(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    with pytest.raises(ValueError, match="trackers: 'wandv' is not known; did you mean 'wandb'?"):
        make_tracker("wandv", run_folder=tmp_path, config={})
    try:
        import aim  # type: ignore[import-not-found] # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="'aim' is not installed"):
            make_tracker("aim", run_folder=tmp_path, config={})


def test_line_that_a_full_disk_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.write(1, {"a/b": 1.0})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (lines.num_bytes() + 5, limits[1]))
        with pytest.raises(OSError, match=r"metrics\.jsonl: could not be written .*; free some space"):
            lines.write(2, {"a/b": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines.write(3, {"a/b": 1.0})
    lines.close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]


def test_trackers_of_accelerate_get_configuration_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("accelerate.tracking", reason="accelerate is not installed")

    calls: list[tuple[Any, ...]] = []

    class Tracker(tracking.GeneralTracker):
        name, requires_logging_directory = "mine", True

        def __init__(self, run_name: str, logging_dir: str) -> None:
            super().__init__()
            calls.append(("made", run_name, logging_dir))

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            calls.append(("configuration", values))

        def log(self, values: dict[str, Any], step: int | None) -> None:
            calls.append(("log", values, step))

        def finish(self) -> None:
            calls.append(("finish",))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Tracker)
    writer = AccelerateTracker("tensorboard", run_name="run", folder=tmp_path, config={"num_updates": 3, "betas": [0.9]})
    writer.write(2, {"dev/score": 1.5})
    writer.close()
    assert calls == [
        ("made", "run", str(tmp_path)),
        ("configuration", {"num_updates": 3, "betas": "[0.9]"}),
        ("log", {"dev/score": 1.5}, 2),
        ("finish",),
    ]
