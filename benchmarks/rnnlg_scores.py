"""RNNLG's figures: BLEU-4 and slot error rate over the best of over-generated responses, as its toolkit defines them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seqrl.tasks.text.rnnlg import Act, Line, Rnnlg

_TINY = 1e-7


class Figures(NamedTuple):
    """BLEU in 0 to 1, and errors over slots wanted: of all slots, and of the delexicalised ones."""

    bleu: float
    error: float
    delexicalised_error: float


def corpus_bleu4(groups: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Give BLEU-4 of several responses to each act.

    BLEU = min(1, exp(1 - r / c)) exp(1/4 sum_n log((clipped_n + 0) / (count_n + 1e-7) + 1e-7)), counts over all responses, r the sum of the
    references' lengths that are nearest to each response's, the first of those that are equally near.

    Args:
        groups: for each act its responses and its references.

    Source: Papineni et al. 2002 (BLEU: a method for automatic evaluation of machine translation), with the toolkit's smoothing.
    """
    clipped, counted, wanted, written = [0] * 4, [0] * 4, 0, 0
    # Lines with the same act share references, whose n-grams are counted once.
    known: dict[tuple[str, ...], tuple[list[Counter[tuple[str, ...]]], list[int]]] = {}
    for responses, references in groups:
        key = tuple(references)
        if key not in known:
            known[key] = _most(references), [len(text.split()) for text in references]
        most, lengths = known[key]
        for response in responses:
            words = response.split()
            for n, limit in enumerate(most):
                grams = _grams(words, n + 1)
                counted[n] += grams.total()
                clipped[n] += (grams & limit).total()
            wanted += min(lengths, key=lambda length: abs(length - len(words)))
            written += len(words)
    if not written:
        return 0.0
    precisions = [hit / (count + _TINY) + _TINY for hit, count in zip(clipped, counted, strict=True)]
    return min(1.0, math.exp(1 - wanted / written)) * math.exp(sum(map(math.log, precisions)) / 4)


def references_of(data: Rnnlg, lines: Sequence[Line]) -> list[list[str]]:
    """Give each line's references: all responses to lines with the same delexicalised act, with this line's values.

    Args:
        data: puts values in.
        lines: of a split.
    """
    # One reference that stands there a hundred times says no more than once.
    shared: dict[str, dict[str, None]] = defaultdict(dict)
    for line in lines:
        shared[data.prompt(line.act)][line.response] = None
    return [[data.lexicalise(text, line.act) for text in shared[data.prompt(line.act)]] for line in lines]


def score_responses(data: Rnnlg, lines: Sequence[Line], responses: Sequence[Sequence[str]]) -> Figures:
    """Score responses to every line; references are those of `references_of`.

    Args:
        data: puts values in.
        lines: of a split.
        responses: for each line its delexicalised responses.
    """
    groups, slots, errors, delexicalised = [], 0, 0, 0
    for line, texts, references in zip(lines, responses, references_of(data, lines), strict=True):
        written = [data.lexicalise(text, line.act) for text in texts]
        groups.append((written, references))
        for text in written:
            counts = data.errors(data.delexicalise(text, line.act), line.act)
            slots, errors, delexicalised = slots + counts[0], errors + counts[1], delexicalised + counts[2]
    return Figures(corpus_bleu4(groups), errors / max(slots, 1), delexicalised / max(slots, 1))


def best_responses(data: Rnnlg, act: Act, candidates: Sequence[tuple[str, float]], count: int) -> list[str]:
    """Choose the responses with the least penalty: mean negative log-probability of a token + errors of delexicalised slots.

    Args:
        data: counts errors.
        act: to be said.
        candidates: delexicalised responses with the mean log-probability of their tokens.
        count: how many to choose.
    """
    return [text for text, logp in sorted(candidates, key=lambda each: data.errors(each[0], act)[2] - each[1])][:count]


def _most(references: Sequence[str]) -> list[Counter[tuple[str, ...]]]:
    """Give for n = 1 to 4 how often any one reference has each n-gram."""
    most = []
    for n in range(1, 5):
        found: Counter[tuple[str, ...]] = Counter()
        for text in references:
            found |= _grams(text.split(), n)
        most.append(found)
    return most


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))
