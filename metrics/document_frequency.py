"""In how many images' references each n-gram occurs: what CIDEr weighs n-grams with, as an object that is saved and checked."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.limits import brief, refuse_bomb
from seqrl.metrics.ngram_table import NgramTable
from seqrl.metrics.rows import END_WORD, WordNumbers, number_references, pack_references, require_list
from seqrl.metrics.text_files import parse_json

_FORMAT = "document-frequency-1"
_SETTINGS = {"num_images": int, "max_n": int, "tokenisation": str, "score_end": bool}


def require_several_items(num_items: int) -> None:
    """Refuse document frequencies over fewer than two images.

    Raises:
        ValueError: every n-gram would weigh log(1 / 1) = 0, so every score would be 0.
    """
    if num_items < 2:
        raise ValueError(
            f"document frequencies need at least 2 images, got {num_items}: with one image every n-gram weighs "
            "log(1/1) = 0 and every CIDEr score is 0. Take the frequencies from a corpus, for instance the training split: "
            "DocumentFrequency.from_references(training_references)"
        )


def inverse_document_frequency(num_images: int) -> NDArray[np.float64]:
    """Give log(num_images) - log(max(1, df)) for every df from 0 to num_images, [num_images + 1], nats."""
    return np.log(float(num_images)) - np.log(np.maximum(1.0, np.arange(num_images + 1, dtype=np.float64)))


@dataclass(frozen=True)
class DocumentFrequency:
    """Document frequencies of the n-grams of a corpus of references; only those of two and more are kept.

    The weight of an n-gram g is log(num_images) - log(max(1, df(g))), so that n-grams of one image need no entry.

    Args:
        keys: [M] int64 keys of the n-grams, see `seqrl.metrics.kernels`.
        counts: [M] int32 number of images whose references hold the n-gram, 2 or more.
        num_images: number of images in the corpus.
        max_n: longest n-gram counted, in words.
        tokenisation: name or fingerprint of what turned captions into words or ids, for instance "ptb" or a
            vocabulary's fingerprint.
        score_end: whether the end token was counted as a word.
        words: the words in the order of their numbers; None where the rows were token ids.
        end: id of the end token where rows were token ids.

    Source: Vedantam et al. 2015 (CIDEr), the inverse document frequency.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int32]
    num_images: int
    max_n: int = 4
    tokenisation: str = "ptb"
    score_end: bool = False
    words: tuple[str, ...] | None = None
    end: int | None = None

    @classmethod
    def from_references(
        cls,
        references: Sequence[Sequence[Any]],
        *,
        max_n: int = 4,
        tokenisation: str = "ptb",
        score_end: bool = False,
        end: int | None = None,
    ) -> DocumentFrequency:
        """Count the document frequencies of a corpus.

        Args:
            references: for each image its references: tokenised strings, lists of words, or rows of token ids.
            max_n: longest n-gram to count, in words.
            tokenisation: name or fingerprint of what made the words or ids.
            score_end: count the end of a sentence as a word.
            end: id of the end token, for rows of token ids only.

        Raises:
            ValueError: for fewer than two images, an image without references or an empty reference.
        """
        require_list(references, "the references", "lists of sentences")
        require_several_items(len(references))
        words: tuple[str, ...] | None = None
        if holds_words(references):
            numbers = WordNumbers({END_WORD: 0})
            references = number_references(references, numbers)
            words, end = tuple(numbers), 0
        if max_n < 1:
            raise ValueError(f"max_n must be at least 1, got {max_n}")
        table = NgramTable()
        table.count(pack_references(references, end=end, score_end=score_end), max_n, new=True)
        return cls(*table.frequent(), len(references), max_n, tokenisation, score_end, words, end)

    @property
    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that change with the settings and with any count."""
        digest = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        ngrams = _spelled_out(self.keys, self.max_n)
        if self.words is not None:  # the numbers of words depend on the order of the captions; their place in the dictionary does not
            ngrams = np.where(ngrams >= 0, np.argsort(np.argsort(self.words))[ngrams], -1)
            digest.update("\n".join(sorted(self.words)).encode())
        order = np.lexsort(ngrams.T)
        digest.update(ngrams[order].astype("<i8").tobytes() + self.counts[order].astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def _header(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in (*_SETTINGS, "end")}
        return {"format": _FORMAT, "words": self.words is not None, **settings}

    def require(self, *, max_n: int, tokenisation: str | None, score_end: bool, words: bool, end: int | None = None) -> None:
        """Refuse to weigh n-grams that were made in another way than those of the corpus.

        Raises:
            ValueError: naming the setting that differs, with both values.
        """
        have = self._header()
        wanted = {"max_n": max_n, "tokenisation": tokenisation, "score_end": score_end, "words": words}
        if score_end and not words:
            wanted["end"] = end
        for name, value in wanted.items():
            if value is not None and have[name] != value:
                raise ValueError(
                    f"the document frequencies do not fit these references: {name} is {have[name]!r} in the frequencies "
                    f"and {value!r} here. Count them again with the same settings: DocumentFrequency.from_references(...)"
                )

    def save(self, path: str | Path) -> None:
        """Write the frequencies to one `.npz` file that holds plain arrays only."""
        header = np.frombuffer(json.dumps(self._header()).encode(), np.uint8)
        words = np.frombuffer(json.dumps(list(self.words or ())).encode(), np.uint8)
        with Path(path).open("wb") as file:
            np.savez_compressed(file, header=header, words=words, keys=self.keys, counts=self.counts)

    @classmethod
    def load(cls, path: str | Path) -> DocumentFrequency:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: where the file is not one of document frequencies.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no document frequencies at {path}: write them with DocumentFrequency.save")
        try:
            with zipfile.ZipFile(path) as packed:
                refuse_bomb(str(path), Path(path).stat().st_size, sum(member.file_size for member in packed.infolist()))
            with np.load(path, allow_pickle=False) as arrays:
                header = parse_json(arrays["header"].tobytes().decode())
                words = parse_json(arrays["words"].tobytes().decode())
                keys, counts = arrays["keys"].astype(np.int64), arrays["counts"].astype(np.int32)
        except (KeyError, ValueError, OSError, MemoryError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} does not hold document frequencies as DocumentFrequency.save writes them: {error}") from error
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            form = header.get("format") if isinstance(header, dict) else header
            raise ValueError(f"{path} holds format {brief(form)}; expected {_FORMAT!r}: count the frequencies again")
        try:
            settings: dict[str, Any] = {name: kind(header[name]) for name, kind in _SETTINGS.items()}
            return cls(keys, counts, **settings, words=tuple(words) if header["words"] else None, end=header["end"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: expected a header as DocumentFrequency.save writes it, got {brief(header)} ({error!r})") from error


def _spelled_out(keys: NDArray[np.int64], max_n: int) -> NDArray[np.int64]:
    """Give each n-gram's tokens from the last to the first, [M, max_n], -1 beyond its length."""
    tokens = np.full((len(keys), max_n), -1, np.int64)
    number = np.arange(len(keys))
    for column in range(max_n):
        held = number >= 0
        tokens[held, column] = keys[number[held]] & 0xFFFFFFFF
        number[held] = (keys[number[held]] >> 32) - 1
    return tokens


def holds_words(references: Sequence[Sequence[Any]]) -> bool:
    """Say whether references are strings or lists of words (True) or rows of token ids (False), by their first row."""
    sentences = (sentence for sentences in references for sentence in sentences)
    first: Any = next((sentence for sentence in sentences if isinstance(sentence, str) or len(sentence)), ())
    return isinstance(first, str) or (len(first) > 0 and isinstance(first[0], str))
