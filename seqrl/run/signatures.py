"""How the metrics of a run were computed, in the words of its task and its trainer, for whoever prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqrl.protocols import Task, Trainer, ask
from seqrl.run.environment import read_starts, version_of


def reward_signature(task: Task, trainer: Trainer) -> str:
    """Describe the reward that a trainer follows; empty where the task does not tell, or the trainer follows none.

    The task knows what is scored, the trainer what the scores are compared with: the baseline, and of how many samples.

    Args:
        task: `reward_signature(settings, version)` where it tells.
        trainer: `reward_settings()` where it follows rewards.
    """
    settings = ask(trainer, "reward_settings")
    return "" if settings is None else str(ask(task, "reward_signature", settings, version=_version(), otherwise=""))


def evaluation_signatures(task: Task, split: str) -> dict[str, str]:
    """Describe the metrics of an evaluation by name; empty where the task does not tell.

    Args:
        task: `evaluation_signatures(split, version)` where it tells.
        split: name of the items.
    """
    return dict(ask(task, "evaluation_signatures", split, version=_version(), otherwise={}))


def kept_signatures(run_folder: Path) -> dict[str, Any]:
    """Give what `env.json` says of the newest start of a run; empty for a run of an older version.

    Raises:
        ValueError: when the file is damaged.
    """
    starts = read_starts(run_folder)
    return dict(starts[-1].get("signatures", {})) if starts else {}


def _version() -> str:
    return version_of("seqrl") or "unknown"
