"""A small table of paraphrases for tests, so that none of them waits for the large one."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqrl.metrics.meteor import paraphrases

PAIRS = [("in front of", "before"), ("before", "in front of"), ("a lot of", "many"), ("kid", "child"), ("next to", "beside")]
Writer = Callable[..., Path]


def _write(path: Path, pairs: list[tuple[str, str]] = PAIRS) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"0.5\n{one}\n{other}\n" for one, other in pairs)
    return path


@pytest.fixture(scope="session")
def write_table() -> Writer:
    """Write pairs of phrases as METEOR's table has them: probability, phrase, phrase."""
    return _write


@pytest.fixture(scope="module", autouse=True)
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[paraphrases.Paraphrases]:
    """Let METEOR read five pairs of phrases instead of five million."""
    folder = tmp_path_factory.mktemp("meteor")
    table = paraphrases.load_paraphrases(_write(folder / "table.gz"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqrl.metrics.meteor.metric.english_paraphrases", lambda: table)
        yield table
