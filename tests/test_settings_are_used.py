"""A setting that no configuration, benchmark or page of the documentation names is deleted, or stands here with a reason."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

from seqrl.run import registry
from seqrl.run.config import RunConfig

ROOT = Path(__file__).parents[1]
SHOWN = ("configs/**/*.yaml", "benchmarks/*.py", "benchmarks/*.sh", "docs/**/*.md", "README.md", "CONTRIBUTING.md")

REASONS = {
    "what a file or a column of one's own data is called": (
        *("train_list", "dev_list", "test_list", "image_column", "label_column", "caption_column", "test_prompts", "test_references"),
    ),
    "a quick look at part of the data": ("max_pairs",),
    "a limit of time, for slow environments and machines": ("process_timeout_s",),
    "a part of the published method that its author varies or another has otherwise": (
        *("forced_decrease", "forced_updates", "average_decay", "backtrack", "critic_minibatches", "clutter_size"),
        *("learning_rate_final", "learning_rate_steps", "priority_exponent", "first_state", "self_normalise"),
        *("classification_weight", "code_size"),
        *("hidden_gain", "actor_gain", "critic_gain"),
        *("too_strong", "exploited", "no_longer_beaten"),
    ),
    "saves memory": ("minibatch_rows",),
}


def settings() -> set[str]:
    """Names of all fields that a run's configuration can hold."""
    found: set[Any] = set()

    def walk(hint: Any) -> None:
        if dataclasses.is_dataclass(hint) and hint not in found:
            found.add(hint)
            for each in typing.get_type_hints(hint).values():
                walk(each)
        for each in typing.get_args(hint):
            walk(each)

    walk(RunConfig)
    for group in (registry.TASKS, registry.TRAINERS):
        for name in registry.registered(group):
            walk(registry.find(group, name))
    return {field.name for config in found for field in dataclasses.fields(config)}


def test_every_setting_is_shown_or_has_a_reason() -> None:
    texts = (path.read_text(encoding="utf-8") for pattern in SHOWN for path in ROOT.glob(pattern))
    shown = {word for text in texts for word in re.findall(r"\w+", text)}
    excused = {name for names in REASONS.values() for name in names}
    assert settings() - shown - excused == set(), "show them in a configuration or a page, say the reason here, or delete them"
    assert excused - (settings() - shown) == set(), "these need no excuse any more, or are gone"
