"""SPICE as the official Java program computes it, where that program and its models are."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import mean_of_scores
from seqrl.metrics.java_program import JavaProgram, require_jar
from seqrl.metrics.text_scores import KeptReferences, References, Sentence, checked_references, checked_sentences

JAR_VARIABLE = "SEQRL_SPICE_JAR"
_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_FETCH = (
    "take spice-1.0.jar with its lib folder from `pip install pycocoevalcap`, put the two stanford-corenlp-3.6.0 jars (code and models) of "
    f"https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip into that lib folder, and give jar=... or set {JAR_VARIABLE}"
)
_Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class SpiceOfficial:
    """SPICE by the program of its authors, range 0 to 1: F-score of the tuples of two scene graphs.

    One Java process answers all calls of metrics with the same settings where javac is installed (else one is started for each), and scores
    are kept by their words, so that nothing is scored twice, by the next evaluation either. A hypothesis without words scores 0, and so
    does one whose score the program leaves open.

    Args:
        jar: spice-1.0.jar; by default what SEQRL_SPICE_JAR names, or else the one of pycocoevalcap.
        heap: the largest memory of the process, as Java's -Xmx takes it.
        timeout_s: how long one call may take.
        cache_size: how many scores are kept, the latest ones.

    Raises:
        FileNotFoundError: at the first score, where a jar or Java is missing; it says what to fetch and where to put it.
        ValueError: for a jar that was cut short, an item without references or an empty reference.
        TimeoutError: where the program is silent for too long.
        ChildProcessError: where it fails, or writes what is no result.

    Source: Anderson et al. 2016 (SPICE); the program is called as coco-caption does.
    """

    jar: str | None = None
    heap: str = "8G"
    timeout_s: float = 3600.0
    cache_size: int = 200_000
    bound: ClassVar[float] = 1.0
    described: ClassVar[tuple[str, dict[str, Any]]] = ("SPICE-official", {})

    corpus = mean_of_scores

    def score(self, hypotheses: Sequence[Sentence], references: References) -> NDArray[np.float64]:
        """Score each hypothesis against its references: tokenised strings or lists of words, [N] float64."""
        words, rows = checked_sentences(hypotheses, references)
        keys = [(" ".join(each), tuple(" ".join(row) for row in given)) for each, given in zip(words, rows, strict=True)]
        with self._state.lock:  # an evaluation may score while a reward does
            return self._score(keys)

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> KeptReferences:
        """Take the references of items, each a list of lists of words; the result scores batches."""
        return KeptReferences(self, checked_references(references))

    @property
    def _state(self) -> _State:
        return _state_of(self.jar or os.environ.get(JAR_VARIABLE), self.heap, self.timeout_s)

    def close(self) -> None:
        """End the Java process; a later score starts another."""
        if self._state.program is not None:
            self._state.program.close()

    def _score(self, keys: Sequence[_Key]) -> NDArray[np.float64]:
        kept = self._state.kept
        known = {key: kept[key] for key in keys if key in kept} | {key: 0.0 for key in keys if not key[0]}
        if missing := [key for key in dict.fromkeys(keys) if key not in known]:
            known |= zip(missing, self._ask(missing), strict=True)
        for key in keys:
            kept[key] = known[key]
            kept.move_to_end(key)
        while len(kept) > self.cache_size:
            kept.popitem(last=False)
        return np.array([known[key] for key in keys], np.float64)

    def _ask(self, keys: Sequence[_Key]) -> list[float]:
        program = self._program()
        asked, answered, parses = (program.folder / name for name in ("asked.json", "answered.json", "parses"))
        parses.mkdir(exist_ok=True)
        answered.unlink(missing_ok=True)
        rows = [{"image_id": number, "test": test, "refs": list(refs)} for number, (test, refs) in enumerate(keys)]
        asked.write_text(json.dumps(rows), encoding="utf-8")
        program.run([str(asked), "-cache", str(parses), "-out", str(answered), "-subset", "-silent"])
        return _read_scores(answered, len(keys), program.jar.name)

    def _program(self) -> JavaProgram:
        if self._state.program is None:
            self._state.program = JavaProgram(_find_jar(self.jar), heap=self.heap, timeout_s=self.timeout_s)
        return self._state.program


@dataclass
class _State:
    """The process and the scores that are kept."""

    program: JavaProgram | None = None
    kept: OrderedDict[_Key, float] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)


# Evaluations make their metrics anew each time, and the program takes a minute to load its models.
@lru_cache(maxsize=4)
def _state_of(jar: str | None, heap: str, timeout_s: float) -> _State:
    return _State()


def _find_jar(given: str | None) -> Path:
    named = given or os.environ.get(JAR_VARIABLE)
    if named:
        jar = Path(named)
    else:
        spec = importlib.util.find_spec("pycocoevalcap")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"the official SPICE program was not found: {_FETCH}")
        jar = Path(spec.submodule_search_locations[0]) / "spice" / "spice-1.0.jar"
    for path in (jar, *(jar.parent / "lib" / name for name in _MODELS)):
        require_jar(path, _FETCH)
    return jar.resolve()


def _read_scores(path: Path, count: int, program: str) -> list[float]:
    """Read the F-scores of items 0 to count - 1."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    try:
        scores = {int(row["image_id"]): float(row["scores"]["All"]["f"] or 0.0) for row in json.loads(text)}
        found = [scores[number] for number in range(count)]
    except (ValueError, TypeError, KeyError) as error:
        raise ChildProcessError(
            f"{program} wrote no result for {count} items: expected a list of image_id and scores, got {text[:80]!r} "
            f"({type(error).__name__}); run the jar by itself to see what is wrong"
        ) from error
    return [0.0 if math.isnan(score) else score for score in found]
