"""Habits of the published parser with captions that are no sentences."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import FRAGMENT_ADJECTIVES, FRAGMENT_NOUNS, OPENING_VERBS


def as_headline(words: Sequence[Word], tags: list[str]) -> bool:
    """Whether a caption is a headline: one noun group and a participle, no finite verb and no full stop ("a man riding a horse").

    The published parser, which learned from newspapers, reads such a caption as a clause whose verb has no subject, or takes "walking"
    and its like for the head of the noun group; both are copied here, in place.
    """
    if "." in tags or "B" in tags or "Z" in tags or "M" in tags:
        return False
    if words and words[0].text in OPENING_VERBS and tags[1:2] and tags[1] in ("IRG" if words[0].text == "building" else "IRGP"):
        tags[0] = "V"
        return False
    place, heads, determined = 0, 0, False
    while place < len(tags) and tags[place] in "TYJNS#C,RP":
        heads += tags[place] in "NS"
        determined = determined or tags[place] in "T#C"
        place += 1
    if place == 0 or place >= len(tags) or tags[place] != "G" or tags[place - 1] not in "NS":
        return False
    plural = tags[place - 1] == "S"
    following = tags[place + 1] if place + 1 < len(tags) else "."
    if words[place].text in FRAGMENT_NOUNS and following in "IO":
        tags[place] = "H" if determined or plural else "N"
        return False
    if following in "NS" and words[place].text in FRAGMENT_ADJECTIVES and (plural or all(tag in "NS" for tag in tags[place + 1 :])):
        tags[place] = "A" if determined or plural else "J"
        return False
    phrases = sum(tag in "IO" and words[k].text not in ("of", "to") for k, tag in enumerate(tags) if k > place) + (following in "TYUNSJ#")
    return (not plural or following in "TYUNSJ#" or place > 1) and not (tags[0] == "T" and phrases > 1)
