"""Reads tagged words from left to right and notes what stands in which relation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.words import COUNTED, INNER_NOUNS, PARTICLES, PEOPLE, PREPOSITIONS

_GROUP_STARTS = frozenset("TYJNS#K")
_NOUNS = frozenset("NS")
_FINITE = frozenset("ZDVM")
_BOUNDARY = frozenset(".,CXW")


class Notes:
    """Collects objects, attributes and relations, each once and in the order of their coming."""

    def __init__(self) -> None:
        self.objects: dict[str, None] = {}
        self.attributes: dict[tuple[str, str], None] = {}
        self.relations: dict[tuple[str, str, str], None] = {}

    def attribute(self, things: Iterable[str], value: str) -> None:
        for thing in things:
            self.attributes[thing, value] = None

    def relation(self, subjects: Iterable[str], name: str, objects: Iterable[str]) -> None:
        objects = tuple(objects)
        for subject in subjects:
            for thing in objects:
                self.relations[subject, name, thing] = None


class Verb:
    """A verb that waits for its objects: who does it, its name with particles, and what was found for it."""

    __slots__ = ("clause", "name", "passive", "satisfied", "subjects", "takes_object")

    def __init__(self, name: str, subjects: list[str], *, passive: bool, clause: bool) -> None:
        self.name = name
        self.subjects = subjects
        self.passive = passive
        self.clause = clause
        self.takes_object = not passive
        self.satisfied = False


class Reader:
    """Walks once over the words of a caption; `notes` holds what it found."""

    def __init__(self, words: Sequence[Word], tags: Sequence[str]) -> None:
        self.words, self.tags = words, tags
        self.notes = Notes()
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
        self.owner_candidates: list[tuple[str, str]] = []

    # Noun groups

    def noun_group(self, start: int) -> tuple[int, str]:
        """Read the noun group that starts here; gives the place after it and the object's name ("" when it has none)."""
        words, tags, end = self.words, self.tags, len(self.tags)
        place, modifiers, owner, head = start, [], "", ""
        determiner = ""
        number_of_head = ""
        while place < end:
            tag, word = tags[place], words[place]
            following = tags[place + 1] if place + 1 < end else "."
            if tag == "T" or tag == "K":
                if modifiers or determiner and word.text in ("a", "an", "the"):
                    break
                determiner = word.text
            elif tag == "Y":
                if modifiers or owner:
                    break
                owner = self.antecedent(word.text)
            elif tag in "NS":
                if following in "NS" or (following in "JPGQ" and place + 2 < end and tags[place + 2] in "NS" and following == "J"):
                    modifiers.append(word.noun)
                elif following == "'":
                    head = self.thing(word, modifiers, owner)
                    owner, head, modifiers = head, "", []
                    place += 1
                else:
                    head, number_of_head = self.thing(word, modifiers, owner), tag
                    place += 1
                    break
            elif tag == "#":
                modifiers.append(word.text)
            elif tag == "J":
                modifiers.append(word.text)
            elif tag in "GPQ" and self._noun_ahead(place + 1):
                modifiers.append(word.text if ("J" in word.tags or "N" in word.tags or tag == "G") else word.verb)
            elif tag == "R" and following in "JPGQ#" and self._noun_ahead(place + 1):
                pass
            elif tag in "C," and modifiers and self._adjective_ahead(place + 1):
                pass
            else:
                break
            place += 1
        if not head and modifiers and place > start:
            head = self._headless(place, modifiers, owner, determiner)
        elif head and head in COUNTED and (determiner in ("a", "an") or modifiers) and place + 1 < end and words[place].text == "of":
            return self._counted(start, place, head, modifiers[0] if modifiers else "a")
        if head:
            self.owner_candidates.append((head, number_of_head))
        return place, head

    def _headless(self, place: int, modifiers: list[str], owner: str, determiner: str) -> str:
        word = self.words[place - 1]
        if self.tags[place - 1] != "J" or not modifiers:
            return ""
        return self.thing(word, modifiers[:-1], owner)

    def _counted(self, start: int, place: int, name: str, count: str) -> tuple[int, str]:
        """Read "a pair of gloves" as gloves that are counted."""
        after, head = self.noun_group(place + 1)
        if not head:
            return place, name
        for key in [key for key in self.notes.attributes if key[0] == name]:
            del self.notes.attributes[key]
        self.notes.objects.pop(name, None)
        self.notes.attribute((head,), count)
        return after, head

    def _noun_ahead(self, place: int) -> bool:
        tags = self.tags
        while place < len(tags) and tags[place] in "JGPQR#C,":
            place += 1
            if place < len(tags) and tags[place - 1] in "C," and tags[place] not in "JGPQRNS":
                return False
        return place < len(tags) and tags[place] in _NOUNS

    def _adjective_ahead(self, place: int) -> bool:
        tags = self.tags
        if place < len(tags) and tags[place] == "C":
            place += 1
        return place < len(tags) and (tags[place] in "JR" or (tags[place] in "PQ" and tags[place - 1] in "C,")) and self._noun_ahead(place)

    def thing(self, word: Word, modifiers: list[str], owner: str) -> str:
        name = word.noun
        notes = self.notes
        notes.objects[name] = None
        for modifier in modifiers:
            notes.attributes[name, modifier] = None
        if owner:
            notes.relations[owner, "have", name] = None
        return name

    def antecedent(self, pronoun: str) -> str:
        """Find whom a pronoun means: the clause's subject before other groups, people for he and she."""
        if pronoun in ("my", "your", "our", "i", "you", "we", "me", "us", "whose"):
            return ""
        personal = pronoun in ("his", "her", "he", "she", "him")
        candidates = [*self.main[:1], *(name for name, _ in self.owner_candidates)]
        for name in candidates:
            if not personal or name in PEOPLE:
                return name
        return candidates[0] if candidates else ""

    # The walk

    def read(self) -> Notes:
        """Read all words."""
        place, end = 0, len(self.tags)
        while place < end:
            tag = self.tags[place]
            if (
                tag in _GROUP_STARTS
                or (tag in "GPQ" and self._modifies(place))
                or (tag == "R" and self._modifies(place + 1) and self._noun_ahead(place + 1))
            ):
                after, name = self.noun_group(place)
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
        self.close_verb()
        self.main, self.role, self.preposition, self.pending = [], [], "", ""
        self.finite = self.copula = self.detached = False

    def take_pronoun(self, text: str, after: int) -> None:
        name = self.antecedent(text)
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
        for subjects, name in self.role:
            self.notes.relation(subjects, name, things)
        if not self.role and not self.finite and self.verb is None and self.main is self.last:
            self.main = self.last = self.head = [*self.main, *things]
        else:
            self.last = things

    def new_clause_ahead(self, place: int) -> bool:
        """Whether the noun group that ends here is the subject of a finite verb of its own."""
        if not self.finite:
            return False
        tags = self.tags
        while place < len(tags) and tags[place] not in _BOUNDARY:
            if tags[place] in "ZDB" or (tags[place] == "V" and tags[place - 1] != "O"):
                return True
            place += 1
        return False

    # Prepositions

    def read_preposition(self, place: int) -> int:
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
        name, self.preposition = self.preposition, ""
        verb = self.verb
        if verb is not None and not self.belongs_to_noun(name, verb):
            verb.satisfied = True
            verb.takes_object = False
            if verb.passive and verb.clause and name != "by":
                self.role = []
            else:
                self.note_role(verb.subjects, f"{verb.name} {name}", things)
        elif self.copula and self.main:
            self.note_role(self.main, name, things)
            self.copula = False
        elif self.last:
            self.note_role(self.last, name, things)

    def belongs_to_noun(self, name: str, verb: Verb) -> bool:
        """Whether a preposition after a verb and something else belongs to that something."""
        if not verb.satisfied or not self.last:
            return False
        return name in ("of", "with", "in", "on", "near", "beside", "behind", "between", "under")

    def note_role(self, subjects: list[str], name: str, things: list[str]) -> None:
        self.notes.relation(subjects, name, things)
        self.role = [(subjects, name)]

    def read_adverb(self, place: int) -> int:
        name, after, inner = self.preposition_at(place)
        if after > place + 1:
            self.preposition = name
            return after
        if self.verb is not None and not self.verb.satisfied and name in PARTICLES:
            self.verb.name += " " + name
        return place + 1

    # Verbs

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
        if following == "J" and not self._noun_ahead(after):
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
        tag, word = self.tags[place], self.words[place]
        if tag == "M":
            self.begin_finite()
            return place + 1
        if tag in _FINITE:
            if self.finite and self.verb is None and self.tags[place - 1] in "MRB":
                return self.start_verb(place, self.main, passive=False, clause=True)
            self.begin_finite()
            return self.start_verb(place, self.main, passive=False, clause=True)
        subjects = self.participle_subjects(place)
        return self.start_verb(place, subjects, passive=tag in "PQ" and not word.text.endswith("ing"), clause=False)

    def participle_subjects(self, place: int) -> list[str]:
        """Say who does what a participle says: the group before it, or the clause's subject."""
        pending, self.pending = self.pending, ""
        verb = self.verb
        before = self.tags[place - 1] if place else "^"
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
        if self.role and self.role[0][1] != "of":
            return self.head or self.last
        return self.last

    def start_verb(self, place: int, subjects: list[str], *, passive: bool, clause: bool) -> int:
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
