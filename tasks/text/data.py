"""Pairs of texts as ids: a vocabulary of the training side, prompts as padded rows, references as words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.tasks.text.pairs import Pairs
from seqrl.tasks.text.pieces import PieceVocabulary
from seqrl.tasks.writing.vocabulary import SPECIALS, AnyVocabulary, Vocabulary, refuse_unscorable


class TextSplit:
    """One part of a data set: pairs of texts, and their ids.

    Args:
        name: "train", "dev" or "test".
        pairs: the texts.
        vocabulary: gives ids.
        max_prompt_tokens: longer prompts lose their beginning, since what was said last matters most; 0 for no limit.

    Attributes:
        words: of each item's references.
        tokens: [N, S] long, prompts with an end token, then padding.
        mask: [N, S] bool, what is no padding.
        messages: the prompts as lists of messages, where they were given as such; else None.

    Raises:
        ValueError: when a reference has no word, or names a special token of a word list.
    """

    def __init__(self, name: str, pairs: Pairs, vocabulary: AnyVocabulary, max_prompt_tokens: int) -> None:
        self.name, self.pairs = name, pairs
        self.prompts, self.references, self.columns, self.messages = pairs.prompts, pairs.references, pairs.columns, pairs.messages or None
        split, reserved = vocabulary.tokenisation.split, SPECIALS if isinstance(vocabulary, Vocabulary) else ()
        self.words = [[split(text) for text in texts] for texts in pairs.references]
        for index, texts in enumerate(pairs.references):
            for text, words in zip(texts, self.words[index], strict=True):
                refuse_unscorable(f"{pairs.place(index)}: a reference", text, words, reserved)
        self.tokens, self.mask = prompt_rows(pairs.prompts, vocabulary, max_prompt_tokens)

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.pairs)

    def describe(self, index: int) -> str:
        """Name an item in a message."""
        return f"the prompt {self.pairs.prompts[index][:60]!r}"

    def rows(self, index: Tensor | slice) -> dict[str, Tensor]:
        """Give prompts as a policy reads them."""
        return {"tokens": self.tokens[index], "mask": self.mask[index]}


def make_vocabulary(pairs: Pairs, *, tokens: str, min_count: int, pieces: int) -> AnyVocabulary:
    """Make the vocabulary of both sides of pairs; one list serves both, so that a name is the same in a prompt and in a reply.

    Args:
        pairs: the training ones alone.
        tokens: what a word is.
        min_count: rarer words become the unknown word.
        pieces: number of byte pairs to learn instead; 0 for a word list.

    Raises:
        ValueError: when there is no word, or a reference holds the name of a special token.
    """
    texts = chain(pairs.prompts, chain.from_iterable(pairs.references))
    if pieces:
        return PieceVocabulary(texts, pieces, tokens=tokens)
    split = tokenisation_by_name(tokens).split
    return Vocabulary.build(map(split, texts), min_count, tokens=tokens)


def prompt_rows(prompts: Sequence[str], vocabulary: AnyVocabulary, max_prompt_tokens: int) -> tuple[Tensor, Tensor]:
    """Give prompts as ids, then padding, [N, S] long, and what is no padding, [N, S] bool; arguments as in `TextSplit`.

    Each has an end token, unless the vocabulary has rules of its own for what is read (`encode_prompt`).
    """
    own_rules = getattr(vocabulary, "encode_prompt", None)
    if own_rules is not None:
        rows = [own_rules(prompt, max_prompt_tokens) for prompt in prompts]
    else:
        split = vocabulary.tokenisation.split
        rows = [vocabulary.encode(split(prompt)) for prompt in prompts]
        rows = [[*(row[-(max_prompt_tokens - 1) :] if max_prompt_tokens > 1 else row), vocabulary.end] for row in rows]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    width = int(lengths.max()) if rows else 1
    tokens = torch.tensor([row + [vocabulary.pad] * (width - len(row)) for row in rows], dtype=torch.long).view(len(rows), width)
    return tokens, torch.arange(width) < lengths.unsqueeze(1)
