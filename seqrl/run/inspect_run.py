"""Looks at a trained policy: its score on a split, its samples."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from seqrl.protocols import Task
from seqrl.run.config import RunConfig
from seqrl.run.exchange import replace_text
from seqrl.run.json_text import read_json
from seqrl.run.run_folder import check_place, check_writable
from seqrl.run.signatures import evaluation_signatures, kept_signatures
from seqrl.run.train import Source, start_from, task_fingerprints

_LOG = logging.getLogger(__name__)


def evaluate(source: Source, *, split: str = "dev", output: Path | None = None) -> tuple[Path, dict[str, float], dict[str, str]]:
    """Score a policy and write the metrics to a file; beside it, where the task keeps samples, what was scored.

    Args:
        source: of the policy.
        split: name of the items to score on.
        output: the file; `evaluation_<split>.json` in the run folder when None.

    Returns:
        the checkpoint's folder, the metrics, and the signatures of those that have one.

    Raises:
        ValueError: when the data, the split or the checkpoint do not fit.
        FileNotFoundError: when there is no checkpoint.
        OSError: when the file cannot be written, which is seen before the evaluation; what is seen after it has the metrics in its text.
    """
    loaded = source.load()
    config, task, policy, folder, meta = loaded
    policy.eval()
    output = output or loaded.run_folder / f"evaluation_{split}.json"
    check_place(output, way="--output=FILE")
    start = time.perf_counter()
    metrics = {name: float(value) for name, value in task.evaluate(policy, split=split).items()}
    signatures = evaluation_signatures(task, split)
    record = {
        "checkpoint": str(folder),
        "step": meta["step"],
        "split": split,
        "overrides": list(source.overrides),
        "seconds": time.perf_counter() - start,
        "figures": metrics,
        "signatures": signatures,
    }
    try:
        replace_text(output, json.dumps(record, indent=1) + "\n")
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


def record(source: Source, *, episodes: int = 1, seed: int = 0, output: Path | None = None) -> tuple[Path, list[str]]:
    """Write an animation of episodes that a policy plays.

    Args:
        source: of the policy.
        episodes: how many, one after the other.
        seed: of the first episode's start.
        output: the file, whose ending says the form; `figures/episode.gif` in the run folder when None.

    Returns:
        the file, and what the task has to say about it.

    Raises:
        ValueError: when a number is out of range, the task has no episodes to show, or the checkpoint does not fit.
        OSError: when the file could not be written.
    """
    _check_episodes(episodes, seed)
    loaded = source.load()
    give = loaded.capability("record", f"has no episodes to record; try `seqrl sample {source.run}`")
    output = output or loaded.run_folder / "figures" / "episode.gif"
    check_place(output, way="--output=FILE")
    return output, list(give(loaded.policy.eval(), output, episodes=episodes, seed=seed))


def record_data(source: Source, folder: Path, *, episodes: int = 1, seed: int = 0) -> list[str]:
    """Write episodes that a policy plays as numbers, to be imitated; see `record`.

    Args:
        source: of the policy.
        folder: where they go; a new one.
        episodes: how many.
        seed: of the starts.

    Returns:
        what the task has to say about them.

    Raises:
        FileExistsError: when the folder is there.
        ValueError: see `record`.
        OSError: when nothing could be written there.
    """
    _check_episodes(episodes, seed)
    if folder.exists():
        raise FileExistsError(f"--data: expected a new folder, but {folder} is there; name another one, or delete it")
    loaded = source.load()
    give = loaded.capability("record_data", "has no episodes to record as data; choose a run of an environment")
    check_place(folder, way="--data=FOLDER")
    return list(give(loaded.policy.eval(), folder, episodes=episodes, seed=seed))


def _check_episodes(episodes: int, seed: int) -> None:
    if episodes < 1:
        raise ValueError(f"--episodes: expected at least 1, got {episodes}")
    if seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {seed}")


def sample(source: Source, *, count: int = 8, output: Path | None = None) -> list[Path]:
    """Write samples of a policy to look at.

    Args:
        source: of the policy.
        count: how many.
        output: where they go; `samples` in the run folder when None.

    Raises:
        ValueError: when count is below 1, the task has nothing to show, or the checkpoint does not fit.
        OSError: when nothing could be written there.
    """
    if count < 1:
        raise ValueError(f"--count: expected at least 1, got {count}")
    loaded = source.load()
    give = loaded.capability("sample", "has nothing to show; give it a method `sample`")
    output = output or loaded.run_folder / "samples"
    check_writable(output, way="--output=FOLDER")
    return list(give(loaded.policy.eval(), output, count=count, **_before(give, loaded.config, loaded.task)))
