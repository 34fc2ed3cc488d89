"""Looks at a trained policy: its score on a split, its samples."""

from __future__ import annotations

import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from seqrl.protocols import Task
from seqrl.run import registry
from seqrl.run.config import RunConfig
from seqrl.run.json_text import read_json
from seqrl.run.run_folder import check_place, check_writable
from seqrl.run.signatures import evaluation_signatures, kept_signatures
from seqrl.run.train import load, load_with_meta, start_from, task_fingerprints

_LOG = logging.getLogger(__name__)


def evaluate(
    run: Path,
    overrides: Sequence[str] = (),
    *,
    split: str = "dev",
    output: Path | None = None,
    which: str | None = None,
    allow_code: bool = False,
) -> tuple[Path, dict[str, float], dict[str, str]]:
    """Score a run's policy and write the metrics to a file; beside it, where the task keeps samples, what was scored.

    Args:
        run: run folder (its best checkpoint, or else the newest) or checkpoint folder.
        overrides: changes of the configuration, for instance of the decoding.
        split: name of the items to score on.
        output: the file; `evaluation_<split>.json` in the run folder when None.
        allow_code: see `seqrl.run.train.load`.
        which: checkpoint to take, see `seqrl.run.train.load`.

    Returns:
        the checkpoint's folder, the metrics, and the signatures of those that have one.

    Raises:
        ValueError: when the data, the split or the checkpoint do not fit.
        FileNotFoundError: when there is no checkpoint.
        OSError: when the file cannot be written, which is seen before the evaluation; what is seen after it has the metrics in its text.
    """
    config, task, policy, folder, meta = load_with_meta(run, overrides, which=which, allow_code=allow_code)
    policy.eval()
    output = output or folder.parent.parent / f"evaluation_{split}.json"
    check_place(output, way="--output=FILE")
    start = time.perf_counter()
    metrics = {name: float(value) for name, value in task.evaluate(policy, split=split).items()}
    signatures = evaluation_signatures(task, split)
    record = {
        "checkpoint": str(folder),
        "step": meta["step"],
        "split": split,
        "overrides": list(overrides),
        "seconds": time.perf_counter() - start,
        "figures": metrics,
        "signatures": signatures,
    }
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, output)
    except OSError as error:
        raise OSError(f"{output}: could not be written ({error}); the metrics are {json.dumps(metrics)}") from error
    keep = getattr(task, "keep_samples", None)
    if callable(keep):
        keep(policy, output.with_name(f"{output.stem}_samples"), split=split, **_before(keep, config, task))
    return folder, metrics, signatures


def kept_evaluations(folder: Path, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give what was evaluated of a checkpoint: on dev while it was trained, and what `evaluate` wrote about it into the run's folder since.

    Args:
        folder: of the checkpoint.
        meta: its own.

    Returns:
        `split`, `figures` and `signatures` of each split, by the newest evaluation without changed settings.
    """
    run = folder.parent.parent
    found: dict[str, dict[str, Any]] = {}
    if meta.get("evaluation"):
        found["dev"] = {"split": "dev", "figures": meta["evaluation"], "signatures": kept_signatures(run).get("dev", {})}
    for path in sorted(run.glob("evaluation_*.json"), key=lambda path: path.stat().st_mtime):
        record = read_json(path)
        if not isinstance(record, dict) or not {"step", "split", "figures", "checkpoint"} <= record.keys() or record.get("overrides"):
            continue
        if record["step"] == meta["step"] and Path(str(record["checkpoint"])).name == folder.name:
            found[record["split"]] = {key: record.get(key, {}) for key in ("split", "figures", "signatures")}
    return list(found.values())


def _before(show: Callable[..., Any], config: RunConfig, task: Task) -> dict[str, nn.Module]:
    """Give the policy that a run started from, as the argument `before`, where that can be shown and is at hand."""
    start = config.init_from
    if start is None or "before" not in inspect.signature(show).parameters:
        return {}
    policy = task.build_policy()
    try:
        start_from(start, policy, {} if config.allow_other_fingerprint else task_fingerprints(task))
    except (OSError, ValueError) as error:
        _LOG.warning("what the run started from is not shown: %s", error)
        return {}
    return {"before": policy.eval()}


def record(
    run: Path,
    overrides: Sequence[str] = (),
    *,
    episodes: int = 1,
    seed: int = 0,
    output: Path | None = None,
    which: str | None = None,
    allow_code: bool = False,
) -> tuple[Path, list[str]]:
    """Write an animation of episodes that a run's policy plays.

    Args:
        run: run or checkpoint folder.
        overrides: changes of the configuration.
        episodes: how many, one after the other.
        seed: of the first episode's start.
        output: the file, whose ending says the form; `figures/episode.gif` in the run folder when None.
        allow_code: see `seqrl.run.train.load`.
        which: checkpoint to take, see `seqrl.run.train.load`.

    Returns:
        the file, and what the task has to say about it.

    Raises:
        ValueError: when a number is out of range, the task has no episodes to show, or the checkpoint does not fit.
        OSError: when the file could not be written.
    """
    if episodes < 1:
        raise ValueError(f"--episodes: expected at least 1, got {episodes}")
    if seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {seed}")
    config, task, policy, folder = load(run, overrides, which=which, allow_code=allow_code)
    give = getattr(task, "record", None)
    if not callable(give):
        raise ValueError(f"task {registry.name_of(registry.TASKS, type(config.task))}: has no episodes to record; try `seqrl sample {run}`")
    policy.eval()
    output = output or folder.parent.parent / "figures" / "episode.gif"
    check_place(output, way="--output=FILE")
    return output, list(give(policy, output, episodes=episodes, seed=seed))


def sample(
    run: Path,
    overrides: Sequence[str] = (),
    *,
    count: int = 8,
    output: Path | None = None,
    which: str | None = None,
    allow_code: bool = False,
) -> list[Path]:
    """Write samples of a run's policy to look at.

    Args:
        run: run or checkpoint folder.
        overrides: changes of the configuration.
        count: how many.
        output: where they go; `samples` in the run folder when None.
        allow_code: see `seqrl.run.train.load`.
        which: checkpoint to take, see `seqrl.run.train.load`.

    Raises:
        ValueError: when count is below 1, the task has nothing to show, or the checkpoint does not fit.
        OSError: when nothing could be written there.
    """
    if count < 1:
        raise ValueError(f"--count: expected at least 1, got {count}")
    config, task, policy, folder = load(run, overrides, which=which, allow_code=allow_code)
    give = getattr(task, "sample", None)
    if not callable(give):
        raise ValueError(f"task {registry.name_of(registry.TASKS, type(config.task))}: has nothing to show; give it a method `sample`")
    policy.eval()
    output = output or folder.parent.parent / "samples"
    check_writable(output, way="--output=FOLDER")
    return list(give(policy, output, count=count, **_before(give, config, task)))
