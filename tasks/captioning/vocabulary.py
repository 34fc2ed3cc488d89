"""Words to token ids and back: a word list of our own, or the tokenizer of a `transformers` model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seqrl.metrics.tokenize import ptb_tokenize

_SPECIALS = ("<pad>", "<begin>", "<end>", "<unknown>")


class Vocabulary:
    """A list of words; ids 0 to 3 are padding, begin, end and the unknown word.

    Args:
        words: distinct words, without the four special tokens; word i has the id 4 + i.

    Raises:
        ValueError: when there is no word, or one comes twice or is empty.
    """

    pad = 0
    begin = 1
    end = 2
    unknown = 3

    def __init__(self, words: Sequence[str]) -> None:
        if not words:
            raise ValueError("expected at least one word in the vocabulary, got none; lower min_count or check the captions")
        self.words = (*_SPECIALS, *words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words) or "" in self._ids:
            twice = [repr(word) for word, count in Counter(self.words).items() if count > 1 or not word]
            raise ValueError(f"expected distinct words that are not empty, got {', '.join(twice[:5])} twice or empty")

    @classmethod
    def build(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Collect the words of tokenised captions, the most frequent first, equal counts in alphabetical order.

        Args:
            captions: each a sequence of words.
            min_count: rarer words become the unknown word.

        Raises:
            ValueError: when no word is that frequent.
        """
        if min_count < 1:
            raise ValueError(f"min_count: expected at least 1, got {min_count}")
        counts = Counter(word for caption in captions for word in caption if word not in _SPECIALS)
        kept = [word for word, count in counts.items() if count >= min_count]
        if not kept:
            largest = max(counts.values(), default=0)
            raise ValueError(
                f"empty vocabulary: none of {len(counts)} words comes at least min_count = {min_count} times "
                f"(the most frequent: {largest}); lower min_count or check the captions"
            )
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Tell whether a word has an id of its own."""
        return word in self._ids

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give each word's id; no begin or end token is added."""
        return [self._ids.get(word, self.unknown) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words up to the end token, special tokens left out.

        Raises:
            IndexError: when an id is not in the vocabulary.
        """
        words = []
        for index in ids:
            if index == self.end:
                break
            if index > self.unknown:
                words.append(self.words[index])
        return words

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another word."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Write as JSON text."""
        return json.dumps({"type": "words", "words": self.words[len(_SPECIALS) :]}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read what `to_json` wrote.

        Raises:
            ValueError: when the text is something else.
        """
        return cls(_fields(text, "words")["words"])


class TokenizerVocabulary:
    """The tokenizer of a `transformers` model with the methods of `Vocabulary`.

    Token ids are the tokenizer's; words come back through the metrics' own tokenisation. Where the tokenizer has no
    begin token its classification or end token serves, and where it has no padding its end token does.

    Args:
        name: model name or local folder.

    Raises:
        ValueError: when the tokenizer has no token that could end a caption.
        OSError: when there is no such tokenizer.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        self.name = name
        self.tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)

        def first(*kinds: str) -> int | None:
            found = (getattr(self.tokenizer, f"{kind}_token_id") for kind in kinds)
            return next((index for index in found if index is not None), None)

        end = first("eos", "sep")
        if end is None:
            raise ValueError(f"tokenizer {name}: expected an end (eos or sep) token, got none; choose another tokenizer")
        begin, pad, unknown = first("bos", "cls"), first("pad"), first("unk")
        self.end = end
        self.begin = end if begin is None else begin
        self.pad = end if pad is None else pad
        self.unknown = end if unknown is None else unknown

    def __len__(self) -> int:
        """Number of ids, added tokens included."""
        return len(self.tokenizer)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give the ids of the words, joined by spaces; no begin or end token is added."""
        return list(self.tokenizer(" ".join(words), add_special_tokens=False)["input_ids"])

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words up to the end token, special tokens left out."""
        kept: list[int] = []
        for index in ids:
            # A tokenizer may begin a text with the token that ends it.
            if index == self.end and (kept or self.begin != self.end):
                break
            kept.append(int(index))
        return ptb_tokenize(self.tokenizer.decode(kept, skip_special_tokens=True))

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another token."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self))))
        return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Write as JSON text; the tokenizer is named, not copied."""
        return json.dumps({"type": "tokenizer", "name": self.name, "fingerprint": self.fingerprint()})

    @classmethod
    def from_json(cls, text: str) -> TokenizerVocabulary:
        """Read what `to_json` wrote.

        Raises:
            ValueError: when the text is something else, or the tokenizer of that name has changed since.
        """
        fields = _fields(text, "tokenizer")
        vocabulary = cls(fields["name"])
        if vocabulary.fingerprint() != fields["fingerprint"]:
            raise ValueError(
                f"tokenizer {fields['name']}: expected the fingerprint {fields['fingerprint']}, got {vocabulary.fingerprint()}; "
                "it is not the one that was saved"
            )
        return vocabulary


def read_vocabulary(path: Path) -> Vocabulary | TokenizerVocabulary:
    """Read either kind of vocabulary from a file of `to_json`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds something else.
    """
    text = path.read_text(encoding="utf-8")
    if _fields(text, "words", "tokenizer")["type"] == "words":
        return Vocabulary.from_json(text)
    return TokenizerVocabulary.from_json(text)


def _fields(text: str, *kinds: str) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict) or fields.get("type") not in kinds:
        raise ValueError(f'expected vocabulary JSON with "type" {" or ".join(kinds)}, got {text[:60]!r}')
    return fields
