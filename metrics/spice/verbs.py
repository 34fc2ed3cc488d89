"""Reads verbs: helpers, copulas, participles, infinitives, and who does what they say."""

from __future__ import annotations

from seqrl.metrics.spice.clause import GROUP_STARTS, Clause
from seqrl.metrics.spice.noun_groups import FARTHEST, noun_ahead
from seqrl.metrics.spice.prepositions import preposition_at, read_preposition

_FINITE = frozenset("ZDVM")


def read_be(clause: Clause, place: int) -> int:
    """Read a form of be: a copula, or the helper of a progressive or a passive."""
    tags, after = clause.tags, place + 1
    while after < len(tags) and tags[after] in "RB":
        if preposition_at(clause.words, after)[1] > after + 1:
            break
        after += 1
    following = tags[after] if after < len(tags) else "."
    clause.begin_finite()
    if following in "GPQD":
        return clause.start_verb(after, clause.main, passive=following != "G", clause=True)
    clause.copula = True
    if following == "J" and not noun_ahead(clause.tags, after):
        while after < len(tags) and tags[after] in "JRC":
            if tags[after] == "J":
                clause.notes.attribute(clause.main, clause.words[after].text)
            after += 1
        clause.copula = tags[after - 1] == "C" or (after < len(tags) and tags[after] in "IO")
        return after - (tags[after - 1] == "C")
    return after


def read_verb(clause: Clause, place: int) -> int:
    """Read a verb and its subject; gives the place after it."""
    tag, word = clause.tags[place], clause.words[place]
    if tag == "M":
        clause.begin_finite()
        does = word.text in ("do", "does", "did") and place + 1 < len(clause.tags) and clause.tags[place + 1] in GROUP_STARTS
        return clause.start_verb(place, clause.main, passive=False, clause=True) if does else place + 1
    if (tag == "Z" and word.text == "has") or word.text == "have":
        after = place + 1
        while after < len(clause.tags) and clause.tags[after] == "R":
            after += 1
        if after < len(clause.tags) and clause.tags[after] in "PQB":
            clause.begin_finite()
            return after if clause.tags[after] == "B" else clause.start_verb(after, clause.main, passive=False, clause=True)
    if tag in _FINITE:
        if not (clause.finite and clause.verb is None and clause.tags[place - 1] in "MRB"):
            clause.begin_finite()
        return clause.start_verb(place, clause.main, passive=False, clause=True)
    if tag in "PQ" and clause.verb is not None and clause.verb.name == "get" and clause.tags[place - 1] in "ZVDG":
        clause.verb.satisfied = True
        return clause.start_verb(place, clause.verb.subjects, passive=False, clause=True)
    subjects = participle_subjects(clause, place)
    covers = place + 1 < len(clause.tags) and clause.tags[place + 1] in "NSTYU" and place and clause.tags[place - 1] in "NS"
    return clause.start_verb(place, subjects, passive=tag in "PQ" and not covers, clause=False)


def participle_subjects(clause: Clause, place: int) -> list[str]:
    """Say who does what a participle says: the group before it, or the clause's subject."""
    pending, clause.pending = clause.pending, ""
    verb = clause.verb
    before = clause.tags[place - 1] if place else "^"
    if clause.headline:
        clause.headline = False
        return []
    if clause.detached or before in "XW":
        return []
    if clause.preposition:
        clause.preposition = ""
        return []
    if pending == "," and before == "," and clause.tags[place] == "G" and not _listed(clause, place):
        return []
    if pending:
        return clause.main if verb is None else verb.subjects
    if clause.finite and verb is not None:
        if verb.satisfied and before in "NSU" and clause.role and clause.role[0][1] == verb.name:
            return clause.last
        return verb.subjects
    if clause.finite:
        return clause.main if clause.copula else clause.last
    if clause.role and clause.stopped and clause.role[0][1] != "with":
        return clause.head or clause.last
    return clause.last[-1:]


def _listed(clause: Clause, place: int) -> bool:
    """Whether the participle after a comma is one of several that "and" joins ("is sitting , eating , and smiling")."""
    tags = clause.tags[place : place + 2 * FARTHEST]
    return any(pair == ("C", "G") for pair in zip(tags, tags[1:], strict=False)) or bool(clause.verb is None and not clause.finite)


def read_to(clause: Clause, place: int) -> int:
    """Read to: before a verb an infinitive, else a preposition."""
    following = clause.tags[place + 1] if place + 1 < len(clause.tags) else "."
    if following == "V":
        if clause.verb is None:
            return clause.start_verb(place + 1, clause.main if clause.copula else clause.last, passive=False, clause=False)
        clause.verb.satisfied = True
        return clause.start_verb(place + 1, clause.verb.subjects, passive=False, clause=clause.verb.clause)
    return read_preposition(clause, place)
