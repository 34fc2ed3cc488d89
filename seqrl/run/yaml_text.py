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
        self._num_nodes = 0

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _written_out(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._num_nodes += 1
        if self._num_nodes > MOST_NODES:
            raise yaml.composer.ComposerError(problem=f"it holds more than {MOST_NODES} values; keep data in files of its own")
        return super().compose_node(parent, index)  # type: ignore[arg-type]

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


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node with every alias written out, and refuse too many before anything is made of them."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.composer.ComposerError(problem="a list or mapping holds itself, through an alias", problem_mark=node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.CollectionNode):
        children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
    count = 1 + sum(_written_out(child, known) for child in children)
    if count > MOST_NODES:
        problem = f"its aliases stand for more than {MOST_NODES} values; write out what is meant"
        raise yaml.composer.ComposerError(problem=problem, problem_mark=node.start_mark)
    known[id(node)] = count
    return count
