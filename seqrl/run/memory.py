"""What to set otherwise where a GPU has too little memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from seqrl.failures import OutOfMemory
from seqrl.run.config import settings_of

# By the part of a run that needed it: the ends of the settings that make it need less.
_LOWER = {
    "collecting": ("_per_batch", "num_envs", "num_samples", "max_tokens"),
    "evaluation": ("_per_batch", "beam_size", "num_envs"),
    "update": ("_per_batch", "num_samples", "max_tokens"),
}


def explained(error: BaseException, doing: str, *, task: Any, trainer: Any) -> BaseException:
    """Give an error that says which settings of the run to change, where memory was short; any other error as it is.

    Args:
        error: just caught.
        doing: what ended: while collecting, in an evaluation or in or before an update, for instance "while collecting for update 3".
        task: its configuration.
        trainer: its configuration.
    """
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return error
    settings = [*_settings(task, "task"), *_settings(trainer, "trainer")]
    advice = ", or ".join(_advice(settings, next((part for part in _LOWER if part in doing), "update"))) or "use smaller batches"
    where = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "the machine"
    said = " ".join(str(error).split("\n")[0].split())
    return OutOfMemory(f"{where} has too little memory {doing}; {advice} ({said[:200]})")


def _advice(settings: Sequence[tuple[str, Any]], part: str) -> Iterator[str]:
    """Give what to change so that a part of a run needs less memory, first what leaves the result as it is."""
    if part == "update":
        same = [f"raise {name}={value}" for name, value in settings if name.endswith(".accumulation")]
        same += [f"set {name}=true" for name, value in settings if name.endswith(".gradient_checkpointing") and not value]
        if same:
            yield f"{' or '.join(same)} (the update stays the same)"
        yield from (f"set {name}={{rank: 8}}" for name, value in settings if name.endswith(".lora") and value is None)
    lower = [each for each in settings if each[0].endswith(_LOWER[part]) and (".evaluation." in each[0]) == (part == "evaluation")]
    if lower:
        yield f"lower {', '.join(f'{name}={value}' for name, value in lower)}"


@contextmanager
def explaining(doing: str, config: Any) -> Iterator[None]:
    """Say which settings of a run to change where memory is short.

    Args:
        doing: what is done, for instance "before the first update".
        config: of the run.
    """
    try:
        yield
    except RuntimeError as error:
        known = explained(error, doing, task=config.task, trainer=config.trainer)
        if known is not error:
            raise known from error
        raise


def _settings(config: Any, prefix: str) -> list[tuple[str, Any]]:
    """Give the dotted names of settings with their values, those of a batch before those of its parts."""
    found = settings_of(config, f"{prefix}.") if dataclasses.is_dataclass(config) else {}
    return sorted(found.items(), key=lambda each: each[0].count("."))
