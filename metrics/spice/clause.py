"""The state of a walk over a caption: what the clause has had so far, and the verb that waits for its objects."""

from __future__ import annotations

from collections.abc import Sequence

from seqrl.metrics.spice.graph import Notes, Verb
from seqrl.metrics.spice.lexicon import Word
from seqrl.metrics.spice.noun_groups import NounGroups

BOUNDARY = frozenset(".,CXW")
GROUP_STARTS = frozenset("TYJNSHA#K")


class Clause:
    """What a reader remembers of the caption and of the clause that it is in.

    Args:
        words: of the caption.
        tags: one letter a word, see `tagger`.
        headline: whether the caption's first participle has no subject, see `parser.as_headline`.
    """

    def __init__(self, words: Sequence[Word], tags: Sequence[str], *, headline: bool = False) -> None:
        self.words, self.tags = words, tags
        self.headline = headline  # the first participle has no subject
        self.headed = headline
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

    def start_clause(self) -> None:
        """Forget the clause so far."""
        self.close_verb()
        self.main, self.role, self.preposition, self.pending = [], [], "", ""
        self.finite = self.copula = self.detached = False

    def note_role(self, subjects: list[str], name: str, things: list[str]) -> None:
        """Note relations that coordinates of the objects will share."""
        self.notes.relation(subjects, name, things)
        self.role = [(subjects, name)]

    def begin_finite(self) -> None:
        """Find the subject of a finite verb and end the verb before."""
        self.close_verb()
        if self.finite and not self.pending:
            self.main = self.last
        elif not self.main and not self.detached:
            self.main = self.last
        self.finite, self.detached, self.pending, self.role, self.preposition = True, False, "", [], ""

    def start_verb(self, place: int, subjects: list[str], *, passive: bool, clause: bool) -> int:
        """Take a verb in hand; gives the place after it."""
        self.close_verb()
        self.copula = False
        self.preposition = ""
        self.role = []
        self.verb = Verb(self.words[place].verb, list(subjects), passive, clause, takes_object=not passive)
        return place + 1

    def close_verb(self) -> None:
        """End a verb: one without objects of its own says something about its subject."""
        verb, self.verb = self.verb, None
        if verb is not None and not verb.satisfied and verb.subjects and verb.name != "have" and verb.clause != verb.passive:
            self.notes.attribute(verb.subjects, verb.name)
