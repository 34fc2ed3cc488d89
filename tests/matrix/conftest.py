"""Lets the tests of this folder import the modules beside them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for matrix_kinds.py and its like


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Draw the scenes into a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQRL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect what is known to fail to fail, see `matrix_known.py`."""
    from matrix_known import KNOWN

    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            for pattern, reason in KNOWN.items():
                if re.search(pattern, item.name):
                    item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
