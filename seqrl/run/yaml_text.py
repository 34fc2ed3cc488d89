"""The one reader of YAML that people write: safe, and a key that stands twice in a mapping is refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file: UTF-8 with or without a byte order mark, UTF-16 with one, any line ends.

    Raises:
        OSError: when it cannot be read.
        yaml.YAMLError: when it is no YAML, or a mapping names a key twice, with both places.
    """
    return parse_yaml(Path(path).read_bytes())


def parse_yaml(text: str | bytes) -> Any:
    """Parse YAML; raises as `read_yaml` does."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                places = f"line {seen[key.value].line + 1} and again in line {key.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(problem=f"the key {key.value!r} stands in {places}; keep one of them")
            seen[key.value] = key.start_mark
        return super().construct_mapping(node, deep=deep)
