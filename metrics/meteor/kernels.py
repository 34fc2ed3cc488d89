"""METEOR's matches and scores, compiled: what two sentences have in common, counted by module and kind of word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.compiled import compiled
from seqrl.metrics.meteor.alignment import BEAM, mark_fixed, search

# Places in the statistics of a sentence: lengths, function words, then by module and kind, chunks, matched words.
NUM_STATISTICS = 23
DIGEST_WORDS = 16


@compiled
def find_phrases(
    words: NDArray[np.int32],
    phrase_words: NDArray[np.int32],
    slots: NDArray[np.uint64],
    phrases: NDArray[np.int32],
    max_words: int,
    found: NDArray[np.int32],
) -> int:
    """Write start, length and number of each phrase of the table that stands in a sentence to `found` [>= words * max_words, 3]."""
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
def prepare_rows(
    words: NDArray[np.int32],
    row_starts: NDArray[np.int64],
    row_items: NDArray[np.int64],
    phrase_words: NDArray[np.int32],
    slots: NDArray[np.uint64],
    phrases: NDArray[np.int32],
    max_words: int,
    found: NDArray[np.int32],
    found_starts: NDArray[np.int64],
    digests: NDArray[np.uint64],
) -> None:
    """Find the phrases of all references, end to end in `found`, and digest them by item."""
    total = 0
    for row in range(len(row_starts) - 1):
        found_starts[row] = total
        sentence = words[row_starts[row] : row_starts[row + 1]]
        count = find_phrases(sentence, phrase_words, slots, phrases, max_words, found[total:])
        for place in range(total, total + count):
            bit = digest_bit(found[place, 2])
            digests[row_items[row], bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
        total += count
    found_starts[len(row_starts) - 1] = total


@compiled
def _synonyms(one: int, other: int, starts: NDArray[np.int64], synsets: NDArray[np.int32], digests: NDArray[np.uint64]) -> bool:
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
def _append(matches: NDArray[np.int64], count: int, h: int, h_length: int, r: int, r_length: int, module: int) -> int:
    if count < len(matches):
        matches[count, 0], matches[count, 1], matches[count, 2] = h, h_length, r
        matches[count, 3], matches[count, 4] = r_length, module
    return count + 1


@compiled
def _find_matches(
    hypothesis: NDArray[np.int32],
    reference: NDArray[np.int32],
    stems: NDArray[np.int32],
    synset_starts: NDArray[np.int64],
    synsets: NDArray[np.int32],
    digests: NDArray[np.uint64],
    reachable: NDArray[np.int32],
    num_reachable: int,
    r_phrases: NDArray[np.int32],
    matches: NDArray[np.int64],
) -> int:
    """List what each module matches; gives how many there are, of which those that have room are written."""
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
    for k in range(num_reachable):
        for p in range(len(r_phrases)):
            if r_phrases[p, 2] == reachable[k, 2]:
                for _ in range(reachable[k, 3]):
                    count = _append(matches, count, reachable[k, 0], reachable[k, 1], r_phrases[p, 0], r_phrases[p, 1], 3)
    return count


@compiled
def _reach(
    found: NDArray[np.int32],
    num_found: int,
    digest: NDArray[np.uint64],
    item_phrases: NDArray[np.int32],
    starts: NDArray[np.int32],
    others: NDArray[np.int32],
    reachable: NDArray[np.int32],
) -> int:
    """List start, length, other phrase and number of entries where a phrase of the hypothesis may stand for one of the references."""
    count = 0
    for k in range(num_found):
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
def _sort_by_reference(matches: NDArray[np.int64], count: int, r_words: int, ordered: NDArray[np.int64], firsts: NDArray[np.int64]) -> None:
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
def _count(
    hypothesis: NDArray[np.int32],
    reference: NDArray[np.int32],
    function: NDArray[np.bool_],
    matches: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    count: int,
    statistics: NDArray[np.float64],
) -> None:
    """Fill the statistics of an alignment; matches come in the order of the reference."""
    statistics[:] = 0.0
    statistics[0], statistics[1] = len(hypothesis), len(reference)
    for word in hypothesis:
        statistics[2] += function[word]
    for word in reference:
        statistics[3] += function[word]
    h_end, r_end = -1, -1
    for m in range(count):
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
def score_statistics(statistics: NDArray[np.float64], settings: NDArray[np.float64]) -> float:
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
    words: NDArray[np.int32],
    row_starts: NDArray[np.int64],
    items: NDArray[np.int64],
    r_words: NDArray[np.int32],
    r_starts: NDArray[np.int64],
    item_rows: NDArray[np.int64],
    r_found: NDArray[np.int32],
    r_found_starts: NDArray[np.int64],
    item_digests: NDArray[np.uint64],
    item_phrases: NDArray[np.int32],
    item_phrase_starts: NDArray[np.int64],
    stems: NDArray[np.int32],
    synset_starts: NDArray[np.int64],
    synsets: NDArray[np.int32],
    digests: NDArray[np.uint64],
    function: NDArray[np.bool_],
    phrase_words: NDArray[np.int32],
    slots: NDArray[np.uint64],
    phrases: NDArray[np.int32],
    starts: NDArray[np.int32],
    others: NDArray[np.int32],
    max_words: int,
    settings: NDArray[np.float64],
    scores: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> None:
    """Score each row of words against its item's references: the best score [N] and the statistics [N, 23] that give it."""
    longest_h, longest_r = 1, 1
    for n in range(len(items)):
        longest_h = max(longest_h, row_starts[n + 1] - row_starts[n])
        for row in range(item_rows[items[n]], item_rows[items[n] + 1]):
            longest_r = max(longest_r, r_starts[row + 1] - r_starts[row])
    found, reachable = np.empty((longest_h * max_words, 3), np.int32), np.empty((1024, 4), np.int32)
    room = 256
    matches, ordered = np.empty((room, 6), np.int64), np.empty((room, 6), np.int64)
    chosen = np.empty(room, np.bool_)
    h_cover, r_cover, firsts = np.empty(longest_h, np.int64), np.empty(longest_r, np.int64), np.empty(longest_r + 2, np.int64)
    one = np.empty(23, np.float64)
    for n in range(len(items)):
        hypothesis = words[row_starts[n] : row_starts[n + 1]]
        num_found = find_phrases(hypothesis, phrase_words, slots, phrases, max_words, found)
        wanted = item_phrases[item_phrase_starts[items[n]] : item_phrase_starts[items[n] + 1]]
        num_reachable = _reach(found, num_found, item_digests[items[n]], wanted, starts, others, reachable)
        while num_reachable == len(reachable):
            reachable = np.empty((2 * len(reachable), 4), np.int32)
            num_reachable = _reach(found, num_found, item_digests[items[n]], wanted, starts, others, reachable)
        scores[n] = -1.0
        for row in range(item_rows[items[n]], item_rows[items[n] + 1]):
            reference = r_words[r_starts[row] : r_starts[row + 1]]
            r_phrases = r_found[r_found_starts[row] : r_found_starts[row + 1]]
            count = _find_matches(
                hypothesis, reference, stems, synset_starts, synsets, digests, reachable, num_reachable, r_phrases, matches
            )
            if count > room:  # it counts those that have no room, too
                room = 2 * count
                matches, ordered = np.empty((room, 6), np.int64), np.empty((room, 6), np.int64)
                chosen = np.empty(room, np.bool_)
                _find_matches(hypothesis, reference, stems, synset_starts, synsets, digests, reachable, num_reachable, r_phrases, matches)
            every = mark_fixed(matches, count, h_cover, r_cover)
            _sort_by_reference(matches, count, len(reference), ordered, firsts)
            if every:
                chosen[:count] = True
            else:
                search(ordered, firsts, len(reference), len(hypothesis), BEAM, chosen)
            _count(hypothesis, reference, function, ordered, chosen, count, one)
            score = score_statistics(one, settings)
            if score > scores[n]:
                scores[n] = score
                statistics[n] = one
