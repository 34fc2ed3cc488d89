"""The configuration of a run: typed, read from YAML, changed from the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from seqrl.failures import TIMEOUT_S
from seqrl.run import integrity, registry, trust
from seqrl.run.configs import find_config
from seqrl.run.decode import CommandLineText, decode, encode, meanings
from seqrl.run.exchange import replace_text
from seqrl.run.json_text import brief
from seqrl.run.renames import Name, settings_before
from seqrl.run.yaml_text import read_yaml
from seqrl.settings import Count, Limit, NotNegative, check_settings

Seconds = Annotated[float, Limit("at least 1", lambda value: value >= 1)]


@dataclass
class EarlyStop:
    """When to stop before the last step, and which checkpoint is the best.

    Attributes:
        metric: name of a metric of the dev evaluation, for instance cider_d.
        patience: stop after that many evaluations without a better value; null only keeps the best checkpoint.
        mode: whether the largest or the smallest value is the best.
    """

    metric: str
    patience: Count | None = 3
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass
class RunConfig:
    """One run: what is trained, on what, for how long, and what is kept of it.

    Attributes:
        name: the run goes to <runs_folder>/<name>.
        task: the problem; its `type` names an entry point of the group seqrl.tasks, or module:class.
        trainer: the algorithm; its `type` names an entry point of the group seqrl.trainers, or module:class.
        num_updates: number of trainer updates.
        seed: seeds every random generator.
        eval_every: updates between two evaluations on dev; 0 for none. Also done before the first and after the last.
        save_every: updates between two checkpoints; 0 for none but that at the end.
        save_minutes: minutes after which a checkpoint is saved besides, so that no more is lost where a machine fails; 0 for never.
        log_every: updates between two lines of training metrics.
        keep_checkpoints: number of newest checkpoints kept besides the best one.
        init_from: run or checkpoint folder whose model weights to start from, or `shipped:NAME`, weights that come with the package.
        allow_other_fingerprint: start from or evaluate weights though they were trained with, say, another vocabulary.
        early_stop: the dev metric to watch; null for none.
        runs_folder: where the runs are.
        trackers: more places to log to: tensorboard, or a tracker that accelerate knows, such as wandb.
        num_threads: CPU threads of torch; null for OMP_NUM_THREADS or else what is measured to be fastest, as the dtype
            is where a setting says `precision: auto`, see `seqrl.run.measured_settings`. The run's config.yaml keeps what was
            chosen; the same file and seed give the same weights to the bit.
        deterministic: refuse operations that give other results each time.
        split_batches: several processes divide each batch of a task of texts among them and draw what one process would, so that their
            number changes nothing but the time; without it each has a batch of its own, see docs/scaling.md.
        process_timeout_s: under several processes, how long one waits for another that does not come before it ends and says which; the
            main one may evaluate and save for longer.
    """

    name: str
    task: Any = field(metadata={"registry": registry.TASKS})
    trainer: Any = field(metadata={"registry": registry.TRAINERS})
    num_updates: NotNegative[int]
    seed: NotNegative[int] = 0
    eval_every: NotNegative[int] = 0
    save_every: NotNegative[int] = 0
    save_minutes: NotNegative[float] = 10.0
    log_every: Count = 1
    keep_checkpoints: Count = 2
    init_from: Path | None = None
    allow_other_fingerprint: bool = False
    early_stop: EarlyStop | None = None
    runs_folder: Path = Path("runs")
    trackers: list[str] = field(default_factory=list)
    num_threads: Count | None = None
    deterministic: bool = True
    split_batches: bool = False
    process_timeout_s: Seconds = TIMEOUT_S

    def __post_init__(self) -> None:
        check_settings(self)
        parts = Path(self.name).parts
        if not parts or Path(self.name).is_absolute() or ".." in parts or not self.name.isprintable():
            raise ValueError(f"name: expected the name of a folder below runs_folder, got {self.name!r}")
        if self.early_stop is not None and self.eval_every == 0:
            raise ValueError("early_stop: needs evaluations; set eval_every to the number of updates between two of them")

    @property
    def run_folder(self) -> Path:
        """Where this run's files go."""
        return self.runs_folder / self.name


def read_config(path: Path | str, overrides: Sequence[str] = (), *, allow_code: bool = True) -> RunConfig:
    """Read a YAML file and apply `--field.field=value` overrides.

    Args:
        path: the file, or a name; see `seqrl.run.configs.find_config`.
        overrides: as typed on the command line.
        allow_code: False for a file that may be somebody else's, such as a run's own: it must not name code by `module:name` that no
            installed package has registered. Overrides are always the user's own words.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the file, the field, what was expected and what came; or that a run's own file has been damaged.
    """
    path = find_config(path)
    own = trust.run_around(path) is not None
    if own:
        integrity.check_seal(path)
    tree = read_tree(path)
    if own:  # a run has all settings; what it lacks came later
        for name, value in settings_before(flatten(tree)).items():
            _set(tree, name, value)
    try:
        changed = apply_overrides(tree, overrides)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    trust.admit(trust.code_of_types(changed), path, allow_code=allow_code)
    try:
        config = decode(RunConfig, changed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    trust.admit(trust.code_of_fields(config, changed), path, allow_code=allow_code)
    return config


def read_tree(path: Path) -> dict[str, Any]:
    """Read a YAML file as plain data.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not valid, or no mapping.
    """
    try:
        tree = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path}: expected a mapping of fields, got {type(tree).__name__}")
    return dict(tree)


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set `--a.b=value` in a copy of nested mappings.

    Raises:
        ValueError: when an override is not of that form, or goes through something that is not a mapping.
    """
    tree = _copy(tree)
    for override in overrides:
        name, equals, text = override.removeprefix("--").partition("=")
        if not override.startswith("--") or not equals or not name:
            hint = f"; write {override}=VALUE" if override.startswith("--") else ""
            raise ValueError(f"{override!r}: expected --field=value{hint}")
        try:
            _set(tree, name, CommandLineText(text))
        except TypeError as error:
            raise ValueError(f"{override}: {error}") from error
    return tree


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted name in nested mappings.

    Raises:
        TypeError: when it goes through something that is not a mapping.
    """
    *parents, last = name.split(".")
    node = tree
    for depth, parent in enumerate(parents, start=1):
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise TypeError(f"{'.'.join(parents[:depth])} is {brief(node)}, not a mapping of fields")
    node[last] = value


def write_config(config: RunConfig, path: Path) -> None:
    """Write every field, defaults included, as YAML with its SHA-256; the file is replaced at once."""
    replace_text(path, integrity.sealed(yaml.safe_dump(encode(config), sort_keys=False, allow_unicode=True)))


def fingerprint(config: RunConfig) -> str:
    """Hash what decides the course of a run: seed, task and trainer."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()[:16]


def decisive(config: RunConfig) -> dict[str, Any]:
    """Give the fields that decide the course of a run, by dotted name.

    Paths are left out, since data may be moved, and fields with the metadata {"decisive": False}, such as time limits.
    """
    plain = decisive_of(config)
    return flatten({name: plain[name] for name in ("seed", "task", "trainer")})


def decisive_of(config: Any) -> Any:
    """Give what decides the course of a run as plain data, of a part of the configuration, or of a value in it."""
    return encode(config, lambda field, value: not isinstance(value, Path) and field.metadata.get("decisive", True))


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Give the leaves of nested mappings by dotted name."""
    return {".".join(map(str, name)): value for name, value in leaves(tree).items()}


def leaves(tree: Mapping[str, Any], prefix: Name = ()) -> dict[Name, Any]:
    """Give the leaves of nested mappings by the parts of their names, one of which may have dots of its own."""
    found: dict[Name, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, (*prefix, key)) if isinstance(value, Mapping) and value else {(*prefix, key): value}
    return found


def settings_of(config: Any, prefix: str = "") -> dict[str, Any]:
    """Give the values of a dataclass's fields, and those of the dataclasses in it, by dotted name."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), f"{prefix}{item.name}"
        found |= settings_of(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found


def explain(config: Any, indent: int = 0) -> list[str]:
    """List every field with its value, and its meaning as a comment, as lines of YAML."""
    lines: list[str] = []
    meaning = meanings(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        comment = f"  # {meaning[item.name]}" if item.name in meaning else ""
        pad = " " * indent
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            lines.append(f"{pad}{item.name}:{comment}")
            group = item.metadata.get("registry")
            if group:
                lines.append(f"{pad}  type: {registry.name_of(group, type(value))}")
            lines += explain(value, indent + 2)
        else:
            text = yaml.safe_dump(encode(value), default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
            lines.append(f"{pad}{item.name}: {text}{comment}")
    return lines


def _copy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree
