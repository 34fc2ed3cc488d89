"""Similarity of embeddings: how near a sentence is in meaning to the nearest of its references, as a model sees it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.item_texts import mean_of_scores, score_prepared, text_of
from seqrl.metrics.text_scores import References, Sentence, check_items, checked_references

_KEPT_SENTENCES = 50_000


class Encoder(Protocol):
    """Gives sentences vectors of length 1."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give a vector for each text, [N, dimensions]."""


@dataclass(frozen=True)
class EmbeddingSimilarity:
    """Cosine of the embeddings of a sentence and of the reference that is nearest to it, range -1 to 1; an empty sentence scores 0.

    score = max_j <e(c), e(s_j)> / (|e(c)| |e(s_j)|), with e the mean of a model's last hidden states over the tokens, or what the pooling
    of a sentence-transformers model is.

    Args:
        model: folder or hub name of any encoder of transformers or sentence-transformers with safetensors, or "all-minilm-l6-v2", which
            `pip install 'seqrl[embeddings]'` brings along. No code that comes with a model is run.
        batch_size: sentences that the model encodes at a time.
        device: of the model, for instance "cpu" or "cuda".

    Raises:
        ValueError: for a model that cannot be used, an item without references, an empty reference or lists of different lengths.
        ModuleNotFoundError: when the packaged model is not installed.

    Source: Reimers & Gurevych 2019 (Sentence-BERT: sentence embeddings using Siamese BERT-networks), the cosine of mean-pooled states.
    """

    model: str = "all-minilm-l6-v2"
    batch_size: int = 64
    device: str = "cpu"
    bound: ClassVar[float] = 1.0
    least: ClassVar[float] = -1.0
    reads_raw_text: ClassVar[bool] = True

    @property
    def described(self) -> tuple[str, dict[str, Any]]:
        """Name and settings for a signature, see `seqrl.metrics.signature`."""
        return "embedding-similarity", {"model": self.model.rstrip("/").rsplit("/", 1)[-1]}

    score = score_prepared
    corpus = mean_of_scores

    def prepare_words(self, references: Sequence[Sequence[Sequence[str]]]) -> PreparedEmbeddings:
        """Encode references once; the result scores batches."""
        checked_references(references)
        return PreparedEmbeddings(self.encoder, references)

    @property
    def encoder(self) -> KeptEmbeddings:
        """The model, loaded when it is first used, once a process."""
        return _encoder(self.model, self.batch_size, self.device)


class PreparedEmbeddings:
    """Encoded references.

    Args:
        encoder: gives vectors of length 1.
        references: for each item its sentences.
    """

    def __init__(self, encoder: Encoder, references: References) -> None:
        texts = [[text_of(sentence) for sentence in sentences] for sentences in references]
        places = {text: place for place, text in enumerate(dict.fromkeys(text for rows in texts for text in rows))}
        self.encoder, self.vectors = encoder, encoder.encode(list(places))
        self.items = [np.array([places[text] for text in rows], np.int64) for rows in texts]

    def score(self, hypotheses: Sequence[Sentence], items: Sequence[int]) -> NDArray[np.float64]:
        """Score each hypothesis against the references of its item, [N] float64."""
        check_items(hypotheses, items, len(self.items))
        texts = [text_of(sentence) for sentence in hypotheses]
        filled = [text for text in texts if text.strip()]
        found = dict(zip(filled, self.encoder.encode(filled), strict=True))
        scores = [
            float((self.vectors[self.items[item]] @ found[text]).max()) if text in found else 0.0
            for text, item in zip(texts, items, strict=True)
        ]
        return np.clip(np.array(scores, np.float64), -1.0, 1.0)


class KeptEmbeddings:
    """An encoder that keeps the embeddings of the sentences that it met last; several threads may share it.

    Args:
        encoder: gives vectors of length 1.
        kept: most embeddings that are kept.
    """

    def __init__(self, encoder: Encoder, *, kept: int = _KEPT_SENTENCES) -> None:
        self.encoder, self.kept = encoder, kept
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give a vector for each text, [N, dimensions]."""
        if not texts:
            return np.zeros((0, 1), np.float32)
        with self._lock:
            distinct = list(dict.fromkeys(texts))
            new = [text for text in distinct if text not in self._cache]
            found = {text: self._cache[text] for text in distinct if text in self._cache}
            if new:
                found.update(zip(new, self.encoder.encode(new), strict=True))
            for text in distinct[-self.kept :] if self.kept else []:
                self._cache[text] = found[text]
                self._cache.move_to_end(text)
            while len(self._cache) > self.kept:
                self._cache.popitem(last=False)
        return np.stack([found[text] for text in texts])


# Evaluations make their metrics anew each time, and a model takes longer to load than a thousand sentences to encode.
@lru_cache(maxsize=2)
def _encoder(model: str, batch_size: int, device: str) -> KeptEmbeddings:
    from seqrl.metrics.sentence_encoder import SentenceEncoder  # loaded here: it needs torch and transformers

    return KeptEmbeddings(SentenceEncoder(model, batch_size=batch_size, device=device))
