"""Whether a run that goes on has the settings that it began with, by an older version of the program, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqrl.run import checkpoint
from seqrl.run.config import RunConfig, decisive, decisive_of, flatten
from seqrl.run.renames import settings_before


def refuse_other_settings(folder: Path, config: RunConfig) -> None:
    """Refuse to go on with a seed, a task or a trainer that is set otherwise than in a checkpoint.

    A field that did not exist yet when the checkpoint was written has to have its default, which does what was done before, or, where the
    default is another, the value that `renames.yaml` says under `later`.

    Raises:
        ValueError: naming up to five settings with both values.
    """
    saved, present = checkpoint.read_meta(folder).get("config", {}), decisive(config)
    if not saved:
        return
    saved = saved | settings_before(saved)
    new = set(_new_at_default(config, saved))
    names = [name for name in {**saved, **present} if name not in new]
    # A path that is None stands among the settings, one that is set does not: data may be moved out of the default place, too.
    differing = [name for name in names if saved.get(name) != present.get(name)]
    changes = [f"{name} was {_shown(saved, name)}, is {_shown(present, name)}" for name in differing]
    if changes:
        shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise ValueError(f"{folder}: cannot go on exactly with other settings: {shown}; for those start a new run with init_from: {folder}")


def _new_at_default(config: Any, saved: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Give the dotted names below fields of which the checkpoint knows nothing, and which have their defaults."""
    for item in dataclasses.fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        if any(other.startswith(f"{name}.") for other in saved):
            if dataclasses.is_dataclass(value):
                yield from _new_at_default(value, saved, f"{name}.")
        elif name not in saved and value == _default(item):
            yield from flatten({name: decisive_of(value)})


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "not there"
