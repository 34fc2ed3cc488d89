"""Reads tagged words from left to right and notes what stands in which relation."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.notes import Notes, Verb
from seqrl.metrics.spice.noun_groups import FARTHEST, NounGroups, noun_ahead
from seqrl.metrics.spice.words import INNER_NOUNS, PARTICLES, PARTS, PREPOSITIONS

_GROUP_STARTS = frozenset("TYJNSH#K")
_FINITE = frozenset("ZDVM")
MOST_SUBJECTS = 32  # keeps the time for a list of a thousand things in bounds
_BOUNDARY = frozenset(".,CXW")


class Reader:
    """Walks once over the words of a caption; `notes` holds what it found."""

    def __init__(self, words: Sequence[Word], tags: Sequence[str], *, headline: bool = False) -> None:
        self.words, self.tags = words, tags
        self.headline = headline  # the first participle has no subject
        self.stopped = "." in tags
        self.clausal = any(tag in "ZDBMV" for tag in tags)
        self.notes = Notes()
        self.groups = NounGroups(words, tags, self.notes)
        self.main: list[str] = []  # subjects of the clause
        self.last: list[str] = []  # the noun group (with its coordinates) that stands nearest before
        self.head: list[str] = []  # the first group of the noun phrase whose prepositions we are reading
        self.role: list[tuple[list[str], str]] = []  # relations that the last group took part in, for its coordinates
        self.verb: Verb | None = None
        self.preposition = ""
        self.pending = ""  # "C" or "," just before
        self.finite = False  # the clause has its finite verb
        self.copula = False
        self.detached = False  # what follows has no subject
        self.parted = False  # the last noun group names a part ("top") of what comes after "of"

    def read(self) -> Notes:
        """Read all words."""
        place, end = 0, len(self.tags)
        while place < end:
            tag = self.tags[place]
            if tag == "J" and not self.preposition and place and self.tags[place - 1] in "NS" and not noun_ahead(self.tags, place):
                if self.words[place].text != "full":
                    self.notes.attribute(self.last, self.words[place].text)
                place += 1
            elif (
                tag in _GROUP_STARTS
                or (tag in "GPQ" and self._modifies(place))
                or (tag == "R" and self._modifies(place + 1) and noun_ahead(self.tags, place + 1))
            ):
                after, name = self.groups.read(
                    place, self.main, governed=bool(self.preposition) or (self.pending == "C" and self.tags[place - 2] == "J")
                )
                if after > place:
                    self.take_group(name, after)
                    place = after
                else:
                    place += 1
            else:
                place = self.step(place, tag)
        self.close_verb()
        return self.notes

    def _modifies(self, place: int) -> bool:
        """Whether a participle here is part of a noun group ("a smiling boy", "with folded arms") and no verb."""
        tags = self.tags
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
        return before in "TYJ#'" or (before in "I" and not self.words[place].verbal)

    def step(self, place: int, tag: str) -> int:
        """Read one word that starts no noun group; gives the place of the next."""
        word = self.words[place]
        if tag in "VZDPQGM":
            return self.read_verb(place)
        if tag == "B":
            return self.read_be(place)
        if tag == "U":
            self.take_pronoun(word.text, place + 1)
        elif tag == "O":
            return self.read_to(place)
        elif tag == "I":
            return self.read_preposition(place)
        elif tag == "R":
            return self.read_adverb(place)
        elif tag in "C,":
            self.pending = "C" if tag == "C" or self.pending == "C" else ","
            self.preposition = ""
        elif tag == "X":
            self.start_clause()
            self.detached = True
        elif tag == "W":
            self.close_verb()
            self.start_clause()
            self.detached = True
        elif tag == ".":
            self.start_clause()
            self.last, self.head = [], []
        return place + 1

    def start_clause(self) -> None:
        """Forget the clause so far."""
        self.close_verb()
        self.main, self.role, self.preposition, self.pending = [], [], "", ""
        self.finite = self.copula = self.detached = False

    def take_pronoun(self, text: str, after: int) -> None:
        """Put a pronoun to the use of what it means."""
        name = self.groups.antecedent(text, self.main)
        if name:
            self.take_group(name, after)
        else:
            self.preposition = ""

    def take_group(self, name: str, after: int) -> None:
        """Put a noun group to its use: object of a preposition, of a verb, a coordinate of the group before, or a subject."""
        pending, self.pending = self.pending, ""
        things = [name] if name else []
        if self.preposition:
            self.attach_preposition(things)
        elif pending and self.last and not self.new_clause_ahead(after):
            self.coordinate(things)
            return
        elif pending and self.finite:
            self.close_verb()
            self.main, self.finite, self.copula, self.role = things, False, False, []
            self.head = things
        elif self.verb is not None and self.verb.takes_object:
            verb = self.verb
            self.notes.relation(verb.subjects, verb.name, things)
            verb.satisfied, verb.takes_object = True, False
            self.role = [(verb.subjects, verb.name)]
            self.head = things
        elif self.copula:
            self.copula = False
            self.role, self.head = [], things
            if not self.main:
                self.main = things
        else:
            if not self.finite and not self.main:
                self.main = things
            elif not self.detached and self.verb is None and not self.finite:
                pass
            self.role, self.head = [], things
            if self.detached:
                self.main, self.detached = things, False
        self.last = things

    def coordinate(self, things: list[str]) -> None:
        """Give a group after "and" the relations of the group before it."""
        for subjects, name in self.role:
            self.notes.relation(subjects, name, things)
        if not self.role and not self.finite and self.verb is None and self.main is self.last:
            new = [name for name in things if name not in self.main]
            self.main = self.last = self.head = [*self.main, *new][:MOST_SUBJECTS]
        else:
            self.last = things

    def new_clause_ahead(self, place: int) -> bool:
        """Whether the noun group that ends here is the subject of a verb of its own."""
        if self.verb is not None and not self.finite and place < len(self.tags) and self.tags[place] == "G":
            return True
        if not self.finite:
            return False
        tags, end = self.tags, min(len(self.tags), place + 2 * FARTHEST)
        while place < end and tags[place] not in _BOUNDARY:
            if tags[place] in "ZDB" or (tags[place] == "V" and tags[place - 1] != "O"):
                return True
            place += 1
        return False

    def read_preposition(self, place: int) -> int:
        """Read a preposition or a particle; gives the place after it."""
        name, after, inner = self.preposition_at(place)
        following = self.tags[after] if after < len(self.tags) else "."
        if following in _BOUNDARY or following in "IO" or (following == "R" and after + 1 < len(self.tags)):
            if self.verb is not None and name in PARTICLES and not self.verb.satisfied:
                self.verb.name += " " + name
            elif following in "IO" and not (self.verb is not None and self.verb.satisfied):
                pass
            self.preposition = ""
            return after
        if following in "VZDBM":
            return after
        self.preposition = name
        if inner:
            self.notes.objects[inner] = None
        return after

    def preposition_at(self, place: int) -> tuple[str, int, str]:
        """Name the preposition that starts here, of one word or several; gives its name, the place after it and a noun within it."""
        text = self.words[place].text
        for rest, name in PREPOSITIONS.get(text, ()):
            stop = place + 1 + len(rest)
            if stop <= len(self.words) and all(self.words[place + 1 + k].text == rest[k] for k in range(len(rest))):
                return name, stop, INNER_NOUNS.get(name, "")
        return text, place + 1, ""

    def attach_preposition(self, things: list[str]) -> None:
        """Relate the object of a preposition to the verb or to a noun before it."""
        name, self.preposition = self.preposition, ""
        verb = self.verb
        if verb is not None and not self.belongs_to_noun(name, verb):
            if not verb.satisfied and name == "next to":
                name = "to"
            verb.satisfied = True
            verb.takes_object = False
            if verb.passive and verb.clause and name != "by":
                self.role = []
            else:
                self.note_role(verb.subjects, f"{verb.name} {name}", things)
        elif self.copula:
            self.note_role(self.main, name, things)
            self.copula = False
        elif self.last:
            self.attach_to_noun(name, things)

    def attach_to_noun(self, name: str, things: list[str]) -> None:
        """Attach a preposition to a noun: to the nearest, or to the one that a chain of "of" or a part without determiner hangs on."""
        holder = self.last[:1] if self.last is self.main else self.last
        if name == "of" and self.parted:
            holder = self.head[:1]
        elif name != "of" and self.stopped and self.role and self.role[0][1] == "of" and not self.finite:
            holder = self.head[:1] or holder
        self.parted = bool(things) and things[-1] in PARTS and self.groups.bare and name != "of"
        if name in INNER_NOUNS and not self.clausal:
            inner = INNER_NOUNS[name]
            self.notes.relation(holder, name.split()[0], (inner,))
            name = "of"
        self.note_role(holder, name, things)

    def belongs_to_noun(self, name: str, verb: Verb) -> bool:
        """Whether a preposition after a verb and something else belongs to that something."""
        if not verb.satisfied or not self.last:
            return False
        if not verb.subjects:
            return name == "of"
        return name in ("of", "with", "in", "on", "near", "beside", "behind", "between", "under")

    def note_role(self, subjects: list[str], name: str, things: list[str]) -> None:
        """Note relations that coordinates of the objects will share."""
        self.notes.relation(subjects, name, things)
        self.role = [(subjects, name)]

    def read_adverb(self, place: int) -> int:
        """Read an adverb; gives the place after it."""
        name, after, inner = self.preposition_at(place)
        if after > place + 1:
            self.preposition = name
            return after
        if self.verb is not None and not self.verb.satisfied and name in PARTICLES:
            self.verb.name += " " + name
        return place + 1

    def read_be(self, place: int) -> int:
        """Read a form of be: a copula, or the helper of a progressive or a passive."""
        tags, after = self.tags, place + 1
        while after < len(tags) and tags[after] in "RB":
            if self.preposition_at(after)[1] > after + 1:
                break
            after += 1
        following = tags[after] if after < len(tags) else "."
        self.begin_finite()
        if following in "GPQD":
            return self.start_verb(after, self.main, passive=following != "G", clause=True)
        self.copula = True
        if following == "J" and not noun_ahead(self.tags, after):
            while after < len(tags) and tags[after] in "JRC":
                if tags[after] == "J":
                    self.notes.attribute(self.main, self.words[after].text)
                after += 1
            self.copula = tags[after - 1] == "C" or (after < len(tags) and tags[after] in "IO")
            return after - (tags[after - 1] == "C")
        return after

    def begin_finite(self) -> None:
        """Find the subject of a finite verb and end the verb before."""
        self.close_verb()
        if self.finite and not self.pending:
            self.main = self.last
        elif not self.main and not self.detached:
            self.main = self.last
        self.finite, self.detached, self.pending, self.role, self.preposition = True, False, "", [], ""

    def read_verb(self, place: int) -> int:
        """Read a verb and its subject; gives the place after it."""
        tag, word = self.tags[place], self.words[place]
        if tag == "M":
            self.begin_finite()
            return place + 1
        if (tag == "Z" and word.text == "has") or word.text == "have":
            after = place + 1
            while after < len(self.tags) and self.tags[after] == "R":
                after += 1
            if after < len(self.tags) and self.tags[after] in "PQB":
                self.begin_finite()
                return after if self.tags[after] == "B" else self.start_verb(after, self.main, passive=False, clause=True)
        if tag in _FINITE:
            if self.finite and self.verb is None and self.tags[place - 1] in "MRB":
                return self.start_verb(place, self.main, passive=False, clause=True)
            self.begin_finite()
            return self.start_verb(place, self.main, passive=False, clause=True)
        if tag in "PQ" and self.verb is not None and self.verb.name == "get" and self.tags[place - 1] in "ZVDG":
            self.verb.satisfied = True
            return self.start_verb(place, self.verb.subjects, passive=False, clause=True)
        subjects = self.participle_subjects(place)
        covers = place + 1 < len(self.tags) and self.tags[place + 1] in "NS" and place and self.tags[place - 1] in "NS"
        return self.start_verb(place, subjects, passive=tag in "PQ" and not covers, clause=False)

    def participle_subjects(self, place: int) -> list[str]:
        """Say who does what a participle says: the group before it, or the clause's subject."""
        pending, self.pending = self.pending, ""
        verb = self.verb
        before = self.tags[place - 1] if place else "^"
        if self.headline:
            self.headline = False
            return []
        if self.detached or before in "XW":
            return []
        if self.preposition:
            self.preposition = ""
            return []
        if pending:
            if verb is not None:
                return verb.subjects
            return self.main
        if self.finite and verb is not None:
            if verb.satisfied and before in "NSU" and self.role and self.role[0][1] == verb.name:
                return self.last
            return verb.subjects
        if self.finite:
            return self.main if self.copula else self.last
        if self.role and self.stopped and self.role[0][1] != "with":
            return self.head or self.last
        return self.last[-1:]

    def start_verb(self, place: int, subjects: list[str], *, passive: bool, clause: bool) -> int:
        """Take a verb in hand; gives the place after it."""
        self.close_verb()
        self.copula = False
        self.preposition = ""
        self.role = []
        self.verb = Verb(self.words[place].verb, list(subjects), passive=passive, clause=clause)
        return place + 1

    def read_to(self, place: int) -> int:
        """Read to: before a verb an infinitive, else a preposition."""
        following = self.tags[place + 1] if place + 1 < len(self.tags) else "."
        if following == "V":
            subjects = self.verb.subjects if self.verb is not None else (self.main if self.copula else self.last)
            clause = self.verb.clause if self.verb is not None else False
            if self.verb is not None:
                self.verb.satisfied = True
            return self.start_verb(place + 1, subjects, passive=False, clause=clause)
        return self.read_preposition(place)

    def close_verb(self) -> None:
        """End a verb: one without objects of its own says something about its subject."""
        verb, self.verb = self.verb, None
        if verb is not None and not verb.satisfied and verb.subjects and verb.name != "have" and (verb.clause or verb.passive):
            self.notes.attribute(verb.subjects, verb.name)
