"""Turn sentences (strings, lists of words, rows of token ids) into the flat integer arrays that the compiled loops read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

END_WORD = "</s>"  # stands for the end of a sentence where it is scored as a word
_LARGEST_TOKEN = 2**31 - 1


class WordNumbers(dict[str, int]):
    """A dict of words to numbers that gives each new word the next number when it is looked up."""

    def __missing__(self, word: str) -> int:
        """Number a word that was not seen before."""
        self[word] = number = len(self)
        return number


class ReferenceRows(NamedTuple):
    """The references of every item, end to end.

    Args:
        tokens: [total] int32 token ids of all rows.
        row_starts: [rows + 1] int64; row r is tokens[row_starts[r]:row_starts[r + 1]].
        item_rows: [items + 1] int64; item i has the rows item_rows[i] to item_rows[i + 1] - 1.
    """

    tokens: NDArray[np.int32]
    row_starts: NDArray[np.int64]
    item_rows: NDArray[np.int64]

    @property
    def num_items(self) -> int:
        """Count the items (images)."""
        return len(self.item_rows) - 1


class HypothesisRows(NamedTuple):
    """Hypotheses as padded rows: tokens [N, T] int64, lengths [N] int64, items [N] int64 (whose references to use)."""

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int64]


def split_words(sentence: str | Sequence[str]) -> list[str]:
    """Give the words of a tokenised sentence: a string is split at white space, a list is taken as it is.

    Raises:
        ValueError: for what is no sentence, such as None, a mapping or bytes, or a list with anything but strings in it.
    """
    if isinstance(sentence, str):
        return sentence.split()
    if not isinstance(sentence, list | tuple):
        _require_words(sentence)
    words = list(sentence)
    try:
        "".join(words)  # the fastest look at all of them
    except TypeError:
        wrong: Any = next(word for word in words if not isinstance(word, str))
        nested = "; there is one list too many around it" if isinstance(wrong, list | tuple) else "; words are strings"
        raise ValueError(f"expected a sentence, text or a list of words, but where a word stands got {_shown(wrong)}{nested}") from None
    return words


def _require_words(given: Any) -> None:
    expected = "expected a sentence, text or a list of words, got"
    if isinstance(given, bytes | bytearray):
        raise ValueError(f"{expected} bytes {bytes(given[:20])!r}; decode them first")
    if isinstance(given, Iterable) and not _is_list(given):
        raise ValueError(f"{expected} a {type(given).__name__}; give its words as a list")
    if not isinstance(given, Iterable):
        raise ValueError(f"{expected} {type(given).__name__} {str(given)[:20]!r}; an empty one is ''")


def require_list(given: Any, what: str, of: str = "sentences") -> None:
    """Refuse what is no list in an order: a mapping would be scored by its keys, and of an iterator nothing is left after a first look.

    Args:
        given: lists, tuples, arrays and their like pass.
        what: names it in the message, for instance "the hypotheses".
        of: what it is a list of.

    Raises:
        ValueError: says what came, and what to give.
    """
    if isinstance(given, list | tuple):
        return
    if isinstance(given, str):
        raise ValueError(f"{what} are one string; expected a list of {of}: wrap it in a list")
    if _is_list(given):
        return
    kind = type(given).__name__
    if isinstance(given, Mapping):
        got = f"a {kind}, whose keys would be scored; give its values as a list, in the order of what they belong to"
    elif isinstance(given, Set):
        got = f"a {kind}, which has no order; give a list"
    elif isinstance(given, bytes | bytearray):
        got = "bytes; decode them, and wrap the text in a list"
    elif isinstance(given, Iterable):
        got = f"a {kind}; make a list of it with list()"
    else:
        got = f"{_shown(given)}; give a list, which may hold empty texts where there is none"
    raise ValueError(f"{what}: expected a list of {of}, got {got}")


def require_pairs(hypotheses: Any, references: Any) -> None:
    """Refuse hypotheses and references that are no lists of the same length.

    Raises:
        ValueError: as `require_list`, or saying both lengths.
    """
    require_list(hypotheses, "the hypotheses")
    require_list(references, "the references", "lists of sentences")
    if len(hypotheses) != len(references):
        raise ValueError(f"expected one list of references a hypothesis; got {len(hypotheses)} hypotheses and {len(references)} lists")


def _is_list(given: Any) -> bool:
    if isinstance(given, Mapping | Set | bytes | bytearray) or not hasattr(given, "__getitem__"):
        return False
    try:
        len(given)
    except TypeError:  # an array without dimensions
        return False
    return True


def _shown(given: Any) -> str:
    return "None" if given is None else f"the {type(given).__name__} {str(given)[:20]}"


def starts_of(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Give where each of some rows begins that stand end to end, and where the last ends, [N + 1]."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def end_to_end(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lay rows of numbers end to end; gives them and where each begins."""
    starts = starts_of([len(row) for row in rows])
    return np.fromiter(chain.from_iterable(rows), np.int32, int(starts[-1])), starts


def pack_references(references: Sequence[Sequence[Sequence[int]]], *, end: int | None = None, score_end: bool = False) -> ReferenceRows:
    """Lay the references of all items end to end.

    Args:
        references: for each item its references, each a row of token ids without begin, end or padding.
        end: id of the end token; where given, no reference may hold it.
        score_end: append the end token to every reference, so that it is scored as a word.

    Raises:
        ValueError: for an item without references, an empty reference, an id below 0 or above 2**31 - 1, or `end` in a row.
    """
    if score_end and end is None:
        raise ValueError("score_end=True needs the id of the end token: pass end=...")
    require_list(references, "the references", "lists of rows")
    for item, rows in enumerate(references):
        require_list(rows, f"the references of item {item}", "rows")
    item_rows = starts_of([len(rows) for rows in references])
    if 0 in np.diff(item_rows):
        item = int(np.argmin(np.diff(item_rows)))
        raise ValueError(f"item {item} has no references: give it at least one, or leave the item out")
    rows = list(chain.from_iterable(references))
    row_lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    row_starts = starts_of(row_lengths)
    total = int(row_starts[-1])
    if (row_lengths == 0).any():
        row = int(np.argmin(row_lengths))
        item = int(np.searchsorted(item_rows, row, side="right")) - 1
        raise ValueError(
            f"reference {row - item_rows[item]} of item {item} is empty: no score is defined against it, so remove the reference"
        )
    first: object = rows[0] if rows else None
    if isinstance(first, np.ndarray):
        wide = np.concatenate(rows).astype(np.int64)
    else:
        wide = np.fromiter(chain.from_iterable(rows), np.int64, total)
    if total and (wide.min() < 0 or wide.max() > _LARGEST_TOKEN):
        raise ValueError(f"token ids of references must lie in 0..{_LARGEST_TOKEN}; found {wide.min()}..{wide.max()}")
    if end is not None and (wide == end).any():
        row = int(np.searchsorted(row_starts, int(np.argmax(wide == end)), side="right")) - 1
        raise ValueError(f"reference row {row} holds the end token {end}: pass references without it (score_end=True appends it)")
    tokens = wide.astype(np.int32)
    if score_end and end is not None:
        tokens = np.insert(tokens, row_starts[1:], end)
        row_starts = row_starts + np.arange(len(row_starts))
    return ReferenceRows(tokens, row_starts, item_rows)


def number_references(references: Sequence[str | Sequence[str | Sequence[str]]], numbers: WordNumbers) -> list[list[list[int]]]:
    """Turn references of words into rows of numbers, numbering new words on the way.

    Raises:
        ValueError: where there is no list of lists of sentences.
    """
    require_list(references, "the references", "lists of sentences")
    look_up = numbers.__getitem__
    numbered = []
    for item, sentences in enumerate(references):
        require_list(sentences, f"the references of item {item}")
        numbered.append([list(map(look_up, split_words(sentence))) for sentence in sentences])
    return numbered


def pad_rows(rows: Sequence[Sequence[int]], items: Iterable[int]) -> HypothesisRows:
    """Pad rows of token ids to one width; padding is never read, as the lengths say where each row stops."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.zeros((len(rows), int(lengths.max(initial=0))), np.int64)
    for row, values in enumerate(rows):
        tokens[row, : len(values)] = values
    return HypothesisRows(tokens, lengths, np.fromiter(items, np.int64, len(rows)))
