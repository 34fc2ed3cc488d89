"""RNNLG's data: dialogue acts and responses, slots taken out and put back as the toolkit's resource files say.

An act is written `inform(name='chow';kidsallowed=no)`.

Source: Wen et al. 2015 (Semantically conditioned LSTM-based natural language generation for spoken dialogue systems) and Wen et al. 2016
(Multi-domain neural network language generation for spoken dialogue systems), whose toolkit's definitions these are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path

from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import json_of, lines_of, read_json, read_text
from seqrl.run.registry import nearest
from seqrl.tasks.text.pairs import Pairs, merged

SPLITS = {"train": "train", "dev": "valid", "test": "test"}
_KIND = re.compile(r"\??[A-Za-z_]+")
# A slot, and its value where it has one; a quote inside of a value in quotes is followed by more of it.
_SLOT = re.compile(r"""([^=;()']+)(?:=(?:(['"])(.*?)\2(?=[;)])|((?!['"])[^;)]*)))?""", re.DOTALL)
_FEATURES = re.compile(r"sv\.(.+)\.(.+)")


@dataclass(frozen=True)
class Act:
    """What is to be said.

    Attributes:
        kind: such as `inform` or `?request`.
        slots: names with their values, None for a slot that is asked for, in the order in which they were written.
    """

    kind: str
    slots: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Line:
    """A line of the data.

    Attributes:
        act: what is to be said.
        response: what a person said, slots in the place of values.
        baseline: what the toolkit's hand-crafted generator says, the same way.
    """

    act: Act
    response: str
    baseline: str


class Rnnlg:
    """A domain of the data.

    Args:
        folder: with `special_values.txt`, `detect.pair`, `feat_template.txt`, `mapping.pair` and a folder for each domain.
        domain: name of a folder, which is also what SLOT_TYPE is written as.

    Raises:
        FileNotFoundError: when a file is not there.
        ValueError: when one holds something else.
    """

    def __init__(self, folder: Path, domain: str) -> None:
        self.folder, self.domain = folder, domain
        special = read_json(folder / "special_values.txt")
        self._unified = {value: name for name, values in special.items() for value in values}
        self._special = {*special, "?"}
        found = read_json(folder / "detect.pair")
        self.tokens: dict[str, str] = found["general"]
        self.keywords: dict[str, list[str]] = found["binary"]
        self._known = set(lines_of(read_text(folder / "feat_template.txt")))
        self._slots = {match[1] for match in map(_FEATURES.fullmatch, self._known) if match}
        self._mapping = [line.split("\t") for line in lines_of(read_text(folder / "mapping.pair"))]

    @cached_property
    def lines(self) -> dict[str, list[Line]]:
        """The lines of each split."""
        return {name: self._read(self.folder / self.domain / f"{file}.json") for name, file in SPLITS.items()}

    def pairs(self) -> dict[str, Pairs]:
        """Give each split as delexicalised acts with all responses to them."""
        return {name: merged([(self.prompt(line.act), line.response) for line in lines]) for name, lines in self.lines.items()}

    def features(self, act: Act) -> list[tuple[str, str]]:
        """Give slots with `_1`, `_2`, ... for a value, with a special value, or with `?`, in alphabetical order."""
        seen: dict[str, int] = {}
        found = []
        for slot, value in act.slots:
            unified = "?" if value is None else self._unified.get(value, value)
            if unified not in self._special:
                seen[slot] = seen.get(slot, 0) + 1
                unified = f"_{seen[slot]}"
            found.append((slot, unified))
        return sorted(found)

    def prompt(self, act: Act) -> str:
        """Write an act without values: its kind, then SLOT_NAME for a value, `kidsallowed kidsallowed=yes` for a special one, `food food=?`
        for a question: a pair of slot and value that nobody has trained on is an unknown word, and its slot still a known one.
        """
        shown = (f"SLOT_{slot.upper()}" if value[0] == "_" else f"{slot} {slot}={value}" for slot, value in self.features(act))
        return " ".join([act.kind, *shown])

    def delexicalise(self, text: str, act: Act) -> str:
        """Write slots in the place of values, the longest value first; parts of a value with `and` or `or` come in any order."""
        for slot, value in sorted(self._values(act), key=lambda each: len(each[1]), reverse=True):
            parts = value.replace(" or ", " and ").split(" and ")
            orders = [between.join(order) for between in (" and ", " or ") for order in permutations(parts)]
            found = next((order for order in orders if order in text), None)
            if found is not None:
                text = f" {text} ".replace(f" {found} ", f" SLOT_{slot.upper()} ", 1)[1:-1]
        return text

    def lexicalise(self, text: str, act: Act) -> str:
        """Write values in the place of slots; one that is said twice, and wanted once, is written once."""
        for slot, value in sorted(self._values(act), key=lambda each: len(each[0]), reverse=True):
            text = f" {text} ".replace(f" SLOT_{slot.upper()} ", f" {value} ", 1)[1:-1]
        return f" {text} ".replace(" SLOT_TYPE ", f" {self.domain} ")[1:-1]

    def errors(self, text: str, act: Act) -> tuple[int, int, int]:
        """Count slots wanted, all errors, and those of delexicalised slots alone, in a delexicalised response.

        An error is a slot that is said more or less often than wanted; one of yes or no is found by keywords, which do not tell the two
        apart. Choices and suggestions count nothing.
        """
        if act.kind in ("?select", "suggest"):
            return 0, 0, 0
        words, features = text.split(), [f"sv.{slot}.{value}" for slot, value in self.features(act)]
        known = [each for each in features if each in self._known]

        def wanted(slot: str, *values: str) -> int:
            return sum(known.count(f"sv.{slot}.{value}") for value in values)

        slots = [(wanted(slot, "_1", "_2", "_3"), words.count(token)) for slot, token in self.tokens.items()]
        answers = [(wanted(slot, "yes", "no", "dontcare", "none"), sum(map(words.count, said))) for slot, said in self.keywords.items()]
        delexicalised, binary = (sum(abs(number - said) for number, said in part) for part in (slots, answers))
        return sum(number for number, _ in slots + answers), delexicalised + binary, delexicalised

    def _values(self, act: Act) -> list[tuple[str, str]]:
        given = ((slot, value) for slot, value in act.slots if value is not None)
        return [(slot, value) for slot, value in given if self._unified.get(value, value) not in self._special]

    def _read(self, path: Path) -> list[Line]:
        lines = lines_of(read_text(path))
        comments = next((number for number, line in enumerate(lines) if line.startswith("[")), 0)
        rows = json_of("\n".join(["" if number < comments else line for number, line in enumerate(lines)]), str(path))
        if not isinstance(rows, list):
            raise ValueError(f"{path}: expected a list of [act, response, baseline], got {str(rows)[:60]}")
        found, start = [], 0
        for index, row in enumerate(rows):
            if not (isinstance(row, list) and len(row) == 3 and all(isinstance(text, str) for text in row)):
                raise ValueError(f"{path}, item {index}: expected [act, response, baseline], got {str(row)[:60]}")
            shown = json.dumps(row[0], ensure_ascii=False)
            start = next((number for number in range(start, len(lines)) if shown in lines[number]), start)
            place = f"{path}, line {start + 1}"
            act = parse_act(row[0], place)
            self._require_known(act, row[0], place)
            start += 1
            response, baseline = (self.delexicalise(self._normalised(text), act) for text in row[1:])
            found.append(Line(act, response, baseline))
        return found

    def _require_known(self, act: Act, text: str, place: str) -> None:
        """Refuse a slot that the resource files do not know, which would count as no error wherever it is left out."""
        for slot, _ in act.slots:
            if slot not in self._slots:
                column = _column(text, slot)
                raise ValueError(f"{place}, column {column}: there is no slot {slot!r} in feat_template.txt; {nearest(slot, self._slots)}")

    def _normalised(self, text: str) -> str:
        """Cut a last full stop, question or exclamation mark, and write as the toolkit's table of words does."""
        text = f" {' '.join(re.sub(r' [.?!]$', '', text).lower().split())} "
        for before, after in self._mapping:
            text = text.replace(f" {before} ", f" {after} ")
        return " ".join(text.split())


def _column(text: str, slot: str) -> int:
    """Find where a slot stands in an act as it was written, with the underlines and spaces that its name has lost; from 1."""
    found = re.search(r"(?<=[(;])\s*" + r"[_ ]*".join(map(re.escape, slot)) + r"[_ ]*(?=[=;)])", text)
    return found.start() + 1 if found else 1


def parse_act(text: str, place: str) -> Act:
    """Read an act.

    Args:
        text: a kind and, in brackets, slots with `;` between them, each with `=` and a value or alone; quotes around a value are left out.
        place: named in messages, such as "acts.txt, line 3".

    Raises:
        ValueError: naming place and column of what is wrong.
    """
    kind = _KIND.match(text)
    if not kind:
        raise _wrong(text, place, 0, "the kind of an act, such as inform")
    at, slots = kind.end(), list[tuple[str, str | None]]()
    if text[at : at + 1] != "(":
        raise _wrong(text, place, at, "an opening bracket")
    if text[at + 1 : at + 2] == ")":
        at += 1
    while text[at] != ")":
        found = _SLOT.match(text, at + 1)
        if not found or not found[1].strip():
            raise _wrong(text, place, at + 1, "the name of a slot" + ("" if slots else " or a closing bracket"))
        value, at = found[3] if found[2] else found[4], found.end()
        if value is not None and not value.strip():
            raise _wrong(text, place, found.end(1) + 1, "a value")
        if value is None and text[at : at + 1] == "=":
            raise _wrong(text, place, at + 1, "a value whose quote is closed")
        if text[at : at + 1] not in (";", ")"):
            raise _wrong(text, place, at, "a semicolon or a closing bracket")
        slots.append((found[1].strip().replace("_", "").replace(" ", ""), None if value is None else value.strip()))
    if text[at + 1 :].strip():
        raise _wrong(text, place, at + 1, "nothing behind the closing bracket")
    return Act(kind[0], tuple(slots))


def _wrong(text: str, place: str, column: int, expected: str) -> ValueError:
    came = repr(text[column : column + 20]) if column < len(text) else "the end"
    return ValueError(f"{place}, column {column + 1}: expected {expected}, got {came}, in the act {brief(text)}")
