"""The one reader of YAML that people write: safe, bounded, and a key that stands twice in a mapping is refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from seqrl.run.json_text import brief, require_regular

MOST_BYTES = 2**20
# Of scalars, lists and mappings, aliases written out: a run's configuration has a few hundred.
MOST_NODES = 20_000
_MOST_BITS = 64


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file: UTF-8 with or without a byte order mark, UTF-16 with one, any line ends.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no file, or larger than any configuration.
        yaml.YAMLError: when it is no YAML, a mapping names a key twice (with both places), or what it says takes too much to read.
    """
    path = require_regular(Path(path))
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path}: expected a configuration of at most {MOST_BYTES} bytes, got {size}; keep data in files of its own")
    return parse_yaml(path.read_bytes())


def parse_yaml(text: str | bytes) -> Any:
    """Parse YAML; raises as `read_yaml` does."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except RecursionError:
        raise yaml.composer.ComposerError(problem="lists or mappings are nested too deeply to be read") from None


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        # Values so far with every alias written out, and those of each whole node, so that too many are refused before anything is made.
        self._num_values = 0
        self._values_of: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        before, is_alias = self._num_values, self.check_event(yaml.AliasEvent)
        node: Any = super().compose_node(parent, index)  # type: ignore[arg-type]
        if not is_alias:
            self._num_values += 1
            self._values_of[id(node)] = self._num_values - before
            problem = f"it holds more than {MOST_NODES} values; keep data in files of its own"
        elif id(node) in self._values_of:
            self._num_values += self._values_of[id(node)]
            problem = f"its aliases stand for more than {MOST_NODES} values; write out what is meant"
        else:
            raise yaml.composer.ComposerError(problem="a list or mapping holds itself, through an alias", problem_mark=node.start_mark)
        if self._num_values > MOST_NODES:
            raise yaml.composer.ComposerError(problem=problem, problem_mark=node.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(problem=f"it is no value: {error}", problem_mark=node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            problem = f"expected a whole number of at most {_MOST_BITS} bits, got {brief(value)}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                places = f"line {seen[key.value].line + 1} and again in line {key.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(problem=f"the key {brief(key.value)} stands in {places}; keep one of them")
            seen[key.value] = key.start_mark
        return super().construct_mapping(node, deep=deep)
