"""Reads tagged words from left to right and notes what stands in which relation."""

from __future__ import annotations

from seqrl.metrics.spice.clause import BOUNDARY, GROUP_STARTS, Clause
from seqrl.metrics.spice.graph import Notes
from seqrl.metrics.spice.noun_groups import FARTHEST, noun_ahead
from seqrl.metrics.spice.prepositions import attach_preposition, read_adverb, read_preposition
from seqrl.metrics.spice.verbs import read_be, read_to, read_verb

MOST_SUBJECTS = 32  # keeps the time for a list of a thousand things in bounds


def read(clause: Clause) -> Notes:
    """Read all words."""
    place, end = 0, len(clause.tags)
    while place < end:
        tag = clause.tags[place]
        if tag == "J" and not clause.preposition and place and clause.tags[place - 1] in "NS" and not noun_ahead(clause.tags, place):
            if clause.words[place].text != "full":
                clause.notes.attribute(clause.last, clause.words[place].text)
            place += 1
        elif (
            tag in GROUP_STARTS
            or (tag in "GPQ" and _modifies(clause, place))
            or (tag == "R" and _modifies(clause, place + 1) and noun_ahead(clause.tags, place + 1))
        ):
            after, name = clause.groups.read(
                place, clause.main, governed=bool(clause.preposition) or (clause.pending == "C" and clause.tags[place - 2] == "J")
            )
            if after > place:
                take_group(clause, name, after)
                place = after
            else:
                place += 1
        else:
            place = step(clause, place, tag)
    clause.close_verb()
    return clause.notes


def _modifies(clause: Clause, place: int) -> bool:
    """Whether a participle here is part of a noun group ("a smiling boy", "with folded arms") and no verb."""
    tags = clause.tags
    if place >= len(tags) or tags[place] not in "GPQJ":
        return False
    if tags[place] == "J":
        return True
    following = tags[place + 1] if place + 1 < len(tags) else "."
    before = tags[place - 1] if place else "."
    if following not in "NSJ":
        return False
    if tags[place] in "PQ":
        return before in "TYJ#IGVZDO" or (before in "C,." and following in "NSJ")
    return before in "TYJ#'" or (before in "I" and not clause.words[place].verbal)


def step(clause: Clause, place: int, tag: str) -> int:
    """Read one word that starts no noun group; gives the place of the next."""
    word = clause.words[place]
    if tag in "VZDPQGM":
        return read_verb(clause, place)
    if tag == "B":
        return read_be(clause, place)
    if tag == "U":
        take_pronoun(clause, word.text, place + 1)
    elif tag == "O":
        return read_to(clause, place)
    elif tag == "I":
        return read_preposition(clause, place)
    elif tag == "R":
        return read_adverb(clause, place)
    elif tag in "C,":
        clause.pending = "C" if tag == "C" or clause.pending == "C" else ","
        clause.preposition = ""
    elif tag in "XW":
        clause.start_clause()
        clause.detached = True
    elif tag == ".":
        clause.start_clause()
        clause.last, clause.head = [], []
    return place + 1


def take_group(clause: Clause, name: str, after: int) -> None:
    """Put a noun group to its use: object of a preposition, of a verb, a coordinate of the group before, or a subject."""
    pending, clause.pending = clause.pending, ""
    things = [name] if name else []
    if clause.preposition:
        attach_preposition(clause, things)
    elif pending and (clause.last or clause.role) and not new_clause_ahead(clause, after, pending):
        coordinate(clause, things)
        return
    elif pending and (clause.finite or not clause.main):
        clause.close_verb()
        clause.main, clause.finite, clause.copula, clause.role = things, False, False, []
        clause.head = things
    elif clause.verb is not None and clause.verb.takes_object:
        verb = clause.verb
        clause.notes.relation(verb.subjects, verb.name, things)
        verb.satisfied, verb.takes_object = True, False
        clause.role = [(verb.subjects, verb.name)]
        clause.head = things
    elif clause.copula:
        clause.copula = False
        clause.role, clause.head = [], things
        if not clause.main:
            clause.main = things
    else:
        if not clause.finite and not clause.main:
            clause.main = things
        clause.role, clause.head = [], things
        if clause.detached:
            clause.main, clause.detached = things, False
    clause.last = things


def take_pronoun(clause: Clause, text: str, after: int) -> None:
    """Put a pronoun to the use of what it means."""
    name = clause.groups.antecedent(text, clause.main)
    if name:
        take_group(clause, name, after)
    else:
        clause.preposition = ""


def coordinate(clause: Clause, things: list[str]) -> None:
    """Give a group after "and" the relations of the group before it."""
    for subjects, name in clause.role:
        clause.notes.relation(subjects, name, things)
    if not clause.role and not clause.finite and clause.verb is None and clause.main is clause.last:
        new = [name for name in things if name not in clause.main]
        clause.main = clause.last = clause.head = [*clause.main, *new][:MOST_SUBJECTS]
    else:
        clause.last = things


def new_clause_ahead(clause: Clause, place: int, pending: str) -> bool:
    """Whether the noun group that ends here is the subject of a verb of its own."""
    if clause.verb is not None and not clause.finite and place < len(clause.tags) and clause.tags[place] == "G":
        return True
    if clause.verb is not None and not clause.verb.subjects and not clause.main and pending == "," and not clause.headed:
        return True
    if not clause.finite:
        return False
    tags, end = clause.tags, min(len(clause.tags), place + 2 * FARTHEST)
    while place < end and tags[place] not in BOUNDARY:
        if tags[place] in "ZDB" or (tags[place] == "V" and tags[place - 1] != "O"):
            return True
        place += 1
    return False
