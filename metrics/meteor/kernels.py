"""METEOR's matches and scores, compiled: what two sentences have in common, counted by module and kind of word."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled
from seqrl.metrics.meteor.alignment import BEAM, mark_fixed, search

if TYPE_CHECKING:
    from seqrl.metrics.meteor.paraphrases import PhraseTable

# Numbers of words, places and matches, digests, yes or no, and statistics.
Words: TypeAlias = NDArray[np.int32]
Places: TypeAlias = NDArray[np.int64]
Bits: TypeAlias = NDArray[np.uint64]
Flags: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]


class WordArrays(NamedTuple):
    """Arrays over word numbers: stem numbers, slices of `synsets`, digests of those, function word or not, phrase word numbers."""

    stems: Words
    synset_starts: Places
    synsets: Words
    digests: Bits
    function: Flags
    phrase_words: Words


class References(NamedTuple):
    """The references of all items, end to end.

    Args:
        words: [total] numbers of words.
        row_starts: [rows + 1] where each row begins.
        item_rows: [items + 1] where the rows of each item begin.
        found: [phrases, 3] start, length and number of the phrases in each row.
        found_starts: [rows + 1] where those of each row begin.
        digests: [items, 16] a bit for each phrase of an item.
        item_phrases: numbers of the phrases of each item, ascending.
        item_phrase_starts: [items + 1] where those of each item begin.
    """

    words: Words
    row_starts: Places
    item_rows: Places
    found: Words
    found_starts: Places
    digests: Bits
    item_phrases: Words
    item_phrase_starts: Places


# Places in the statistics of a sentence: lengths, function words, then by module and kind, chunks, matched words.
NUM_STATISTICS = 23
DIGEST_WORDS = 16


@compiled
def find_phrases(words: Words, phrase_words: Words, table: PhraseTable, found: Words) -> int:
    """Write start, length and number of each phrase of the table that stands in a sentence to `found` [>= words * max_words, 3]."""
    slots, phrases, _, _, max_words = table
    count, mask = 0, np.uint64(len(slots) - 1)
    for start in range(len(words)):
        value = np.uint64(0)
        for length in range(1, min(max_words, len(words) - start) + 1):
            word = phrase_words[words[start + length - 1]]
            if word < 0:
                break
            value = (value ^ np.uint64(word + 1)) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
            wanted = value if value != 0 else np.uint64(1)
            slot = wanted & mask
            while slots[slot] != 0:
                if slots[slot] == wanted:
                    found[count, 0], found[count, 1], found[count, 2] = start, length, phrases[slot]
                    count += 1
                    break
                slot = (slot + np.uint64(1)) & mask
    return count


@compiled
def digest_bit(phrase: int) -> int:
    """Give the bit of a phrase in an item's digest of 1,024 bits."""
    return int((np.uint64(phrase) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54))


@compiled
def find_all_phrases(
    words: Words, row_starts: Places, item_rows: Places, phrase_words: Words, table: PhraseTable
) -> tuple[Words, Places, Bits]:
    """Give the phrases of all references end to end, where those of each row begin, and the digests of items."""
    found = np.empty((len(words) * table.max_words + table.max_words, 3), np.int32)
    found_starts = np.zeros(len(row_starts), np.int64)
    digests = np.zeros((len(item_rows) - 1, DIGEST_WORDS), np.uint64)
    total = 0
    for item in range(len(item_rows) - 1):
        for row in range(item_rows[item], item_rows[item + 1]):
            count = find_phrases(words[row_starts[row] : row_starts[row + 1]], phrase_words, table, found[total:])
            for place in range(total, total + count):
                bit = digest_bit(found[place, 2])
                digests[item, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
            total += count
            found_starts[row + 1] = total
    return found[:total].copy(), found_starts, digests


@compiled
def _synonyms(one: int, other: int, starts: Places, synsets: Words, digests: Bits) -> bool:
    if digests[one] & digests[other] == 0:
        return False
    a, b = starts[one], starts[other]
    while a < starts[one + 1] and b < starts[other + 1]:
        if synsets[a] == synsets[b]:
            return True
        if synsets[a] < synsets[b]:
            a += 1
        else:
            b += 1
    return False


@compiled
def _append(matches: Places, count: int, h: int, h_length: int, r: int, r_length: int, module: int) -> int:
    if count < len(matches):
        matches[count, 0], matches[count, 1], matches[count, 2] = h, h_length, r
        matches[count, 3], matches[count, 4] = r_length, module
    return count + 1


@compiled
def _find_matches(hypothesis: Words, reference: Words, words: WordArrays, reachable: Words, r_phrases: Words, matches: Places) -> int:
    """List what each module matches; gives how many there are, of which those that have room are written."""
    stems, synset_starts, synsets, digests, _, _ = words
    count = 0
    for r in range(len(reference)):
        there = reference[r]
        for h in range(len(hypothesis)):
            here = hypothesis[h]
            if here == there:
                count = _append(matches, count, h, 1, r, 1, 0)
                continue
            if stems[here] == stems[there]:
                count = _append(matches, count, h, 1, r, 1, 1)
            if _synonyms(here, there, synset_starts, synsets, digests):
                count = _append(matches, count, h, 1, r, 1, 2)
    for k in range(len(reachable)):
        for p in range(len(r_phrases)):
            if r_phrases[p, 2] == reachable[k, 2]:
                for _ in range(reachable[k, 3]):
                    count = _append(matches, count, reachable[k, 0], reachable[k, 1], r_phrases[p, 0], r_phrases[p, 1], 3)
    return count


@compiled
def _reach(found: Words, digest: Bits, item_phrases: Words, table: PhraseTable, reachable: Words) -> int:
    """List start, length, other phrase and number of entries where a phrase of the hypothesis may stand for one of the references."""
    starts, others = table.starts, table.others
    count = 0
    for k in range(len(found)):
        phrase = found[k, 2]
        for place in range(starts[phrase], starts[phrase + 1]):
            other = others[place] >> 1
            bit = digest_bit(other)
            if not digest[bit >> 6] >> np.uint64(bit & 63) & np.uint64(1):
                continue
            at = np.searchsorted(item_phrases, other)
            if at < len(item_phrases) and item_phrases[at] == other and count < len(reachable):
                reachable[count, 0], reachable[count, 1] = found[k, 0], found[k, 1]
                reachable[count, 2], reachable[count, 3] = other, 1 + (others[place] & 1)
                count += 1
    return count


@compiled
def _sort_by_reference(matches: Places, count: int, r_words: int, ordered: Places, firsts: Places) -> None:
    firsts[: r_words + 1] = 0
    for m in range(count):
        firsts[matches[m, 2] + 1] += 1
    for j in range(r_words):
        firsts[j + 1] += firsts[j]
    for m in range(count):
        place = firsts[matches[m, 2]]
        ordered[place] = matches[m]
        firsts[matches[m, 2]] += 1
    for j in range(r_words, 0, -1):
        firsts[j] = firsts[j - 1]
    firsts[0] = 0


@compiled
def _count(hypothesis: Words, reference: Words, function: Flags, matches: Places, chosen: Flags, statistics: Floats) -> None:
    """Fill the statistics of an alignment; matches come in the order of the reference."""
    statistics[:] = 0.0
    statistics[0], statistics[1] = len(hypothesis), len(reference)
    for word in hypothesis:
        statistics[2] += function[word]
    for word in reference:
        statistics[3] += function[word]
    h_end, r_end = -1, -1
    for m in range(len(chosen)):
        if not chosen[m]:
            continue
        base = 4 + 4 * matches[m, 4]
        for place in range(matches[m, 0], matches[m, 0] + matches[m, 1]):
            statistics[base + 2 * function[hypothesis[place]]] += 1
        for place in range(matches[m, 2], matches[m, 2] + matches[m, 3]):
            statistics[base + 1 + 2 * function[reference[place]]] += 1
        statistics[20] += not (matches[m, 0] == h_end and matches[m, 2] == r_end)
        statistics[21] += matches[m, 1]
        statistics[22] += matches[m, 3]
        h_end, r_end = matches[m, 0] + matches[m, 1], matches[m, 2] + matches[m, 3]


@compiled
def score_statistics(statistics: Floats, settings: Floats) -> float:
    """Score statistics; settings are alpha, beta, gamma, delta and the weights of the four modules."""
    alpha, beta, gamma, delta = settings[0], settings[1], settings[2], settings[3]
    test, reference = 0.0, 0.0
    for module in range(4):
        base = 4 + 4 * module
        test += settings[4 + module] * (delta * statistics[base] + (1 - delta) * statistics[base + 2])
        reference += settings[4 + module] * (delta * statistics[base + 1] + (1 - delta) * statistics[base + 3])
    if test == 0 or reference == 0:
        return 0.0
    precision = test / (delta * (statistics[0] - statistics[2]) + (1 - delta) * statistics[2])
    recall = reference / (delta * (statistics[1] - statistics[3]) + (1 - delta) * statistics[3])
    mean = precision * recall / (alpha * precision + (1 - alpha) * recall)
    whole = statistics[21] == statistics[0] and statistics[22] == statistics[1] and statistics[20] == 1
    fragmentation = 0.0 if whole else statistics[20] / ((statistics[21] + statistics[22]) / 2)
    return mean * (1 - gamma * fragmentation**beta)


@compiled
def score_rows(
    hypotheses: tuple[Words, Places],
    items: Places,
    references: References,
    words: WordArrays,
    table: PhraseTable,
    settings: Floats,
    scores: Floats,
    statistics: Floats,
) -> None:
    """Score each row of words against its item's references: the best score [N] and the statistics [N, 23] that give it."""
    h_words, h_starts = hypotheses
    r_starts, item_rows = references.row_starts, references.item_rows
    longest_h, longest_r = 1, 1
    for n in range(len(items)):
        longest_h = max(longest_h, h_starts[n + 1] - h_starts[n])
        for row in range(item_rows[items[n]], item_rows[items[n] + 1]):
            longest_r = max(longest_r, r_starts[row + 1] - r_starts[row])
    found, reachable = np.empty((longest_h * table.max_words, 3), np.int32), np.empty((1024, 4), np.int32)
    room = 256
    matches, ordered = np.empty((room, 6), np.int64), np.empty((room, 6), np.int64)
    chosen = np.empty(room, np.bool_)
    h_cover, r_cover, firsts = np.empty(longest_h, np.int64), np.empty(longest_r, np.int64), np.empty(longest_r + 2, np.int64)
    one = np.empty(23, np.float64)
    for n in range(len(items)):
        item = items[n]
        hypothesis = h_words[h_starts[n] : h_starts[n + 1]]
        h_phrases = found[: find_phrases(hypothesis, words.phrase_words, table, found)]
        wanted = references.item_phrases[references.item_phrase_starts[item] : references.item_phrase_starts[item + 1]]
        reached = reachable[: _reach(h_phrases, references.digests[item], wanted, table, reachable)]
        while len(reached) == len(reachable):
            reachable = np.empty((2 * len(reachable), 4), np.int32)
            reached = reachable[: _reach(h_phrases, references.digests[item], wanted, table, reachable)]
        scores[n] = -1.0
        for row in range(item_rows[item], item_rows[item + 1]):
            reference = references.words[r_starts[row] : r_starts[row + 1]]
            r_phrases = references.found[references.found_starts[row] : references.found_starts[row + 1]]
            count = _find_matches(hypothesis, reference, words, reached, r_phrases, matches)
            if count > room:
                room = 2 * count
                matches, ordered = np.empty((room, 6), np.int64), np.empty((room, 6), np.int64)
                chosen = np.empty(room, np.bool_)
                _find_matches(hypothesis, reference, words, reached, r_phrases, matches)
            every = mark_fixed(matches, count, h_cover, r_cover)
            _sort_by_reference(matches, count, len(reference), ordered, firsts)
            if every:
                chosen[:count] = True
            else:
                search(ordered, firsts, len(reference), len(hypothesis), BEAM, chosen)
            _count(hypothesis, reference, words.function, ordered, chosen[:count], one)
            score = score_statistics(one, settings)
            if score > scores[n]:
                scores[n] = score
                statistics[n] = one
