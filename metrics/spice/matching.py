"""Which tuples of two scene graphs say the same: names that are equal or share a synset of METEOR's English synonyms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import product

from seqrl.metrics.spice.graph import SceneGraph

Tuples = tuple[tuple[str, ...], ...]
_WORDS_KEPT = 2**16


class Synonyms:
    """Finds the names that match a name: itself, and those that share a synset with it.

    Args:
        synsets: word -> numbers of its synsets; a name of several words stands there with underscores.
    """

    def __init__(self, synsets: Mapping[str, Sequence[int]]) -> None:
        self._synsets = synsets
        self._words: dict[int, list[str]] = {}
        for word, numbers in synsets.items():
            name = word.replace("_", " ")
            for number in numbers:
                self._words.setdefault(number, []).append(name)
        self.related = lru_cache(_WORDS_KEPT)(self._related)

    def _related(self, name: str) -> frozenset[str]:
        numbers = self._synsets.get(name.replace(" ", "_"), ())
        return frozenset((name, *(word for number in numbers for word in self._words[number])))

    def merge(self, graphs: Sequence[SceneGraph]) -> Tuples:
        """List the tuples of the union of graphs, in which synonymous objects are one object, and what is said of it twice counts once.

        An object goes by the name that most graphs use (of two such, by the first in the alphabet), and a name joins the first of those
        that it matches; so the order of the graphs does not matter. The attributes of an object, and the relations between two, are
        merged in the same way.

        Source: Anderson et al. 2016 (SPICE), the scene graph of a set of references.
        """
        name_of = self._names(name for graph in graphs for name in graph.objects)
        attributes: dict[tuple[str, ...], list[str]] = {}
        relations: dict[tuple[str, ...], list[str]] = {}
        for graph in graphs:
            for name, attribute in graph.attributes:
                attributes.setdefault((name_of.get(name, name),), []).append(attribute)
            for subject, relation, target in graph.relations:
                relations.setdefault((name_of.get(subject, subject), name_of.get(target, target)), []).append(relation)
        merged: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(name_of.values())]
        for (name,), said in attributes.items():
            merged += ((name, attribute) for attribute in dict.fromkeys(self._names(said).values()))
        for (subject, target), said in relations.items():
            merged += ((subject, relation, target) for relation in dict.fromkeys(self._names(said).values()))
        return tuple(merged)

    def _names(self, used: Iterable[str]) -> dict[str, str]:
        counts = Counter(used)
        if len(counts) == 1:
            return {name: name for name in counts}
        chosen: dict[str, str] = {}
        names: list[str] = []
        for name in sorted(counts, key=lambda name: (-counts[name], name)):
            related = self.related(name)
            chosen[name] = next((earlier for earlier in names if earlier in related), name)
            if chosen[name] is name:
                names.append(name)
        return chosen


class ReferenceTuples:
    """The tuples of an item's references, laid out so that looking up a candidate's costs little."""

    def __init__(self, tuples: Iterable[tuple[str, ...]]) -> None:
        self.tuples = frozenset(tuples)
        self.objects = frozenset(each[0] for each in self.tuples if len(each) == 1)
        self.names = frozenset(name for each in self.tuples for name in each)

    def matched(self, candidate: Tuples, synonyms: Synonyms) -> list[bool]:
        """Say of each tuple of a candidate whether one of these has as many names and matches it name by name."""
        found = {name: self.names & synonyms.related(name) for each in candidate for name in each}
        matched = []
        for each in candidate:
            if len(each) == 1:
                matched.append(not found[each[0]].isdisjoint(self.objects))
            else:
                matched.append(not self.tuples.isdisjoint(product(*[found[name] for name in each])))
        return matched


@cache
def english_synonyms() -> Synonyms:
    """Read METEOR's English synsets once a process."""
    from seqrl.metrics.meteor.resources import english_synsets

    return Synonyms(english_synsets())
