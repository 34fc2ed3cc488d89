"""Small random corpora and real ones, shared by the tests of the metrics."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(os.environ.get("SEQRL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
# Metrics that need a model or a program that is not there.
NEED_FILES = frozenset({"embedding", "ref_clip_score", "spice_official"})


def random_corpus(seed: int, num_items: int = 12, vocabulary: int = 8) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Few words, so that long n-grams match and repeat; the numbers of references and the lengths differ, one hypothesis is empty."""
    rng = np.random.default_rng(seed)

    def row(low: int) -> list[int]:
        return rng.integers(3, 3 + vocabulary, size=rng.integers(low, 13)).tolist()

    references = [[row(1) for _ in range(rng.integers(1, 5))] for _ in range(num_items)]
    hypotheses = [row(1) for _ in range(num_items - 4)]
    hypotheses += [references[-4][0], references[-3][0] * 2, [99, 99, 99, 3], []]  # a copy, a repetition, foreign words, nothing
    return hypotheses, references


def as_text(rows: list[list[int]]) -> list[str]:
    return [" ".join(f"w{token}" for token in row) for row in rows]


def padded(rows: list[list[int]], filler: int = 0, extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), lengths.max() + extra), filler)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    return tokens, lengths


def needed(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {path}; set SEQRL_DATA to the folder with the data")
    return path


def published() -> tuple[list[str], list[list[str]], dict]:
    rows = json.loads(needed("coco_metrics/captions_1000.json").read_text())
    expected = json.loads(needed("coco_metrics/expected_fakecap1000.json").read_text())
    return [row["test"] for row in rows], [row["refs"] for row in rows], expected
