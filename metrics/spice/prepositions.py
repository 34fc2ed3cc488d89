"""Finds what prepositions and particles belong to."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.clause import BOUNDARY, Clause
from seqrl.metrics.spice.graph import Verb
from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import COLOURS, INNER_NOUNS, PARTICLES, PARTS, PREPOSITIONS


def preposition_at(words: Sequence[Word], place: int) -> tuple[str, int, str]:
    """Name the preposition that starts here, of one word or several; gives its name, the place after it and a noun within it."""
    text = words[place].text
    for rest, name in PREPOSITIONS.get(text, ()):
        stop = place + 1 + len(rest)
        if stop <= len(words) and all(words[place + 1 + k].text == rest[k] for k in range(len(rest))):
            return name, stop, INNER_NOUNS.get(name, "")
    return text, place + 1, ""


def read_preposition(clause: Clause, place: int) -> int:
    """Read a preposition or a particle; gives the place after it."""
    name, after, inner = preposition_at(clause.words, place)
    following = clause.tags[after] if after < len(clause.tags) else "."
    if following in BOUNDARY or following in "IO" or (following == "R" and after + 1 < len(clause.tags)):
        if clause.verb is not None and name in PARTICLES and not clause.verb.satisfied:
            clause.verb.name += " " + name
        clause.preposition = ""
        return after
    if following in "VZDBM":
        return after
    clause.preposition = name
    if inner:
        clause.notes.objects[inner] = None
    return after


def read_adverb(clause: Clause, place: int) -> int:
    """Read an adverb; gives the place after it."""
    name, after, _ = preposition_at(clause.words, place)
    if after > place + 1:
        clause.preposition = name
        return after
    if clause.verb is not None and not clause.verb.satisfied and name in PARTICLES:
        clause.verb.name += " " + name
    return place + 1


def attach_preposition(clause: Clause, things: list[str]) -> None:
    """Relate the object of a preposition to the verb or to a noun before it."""
    name, clause.preposition = clause.preposition, ""
    verb = clause.verb
    if verb is not None and not belongs_to_noun(clause, name, verb):
        if not verb.satisfied and name == "next to":
            name = "to"
        verb.satisfied = True
        verb.takes_object = False
        dressed = verb.name.startswith("dress") and len(things) == 1 and things[0] in COLOURS
        if dressed:
            clause.notes.forget(things[0])
        if dressed or (verb.passive and verb.clause and name != "by"):
            clause.role = []
        else:
            clause.note_role(verb.subjects, f"{verb.name} {name}", things)
    elif clause.copula:
        clause.note_role(clause.main, name, things)
        clause.copula = False
    elif clause.last:
        attach_to_noun(clause, name, things)


def attach_to_noun(clause: Clause, name: str, things: list[str]) -> None:
    """Attach a preposition to a noun: to the nearest, or to the one that a chain of "of" or a part without determiner hangs on."""
    holder = clause.last[:1] if clause.last is clause.main else clause.last
    if name == "of" and clause.parted:
        holder = clause.role[0][0][:1] if clause.role else clause.head[:1]
    elif name != "of" and clause.stopped and clause.role and clause.role[0][1] == "of" and not clause.finite:
        holder = clause.head[:1] or holder
    clause.parted = bool(things) and things[-1] in PARTS and (clause.groups.bare or clause.stopped) and name != "of"
    if name in INNER_NOUNS and not clause.clausal:
        inner = INNER_NOUNS[name]
        clause.notes.relation(holder, name.split()[0], (inner,))
        name = "of"
    clause.note_role(holder, name, things)


def belongs_to_noun(clause: Clause, name: str, verb: Verb) -> bool:
    """Whether a preposition after a verb and something else belongs to that something."""
    if not verb.satisfied or not clause.last:
        return False
    if verb.clause and clause.role and clause.role[0][1] == verb.name:
        return name == "of"
    if clause.headed and not verb.subjects:
        return name == "of" or (bool(clause.role) and clause.role[0][1] != verb.name)
    return name in ("of", "with", "in", "on", "near", "beside", "behind", "between", "under")
