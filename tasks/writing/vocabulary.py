"""Words to token ids and back: a word list of our own, or the tokenizer of a `transformers` model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, Protocol

from seqrl.metrics.text_files import refuse_twice
from seqrl.metrics.tokenisations import Tokenisation, tokenisation_by_name

SPECIALS = ("<pad>", "<begin>", "<end>", "<unknown>")


class AnyVocabulary(Protocol):
    """What every vocabulary has, be its ids words or pieces of words.

    Attributes:
        tokenisation: in which words are scored.
        pad: token after the end.
        begin: token before the first one.
        end: token that ends a text.
        unknown: token of what has none of its own.
    """

    tokenisation: Tokenisation
    pad: int
    begin: int
    end: int
    unknown: int

    def __len__(self) -> int:
        """Number of ids."""

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give ids."""

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give words."""

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits."""


def before_end(ids: Iterable[int], end: int) -> list[int]:
    """Give the ids before the first end token; all where there is none."""
    return [int(index) for index in takewhile(lambda index: index != end, ids)]


def refuse_unscorable(place: str, text: str, words: Sequence[str], reserved: Sequence[str]) -> None:
    """Refuse a reference without a word, or with one that is written like a special token.

    Args:
        place: where it stands, for messages.
        text: as it was written.
        words: of it.
        reserved: names of special tokens; none where they are no words.

    Raises:
        ValueError: saying what to do.
    """
    if not words:
        why = "an empty reference cannot be scored, write one or leave it out"
        raise ValueError(f"{place} holds no word after tokenisation ({text[:60]!r}); {why}")
    if special := next((word for word in words if word in reserved), None):
        why = "a policy would be rewarded for writing it, so replace it by a word"
        raise ValueError(f"{place} holds {special}, the name of a token of the word list ({text[:60]!r}); {why}")


class Vocabulary:
    """A list of words; ids 0 to 3 are padding, begin, end and the unknown word.

    Args:
        words: distinct words, without the four special tokens; word i has the id 4 + i.
        tokens: the tokenisation that the words are of; see `seqrl.metrics.tokenisations`.

    Raises:
        ValueError: when there is no word, or one comes twice or is empty.
    """

    pad, begin, end, unknown = range(4)

    def __init__(self, words: Sequence[str], *, tokens: str = "ptb") -> None:
        self.tokenisation = tokenisation_by_name(tokens)
        if not words:
            raise ValueError("expected at least one word in the vocabulary, got none; lower min_count or check the captions")
        self.words = (*SPECIALS, *words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        refuse_twice(((word, f"place {place}") for place, word in enumerate(self.words)), "word of a vocabulary")
        if "" in self._ids:
            raise ValueError(f"expected words that are not empty, got none at place {self._ids['']}; leave it out")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1, *, tokens: str = "ptb") -> Vocabulary:
        """Collect the words of tokenised captions, the most frequent first, equal counts in alphabetical order.

        Args:
            captions: each a sequence of words.
            min_count: rarer words become the unknown word.
            tokens: the tokenisation that made the words.

        Raises:
            ValueError: when no word is that frequent.
        """
        if min_count < 1:
            raise ValueError(f"min_count: expected at least 1, got {min_count}")
        counts = Counter(word for caption in captions for word in caption if word not in SPECIALS)
        kept = [word for word, count in counts.items() if count >= min_count]
        if not kept:
            largest = max(counts.values(), default=0)
            raise ValueError(
                f"empty vocabulary: none of {len(counts)} words comes at least min_count = {min_count} times "
                f"(the most frequent: {largest}); lower min_count or check the captions"
            )
        return cls(sorted(kept, key=lambda word: (-counts[word], word)), tokens=tokens)

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Tell whether a word has an id of its own."""
        return word in self._ids

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give each word's id; no begin or end token is added, and a word that is written like one of them is unknown."""
        return [max(self._ids.get(word, self.unknown), self.unknown) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words of a caption, up to the end token: what a reward scores, an evaluation scores and a gallery shows.

        An unknown word counts, and so do padding and begin where a policy writes them: otherwise a captioner could put them
        anywhere without a loss.

        Raises:
            IndexError: when an id is not in the vocabulary.
        """
        return [self.words[index] for index in before_end(ids, self.end)]

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another word."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]


class TokenizerVocabulary:
    """The tokenizer of a `transformers` model with the methods of `Vocabulary`.

    Token ids are the tokenizer's; words come back through the metrics' own tokenisation. Where the tokenizer has no
    begin token its classification or end token serves, and where it has no padding its end token does.

    Args:
        name: model name or local folder, or the tokenizer itself.
        tokens: the tokenisation in which words are scored.

    Raises:
        ValueError: when it is damaged, or has no token that could end a caption.
        FileNotFoundError: when there is no such tokenizer.
    """

    def __init__(self, name: Any, *, tokens: str = "ptb") -> None:
        self.tokenisation = tokenisation_by_name(tokens)
        if isinstance(name, str):
            from seqrl.tasks.writing.pretrained.hub import load_tokenizer

            self.name, self.tokenizer = name, load_tokenizer(name, field="data.tokenizer")
        else:
            self.name, self.tokenizer = str(getattr(name, "name_or_path", "")), name

        def first(*kinds: str) -> Any:
            found = (getattr(self.tokenizer, f"{kind}_token_id") for kind in kinds)
            return next((index for index in found if index is not None), None)

        if first("eos", "sep") is None:
            raise ValueError(f"tokenizer {self.name}: expected an end (eos or sep) token, got none; choose another tokenizer")
        kinds = (("eos", "sep"), ("bos", "cls", "eos", "sep"), ("pad", "eos", "sep"), ("unk", "eos", "sep"))
        self.end, self.begin, self.pad, self.unknown = (int(first(*each)) for each in kinds)

    def __len__(self) -> int:
        """Number of ids, added tokens included."""
        return len(self.tokenizer)

    def encode(self, words: Sequence[str], *, after: str = "", gap: str = "") -> list[int]:
        """Give the ids of the words, joined to a text; no begin or end token is added.

        Args:
            words: of the text.
            after: what stands before it, such as a prompt: a tokenizer may write a word otherwise where a text goes on.
            gap: between the two.
        """
        text = self.tokenisation.join(words)
        before, whole = self._ids(after), self._ids(f"{after}{gap}{text}")
        return whole[len(before) :] if whole[: len(before)] == before else self._ids(text)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words of a caption, up to the end token: what is rewarded, evaluated and shown.

        The tokenizer leaves its special tokens out of a text, and so they count nowhere.
        """
        kept: list[int] = []
        for index in ids:
            # A tokenizer may begin a text with the token that ends it.
            if index == self.end and (kept or self.begin != self.end):
                break
            kept.append(int(index))
        return self.tokenisation.split(self.tokenizer.decode(kept, skip_special_tokens=True))

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another token."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self))))
        return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()[:16]


def any_vocabulary(given: Any, *, tokens: str) -> AnyVocabulary:
    """Make a vocabulary of a list of words, or of a tokenizer of `transformers` or its name; give one as it is.

    Args:
        given: any of them.
        tokens: the tokenisation in which words are scored.

    Raises:
        ValueError: for something else.
    """
    if all(hasattr(given, name) for name in ("tokenisation", "encode", "decode", "end")):
        return given  # type: ignore[no-any-return]
    if isinstance(given, str) or hasattr(given, "convert_ids_to_tokens"):
        return TokenizerVocabulary(given, tokens=tokens)
    if isinstance(given, Sequence) and all(isinstance(word, str) for word in given):
        return Vocabulary(given, tokens=tokens)
    raise ValueError(
        f"vocabulary: expected a list of words, or a tokenizer of transformers or its name, got a {type(given).__name__}; wrap one of the "
        "package tokenizers in transformers.PreTrainedTokenizerFast(tokenizer_object=...), with its special tokens named"
    )
