"""Pieces of words as ids: byte pairs that are learned from the training side alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.tasks.writing.vocabulary import SPECIALS, before_end


class PieceVocabulary:
    """Byte pairs with the methods of `seqrl.tasks.writing.vocabulary.Vocabulary`; every text can be written, so that nothing is unknown.

    Args:
        texts: that the pairs are counted in.
        size: number of ids, the four special ones included; fewer where the texts have no more pairs.
        tokens: the tokenisation in which words are scored; they are put together to a text before it is cut into pieces.

    Raises:
        ValueError: when there is no text, or the size is below that of the bytes.

    Source: Sennrich et al. 2016 (Neural machine translation of rare words with subword units); over bytes: Radford et al. 2019 (Language
    models are unsupervised multitask learners); counted by the package tokenizers.
    """

    pad, begin, end, unknown = range(4)

    def __init__(self, texts: Iterable[str], size: int, *, tokens: str = "spaces") -> None:
        # Loaded here, since only those who want pieces need the package.
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        least = 256 + len(SPECIALS)
        if size < least:
            raise ValueError(f"data.pieces: expected 0 (a word list) or at least {least} (every byte), got {size}")
        self.tokenisation = tokenisation_by_name(tokens)
        self._tokenizer: Any = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIALS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        self._tokenizer.train_from_iterator(texts, trainer)
        # A text that spells a special token is text.
        self._tokenizer.encode_special_tokens = True

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give the ids of the words, joined to a text; no begin or end token is added."""
        return list(self._tokenizer.encode(self.tokenisation.join(words)).ids)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words up to the end token; special tokens leave nothing behind, and bytes that are no text a mark."""
        return self.tokenisation.split(self._tokenizer.decode(before_end(ids, self.end), skip_special_tokens=True))

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another piece."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()[:16]
