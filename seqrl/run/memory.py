"""What to set otherwise where a GPU has too little memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from seqrl.failures import OutOfMemory

# By the part of a run that needed it: the ends of the settings that make it need less.
_LOWER = {"collecting": ("_per_batch", "num_envs", "num_samples", "max_tokens"), "evaluation": ("_per_batch", "beam_size", "num_envs")}
_LOWER_IN_UPDATES = ("minibatch_size", "_per_batch", "num_samples", "max_tokens")
_RAISE_IN_UPDATES = ("accumulation", "minibatches", "gradient_checkpointing")


def explained(error: BaseException, doing: str, trainer: Any, task: Any) -> BaseException:
    """Give an error that says which settings of the run to change, where memory was short; any other error as it is.

    Args:
        error: just caught.
        doing: what ended, for instance "while collecting for update 3" or "in update 3".
        trainer: its `config` is read where it has one.
        task: likewise.
    """
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return error
    settings = [*_settings(getattr(task, "config", None), "task"), *_settings(getattr(trainer, "config", None), "trainer")]
    part = next((part for part in _LOWER if part in doing), None)
    evaluates = part == "evaluation"
    lower = [
        f"{name}={value}"
        for name, value in settings
        if name.endswith(_LOWER_IN_UPDATES if part is None else _LOWER[part]) and (".evaluation." in name) == evaluates
    ]
    more = [f"{name}={str(value).lower()}" for name, value in settings if part is None and name.endswith(_RAISE_IN_UPDATES)]
    advice = ([f"raise {', '.join(more)} (the update stays the same)"] if more else []) + ([f"lower {', '.join(lower)}"] if lower else [])
    where = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "the machine"
    said = " ".join(str(error).split("\n")[0].split())
    return OutOfMemory(f"{where} has too little memory {doing}; {', or '.join(advice) or 'use smaller batches'} ({said[:200]})")


def _settings(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Give the dotted names of settings with their values, those of a batch before those of its parts."""
    if not dataclasses.is_dataclass(config):
        return
    inner = []
    for item in dataclasses.fields(config):
        name, value = f"{prefix}.{item.name}", getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            inner.append((value, name))
        else:
            yield name, value
    for value, name in inner:
        yield from _settings(value, name)
