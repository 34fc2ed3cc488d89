"""METEOR's table of paraphrases as arrays: which phrases of up to seven words stand for which."""

from __future__ import annotations

import gzip
import logging
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.cache_files import alone, atomic_write, cache_folder
from seqrl.metrics.meteor.resources import meteor_folder

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_MIX = 0x9E3779B97F4A7C15
_ARRAYS = {"words": np.uint8, "slots": np.uint64, "phrases": np.int32, "starts": np.int32, "others": np.int32}
_NEEDED = "reinstall it with `pip install --force-reinstall pycocoevalcap`"


class PhraseTable(NamedTuple):
    """Phrases by number, and the numbers that each may be exchanged with.

    Args:
        slots: [2^k] uint64 hashes of phrases by open addressing, 0 where empty; see `phrase_hash`.
        phrases: [2^k] int32, the phrase's number in that slot.
        starts: [phrases + 1] int32.
        others: [pairs] int32; phrase p may be exchanged with the others[starts[p]:starts[p + 1]], each written as 2 number,
            plus 1 where the table has the pair in both directions.
        max_words: of the longest phrase.
    """

    slots: NDArray[np.uint64]
    phrases: NDArray[np.int32]
    starts: NDArray[np.int32]
    others: NDArray[np.int32]
    max_words: int


@dataclass(frozen=True)
class Paraphrases:
    """Phrases by number, and the numbers that each may be exchanged with.

    Args:
        numbers: of the words that stand in any phrase.
        arrays: what the compiled loops read.
    """

    numbers: dict[str, int]
    arrays: PhraseTable


@cache
def english_paraphrases() -> Paraphrases:
    """Give the table that comes with METEOR 1.5, from the cache where it is there; else it is made, which takes about a minute.

    Raises:
        FileNotFoundError: when pycocoevalcap is not installed or the table is missing.
        ValueError: when the table is cut short.
    """
    return load_paraphrases(meteor_folder() / "data" / "paraphrase-en.gz")


def load_paraphrases(table: Path, folder: Path | None = None) -> Paraphrases:
    """Give a table of paraphrases from the cache, or make it and keep it there.

    Args:
        table: gzip of three lines a pair: probability, phrase, phrase.
        folder: of the cache; `meteor` in the folder of prepared data by default.

    Raises:
        FileNotFoundError, ValueError: see `english_paraphrases`.
    """
    if not table.is_file():
        raise FileNotFoundError(f"{table}: expected METEOR's table of paraphrases there, found none; {_NEEDED}")
    folder = folder or cache_folder() / "meteor"
    path = folder / f"paraphrases-{_FORMAT}-{_fingerprint(table)}.bin"
    arrays = _read(path)
    if arrays is None:
        with alone(path):
            arrays = _read(path) or _make(table, path)  # another process may have made it while this one waited
    words = arrays["words"].tobytes().decode("utf-8").split("\n")
    max_words = int(words.pop())
    made = PhraseTable(arrays["slots"], arrays["phrases"], arrays["starts"], arrays["others"], max_words)
    return Paraphrases({word: number for number, word in enumerate(words)}, made)


def _make(table: Path, path: Path) -> dict[str, NDArray[Any]]:
    """Make the index of a table, keep it at `path` where that can be written, and say so on stderr: it takes a while."""
    print(f"METEOR: reading {table.name} once, which takes about a minute; its index is kept in {path.parent}", file=sys.stderr, flush=True)
    made = _index(*_read_pairs(table))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, made)
    except OSError as error:
        _LOG.warning("METEOR: cannot write %s (%s): the index is made again next time; set SEQRL_CACHE to a folder for it", path, error)
    return _read(path) or made


def _fingerprint(table: Path) -> str:
    """Tell one table from another by its size and its ends."""
    size = table.stat().st_size
    with table.open("rb") as file:
        ends = file.read(4096)
        file.seek(max(0, size - 4096))
        ends += file.read()
    return f"{size:x}-{zlib.crc32(ends):08x}"


def _read_pairs(table: Path) -> tuple[list[bytes], list[bytes]]:
    try:
        with gzip.open(table, "rb") as file:
            lines = file.read().split(b"\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{table}: expected METEOR's table of paraphrases, got a file that is cut short or damaged; {_NEEDED}") from error
    if lines[-1] == b"":
        lines.pop()
    if len(lines) % 3:
        raise ValueError(f"{table}: expected three lines a pair, got {len(lines)} lines; {_NEEDED}")
    return lines[1::3], lines[2::3]


def _index(left: list[bytes], right: list[bytes]) -> dict[str, NDArray[Any]]:
    numbers: dict[bytes, int] = {}
    for phrase in left:
        numbers.setdefault(phrase, len(numbers))
    for phrase in right:
        numbers.setdefault(phrase, len(numbers))
    one, other = (np.fromiter((numbers[phrase] for phrase in side), np.int64, len(side)) for side in (left, right))
    words: dict[bytes, int] = {}
    hashes, max_words = np.empty(len(numbers), np.uint64), 0
    for place, phrase in enumerate(numbers):
        parts = [words.setdefault(word, len(words)) for word in phrase.split(b" ")]
        max_words = max(max_words, len(parts))
        hashes[place] = phrase_hash(parts)
    slots, phrases = _hash_table(hashes)
    pairs = np.unique(one * len(numbers) + other)
    one, other = pairs // len(numbers), pairs % len(numbers)
    both = np.concatenate([pairs, other * len(numbers) + one])
    keys, counts = np.unique(both, return_counts=True)
    starts = np.searchsorted(keys, np.arange(len(numbers) + 1, dtype=np.int64) * len(numbers)).astype(np.int32)
    text = b"\n".join([*words, str(max_words).encode()])
    return {
        "words": np.frombuffer(text, np.uint8),
        "slots": slots,
        "phrases": phrases,
        "starts": starts,
        "others": (keys % max(len(numbers), 1) * 2 + (counts > 1)).astype(np.int32),
    }


def phrase_hash(words: list[int]) -> int:
    """Hash the word numbers of a phrase to 64 bits; never 0. `kernels.find_phrases` computes the same."""
    value = 0
    for word in words:
        value = ((value ^ (word + 1)) * _MIX) & (2**64 - 1)
        value ^= value >> 29
    return value or 1


def _hash_table(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Place each hash at the first free slot from its lowest bits on, in rounds: all that find one of their own stay there."""
    if len(np.unique(hashes)) != len(hashes):
        raise ValueError("two phrases of the table have one hash; please report this")
    size = 1 << max(4, (len(hashes) * 3 // 2).bit_length())
    slots, phrases = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
    waiting = np.arange(len(hashes))
    places = (hashes & np.uint64(size - 1)).astype(np.int64)
    while len(waiting):
        free = slots[places] == 0
        slots[places[free]] = hashes[waiting[free]]
        phrases[places[free]] = waiting[free]
        left = slots[places] != hashes[waiting]
        waiting, places = waiting[left], (places[left] + 1) % size
    placed = slots != 0
    phrases[placed] = np.argsort(hashes)[np.searchsorted(np.sort(hashes), slots[placed])]
    return slots, phrases


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write the arrays end to end behind a header of their sizes and a checksum, and the sizes once more behind them."""
    sizes = np.array([_FORMAT, *(arrays[name].nbytes for name in _ARRAYS)], np.int64)
    body = b"".join(arrays[name].tobytes().ljust(-(-arrays[name].nbytes // 64) * 64, b"\0") for name in _ARRAYS)
    with atomic_write(path) as file:
        file.write((sizes.tobytes() + _checksum(np.frombuffer(body, np.uint8)).to_bytes(8, "little")).ljust(64, b"\0"))
        file.write(body)
        file.write(sizes.tobytes())


def _checksum(body: NDArray[np.uint8]) -> int:
    """Check 4 KiB of every 64 KiB, so that a process starts in milliseconds; never 0, which indexes without a checksum have."""
    value = 0
    for start in range(0, len(body), 65536):
        value = zlib.crc32(body[start : start + 4096].tobytes(), value)
    return value or 1


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Map the arrays into memory; None where the file is missing, cut short, damaged or of another form."""
    if not path.is_file():
        return None
    whole = np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)
    count = 1 + len(_ARRAYS)
    if len(whole) < 64 + 8 * count:
        return None
    sizes = whole[: 8 * count].view(np.int64)
    padded = [-(-int(size) // 64) * 64 for size in sizes[1:]]
    right = sizes[0] == _FORMAT and min(padded) >= 0 and len(whole) == 64 + sum(padded) + 8 * count
    if not right or not np.array_equal(whole[-8 * count :], whole[: 8 * count]):
        return None
    written = int.from_bytes(whole[8 * count : 8 * count + 8].tobytes(), "little")
    if written and written != _checksum(whole[64 : 64 + sum(padded)]):
        return None
    arrays, start = {}, 64
    for (name, kind), size, step in zip(_ARRAYS.items(), sizes[1:], padded, strict=True):
        arrays[name] = whole[start : start + int(size)].view(kind)
        start += step
    return arrays
