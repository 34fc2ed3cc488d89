"""What a sampled caption earns: a weighted mix of metrics on token ids or words, or a function of one's own on strings."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seqrl.metrics.by_name import reads_document_frequency
from seqrl.metrics.document_frequency import DocumentFrequency
from seqrl.metrics.mix import MetricMix
from seqrl.metrics.rows import END_WORD, WordNumbers, number_references, pad_rows
from seqrl.tasks.writing.asked import Asked
from seqrl.tasks.writing.own_rewards import OwnRewards, RewardLike, named_functions
from seqrl.tasks.writing.reward_config import RewardConfig as RewardConfig
from seqrl.tasks.writing.reward_config import imported
from seqrl.tasks.writing.trl_form import Notes, TrainerState
from seqrl.tasks.writing.vocabulary import AnyVocabulary

_LOG = logging.getLogger(__name__)


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
        function: a function of one's own, a list of them, or weights by function, which override what is configured; names change nothing.

    Attributes:
        own: functions of one's own that are rewarded; None where metrics are.
        weights: of each metric that is rewarded; empty where functions are.

    Raises:
        ValueError: when nothing is rewarded, a metric or function is unknown, or frequencies were made differently.
    """

    def __init__(self, config: RewardConfig, split: References, vocabulary: AnyVocabulary, *, function: RewardLike = None) -> None:
        self.config, self.vocabulary, self.references, self._split = config, vocabulary, split.references, split
        self.seconds, self.batches = 0.0, 0
        self._notes, self._metrics, self._warned = Notes(), dict[str, float](), False
        self.own = self._own_rewards(function)
        # A word list's ids are the numbers themselves; a tokenizer's pieces are first put together to words.
        known = getattr(vocabulary, "words", None)
        self._by_words = known is None
        self._numbers = WordNumbers({} if known is None else {word: number for number, word in enumerate(known)})
        self._end = self._numbers[END_WORD] if self._by_words else vocabulary.end
        self._mix = None if self.own is not None else self._make_mix(split)
        self.weights = {} if self._mix is None else self._mix.weights

    def _own_rewards(self, function: RewardLike) -> OwnRewards | None:
        config = self.config
        given = named_functions(function)
        if given is not None and config.workers:
            raise ValueError(
                "reward.workers: expected a function by its name, task.reward.function=module:name, got an object; set workers=0"
            )
        if given is None and config.named:
            given = imported(config), list(config.named.values())
        return None if given is None else OwnRewards(*given, self.vocabulary, workers=config.workers, timeout_s=config.timeout_s)

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
        """Give what `Sampled.scored` pays out: scores [B], with `per_token` those of all beginnings [B, T+1]; arguments as in `score`."""
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
            [B] float32, on the tokens' device; NaN for a caption that every function of one's own gave None for.

        Raises:
            ValueError: when a function of one's own gives a wrong number of scores, or a score is not finite in float32.
            RewardFailed: when one raises in a process of `workers`, or that process ends.
            TimeoutError: when it does not answer.
        """
        start = time.perf_counter()
        hypotheses, sizes, images = tokens.cpu().numpy(), lengths.cpu().numpy(), items.cpu().numpy()
        left_out = np.zeros(len(images), np.bool_)
        if self._mix is None:
            scores, left_out = self._call(hypotheses, sizes, images)
        else:
            if self._by_words:
                rows = [self._word_numbers(row[:size]) for row, size in zip(hypotheses, sizes, strict=True)]
                padded = pad_rows(rows, images.tolist())
                hypotheses, sizes = padded.tokens, padded.lengths
            scores = self._mix.score(hypotheses, sizes, images)
        if self.config.variety:
            scores = scores + self.config.variety * (1 - opening_shares(tokens.cpu().numpy()))
        self.seconds += time.perf_counter() - start
        return torch.as_tensor(self._rounded(scores, left_out, tokens, lengths, images), device=tokens.device)

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

    def _call(self, hypotheses: np.ndarray, sizes: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give what functions of one's own pay, [B] float64, and which captions they leave out, [B]."""
        assert self.own is not None
        ids = [row[:size].tolist() for row, size in zip(hypotheses, sizes, strict=True)]
        asked = Asked.about(self._split, images.tolist(), [self._text(row) for row in ids], ids)
        scores, counts = self.own.parts(asked, TrainerState(self.batches), self._notes)
        left_out = np.asarray(~counts.any(axis=0))
        if not self._metrics and not self.config.per_token and (self.own.may_leave_out or len(self.own.functions) > 1):
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below
                self._metrics = metrics_of(self.own.metrics, scores, counts)
        if left_out.any() and not self._warned:
            self._warned = True
            row = int(left_out.argmax())
            _LOG.warning(
                "every reward function gave None for %d of %d texts, such as %r, of %s; they are left out of learning (said once; "
                "reward/left_out counts them)",
                int(left_out.sum()),
                len(asked),
                asked.texts[row],
                self._split.describe(int(images[row])),
            )
        return self.own.total(scores, counts), left_out

    def begin_batch(self) -> None:
        """Forget what functions of one's own have logged since the last batch."""
        self._notes, self._metrics = Notes(), {}

    def end_batch(self) -> dict[str, float]:
        """Count a batch whose rows are all scored; give what functions of one's own have logged of it."""
        self.batches += 1
        return self._metrics | {f"logged/{name}": float(np.mean(values)) for name, values in self._notes.metrics.items()}

    def _rounded(self, scores: np.ndarray, left_out: np.ndarray, tokens: Tensor, lengths: Tensor, images: np.ndarray) -> np.ndarray:
        """Give scores in the dtype that trainers use, where each is finite."""
        with np.errstate(over="ignore"):
            rounded = scores.astype(np.float32)
        finite = np.isfinite(rounded) | left_out
        if not finite.all():
            worst = int(np.argmin(finite))
            source = "the reward function" if self._mix is None else "the metrics of task.reward"
            caption = self._text(tokens[worst, : int(lengths[worst])].tolist())
            raise ValueError(
                f"{source} gave {scores[worst]:g} for sample {worst}, {caption!r}, of "
                f"{self._split.describe(int(images[worst]))}; expected a finite number, at most {np.finfo(np.float32).max:.2g}"
            )
        return rounded


CaptionReward = TextReward  # its name among the public ones of captioning


def metrics_of(names: Sequence[str], scores: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Describe what functions of one's own pay, over the texts that each has a score for.

    Args:
        names: [K] of the functions.
        scores: [K, N].
        counts: [K, N] bool.
    """
    values: dict[str, float] = {"reward/left_out": float((~counts.any(axis=0)).mean())}
    for name, row, counted in zip(names, scores, counts, strict=True):
        if counted.any():
            values |= {f"reward/mean_{name}": float(row[counted].mean()), f"reward/std_{name}": float(row[counted].std())}
    return values


def opening_shares(tokens: np.ndarray) -> np.ndarray:
    """Give for each row of tokens [B, T] the share of the rows that begin with its first token, [B]."""
    _, inverse, counts = np.unique(tokens[:, 0], return_inverse=True, return_counts=True)
    return counts[inverse] / len(tokens)
