"""What a sampled caption earns: a weighted mix of metrics on token ids or words, or a function of one's own on strings."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property, wraps
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seqrl.metrics.by_name import reads_document_frequency
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.mix import MetricMix
from seqrl.metrics.rows import END_WORD, WordNumbers, number_references, pad_rows
from seqrl.tasks.writing.reward_config import RewardConfig as RewardConfig
from seqrl.tasks.writing.reward_function import RewardFunction, call_function, import_function
from seqrl.tasks.writing.reward_workers import RewardWorkers
from seqrl.tasks.writing.vocabulary import AnyVocabulary


class References(Protocol):
    """What a reward reads of a split: its references as they were written and as words, and what an item is called in a message."""

    @property
    def references(self) -> Sequence[Sequence[str]]:
        """Texts of each item."""

    @property
    def words(self) -> Sequence[Sequence[Sequence[str]]]:
        """Their words."""

    def describe(self, index: int) -> str:
        """Name an item."""


class TextReward:
    """Scores texts about training items: captions of images, replies to prompts.

    Args:
        config: see `RewardConfig`.
        split: the items' references.
        vocabulary: what the token ids stand for.
        function: a function of one's own; overrides the configured metrics.

    Raises:
        ValueError: when nothing is rewarded, a metric or function is unknown, or frequencies were made differently.
    """

    def __init__(
        self,
        config: RewardConfig,
        split: References,
        vocabulary: AnyVocabulary,
        *,
        function: RewardFunction | None = None,
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self.references = split.references
        self.prompts: Sequence[str] | None = getattr(split, "prompts", None)
        self._describe = split.describe
        self.seconds = 0.0
        self._function = function or (import_function(config.function) if config.function else None)
        if function is not None and config.workers:
            raise ValueError(
                "reward.workers: expected a function by its name, task.reward.function=module:name, got an object; set workers=0"
            )
        self._lock = threading.Lock()
        self._workers = RewardWorkers(config.function, config.workers, config.timeout_s) if config.workers else None
        # A word list's ids are the numbers themselves; a tokenizer's pieces are first put together to words.
        known = getattr(vocabulary, "words", None)
        self._by_words = known is None
        self._numbers = WordNumbers({} if known is None else {word: number for number, word in enumerate(known)})
        self._end = self._numbers[END_WORD] if self._by_words else vocabulary.end
        self._mix = None if self._function is not None else self._make_mix(split)

    def _make_mix(self, split: References) -> MetricMix:
        file = self.config.document_frequency
        try:
            return MetricMix(
                {name: weight for name, weight in self.config.metrics.items() if weight},
                number_references(split.words, self._numbers),
                document_frequency=DocumentFrequency.load(file) if file else None,
                end=self._end,
                score_end=self.config.score_end,
                tokenisation=self.vocabulary.tokenisation.name if self._by_words else f"vocabulary {self.vocabulary.fingerprint()}",
                numbers=self._numbers,
                settings=self.config.settings,
            )
        except ValueError as error:
            where = f"reward.document_frequency {file}" if file else "reward.metrics"
            remedy = "; leave it empty to count over the training split" if file else ""
            raise ValueError(f"{where}: {error}{remedy}") from error

    def paid(self, tokens: Tensor, lengths: Tensor, items: Tensor) -> Tensor:
        """Give what `Sampled.rewarded` pays out: scores [B], with `per_token` those of all beginnings [B, T+1]; arguments as in `score`."""
        return (self.prefix_scores if self.config.per_token else self.score)(tokens, lengths, items)

    def prefix_scores(self, tokens: Tensor, lengths: Tensor, items: Tensor) -> Tensor:
        """Score the first t tokens of each caption in column t, [B, T+1]; 0 in column 0, and the whole caption behind its end.

        Arguments and errors are those of `score`.
        """
        B, T = tokens.shape
        lengths = lengths.to(tokens.device)
        column = torch.arange(T + 1, device=tokens.device).expand(B, T + 1)
        row, length = ((column > 0) & (column <= lengths.unsqueeze(1))).nonzero(as_tuple=True)
        found = torch.zeros(B, T + 1, device=tokens.device)
        found[row, length] = self.score(tokens[row], length, items.to(row.device)[row])
        return found.gather(1, torch.minimum(column, lengths.unsqueeze(1)))

    def score(self, tokens: Tensor, lengths: Tensor, items: Tensor) -> Tensor:
        """Score captions.

        Args:
            tokens: [B, T] long.
            lengths: [B] long, tokens of each caption, its end token included.
            items: [B] long, the training item of each.

        Returns:
            [B] float32, on the tokens' device.

        Raises:
            ValueError: when a function of one's own gives a wrong number of scores, or a score is not finite in float32.
            RewardFailed: when one raises in a process of `workers`, or that process ends.
            TimeoutError: when it does not answer.
        """
        start = time.perf_counter()
        hypotheses, sizes, images = tokens.cpu().numpy(), lengths.cpu().numpy(), items.cpu().numpy()
        if self._mix is None:
            scores = self._call(hypotheses, sizes, images)
        else:
            if self._by_words:
                rows = [self._word_numbers(row[:size]) for row, size in zip(hypotheses, sizes, strict=True)]
                padded = pad_rows(rows, images.tolist())
                hypotheses, sizes = padded.tokens, padded.lengths
            scores = self._mix.score(hypotheses, sizes, images)
        if self.config.variety:
            scores = scores + self.config.variety * (1 - opening_shares(tokens.cpu().numpy()))
        self.seconds += time.perf_counter() - start
        return torch.as_tensor(self._rounded(scores, tokens, lengths, images), device=tokens.device)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each metric that is rewarded; empty where a function of one's own is."""
        return {} if self._mix is None else self._mix.weights

    @property
    def function_name(self) -> str:
        """Name of the function of one's own."""
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return self.config.function or f"{getattr(self._function, '__module__', '')}:{name}"

    @property
    def has_function(self) -> bool:
        """Whether a function of one's own is rewarded."""
        return self._function is not None

    @cached_property
    def frequency(self) -> DocumentFrequency | None:
        """The document frequencies, which end token and tokenisation are part of; None where no CIDEr is rewarded."""
        if self._mix is None or not any(map(reads_document_frequency, self._mix.weights)):
            return None
        return self._mix.index.document_frequency()

    def fingerprint(self) -> str | None:
        """Name the document frequencies; None where no CIDEr is rewarded."""
        return None if self.frequency is None else self.frequency.fingerprint

    def _word_numbers(self, row: np.ndarray) -> list[int]:
        finished = bool((row == self.vocabulary.end).any())
        return [*(self._numbers[word] for word in self.vocabulary.decode(row.tolist())), *([self._end] if finished else [])]

    def _text(self, ids: list[int]) -> str:
        return self.vocabulary.tokenisation.join(self.vocabulary.decode(ids))

    def _call(self, hypotheses: np.ndarray, sizes: np.ndarray, images: np.ndarray) -> np.ndarray:
        captions = [self._text(row[:size].tolist()) for row, size in zip(hypotheses, sizes, strict=True)]
        prompts = None if self.prompts is None else [self.prompts[image] for image in images]
        return self.score_texts(captions, [self.references[image] for image in images], prompts)

    def score_texts(self, captions: Sequence[str], references: Sequence[Sequence[str]], prompts: Sequence[str] | None = None) -> np.ndarray:
        """Call the function of one's own with captions and their references as they were written, [B] float64; for evaluations, too.

        Raises:
            What `score` raises for such a function.
        """
        assert self._function is not None
        if self._workers is not None:
            return self._workers.score(captions, references, prompts)
        name, timeout_s = self.config.function, self.config.timeout_s
        return call_function(self._locked(self._function), captions, references, prompts, name=name, timeout_s=timeout_s)

    def _locked(self, function: RewardFunction) -> RewardFunction:
        @wraps(function)
        def call(*columns: Any) -> Sequence[float]:
            with self._lock:  # with `ahead`, an evaluation may want it while a batch is being scored
                return function(*columns)

        return call

    def _rounded(self, scores: np.ndarray, tokens: Tensor, lengths: Tensor, images: np.ndarray) -> np.ndarray:
        """Give scores in the number format that trainers use, where each is finite."""
        with np.errstate(over="ignore"):
            rounded = scores.astype(np.float32)
        finite = np.isfinite(rounded)
        if not finite.all():
            worst = int(np.argmin(finite))
            source = "the reward function" if self._mix is None else "the metrics of task.reward"
            caption = self._text(tokens[worst, : int(lengths[worst])].tolist())
            raise ValueError(
                f"{source} gave {scores[worst]:g} for sample {worst}, {caption!r}, of "
                f"{self._describe(int(images[worst]))}; expected a finite number, at most {np.finfo(np.float32).max:.2g}"
            )
        return rounded


CaptionReward = TextReward  # its name among the public ones of captioning


def opening_shares(tokens: np.ndarray) -> np.ndarray:
    """Give for each row of tokens [B, T] the share of the rows that begin with its first token, [B]."""
    _, inverse, counts = np.unique(tokens[:, 0], return_inverse=True, return_counts=True)
    return counts[inverse] / len(tokens)
