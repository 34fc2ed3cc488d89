"""What a word may be: its possible parts of speech and its lemmas, from lemminflect's word lists and from endings."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import util
from pathlib import Path
from typing import NamedTuple

from seqrl.metrics.spice.words import ADJECTIVES, CLOSED, GERUND_NOUNS, NOUNS, ONLY_ADJECTIVES, PLURAL_ONLY, SINGULAR_S, VERBS

CACHED_WORDS, LONGEST_WORD = 50_000, 60
_ADJECTIVE_ENDINGS = ("y", "ous", "ful", "less", "ish", "able", "ible", "ic", "al", "ive", "ern", "ese", "en")

_TAGS = {"adj": "J", "adv": "R", "aux": "M"}
_SURE_ENDINGS = ("ible", "able", "ous", "ful", "less")


class Word(NamedTuple):
    """A word's possible tags (one letter each, see `tagger`), its lemma as a noun and as a verb, and whether it is mostly a verb."""

    text: str
    tags: str
    noun: str
    verb: str
    verbal: bool


@cache
def _entries() -> dict[str, str]:
    """Read lemminflect's forms, word -> "noun,dog;verb,dog", without importing the package."""
    entries: dict[str, str] = {}
    for line in _lines("lemma_lu.csv.gz"):
        form, _, rest = line.partition(",")
        entries[form] = f"{entries[form]};{rest}" if form in entries else rest
    return entries


def _kinds(text: str) -> dict[str, str]:
    """Give the parts of speech that a form may be, each with its lemma."""
    found = (entry.split(",") for entry in _entries().get(text, "").split(";") if entry)
    return {kind: lemma.split("/")[0] for kind, lemma in found}


@cache
def _past_only() -> dict[str, str]:
    """Say of irregular forms whether they are a past tense ("D") or a participle ("Q") only."""
    found: dict[str, str] = {}
    for line in _lines("infl_lu.csv.gz"):
        if ",verb," not in line:
            continue
        fields = line.split(",")
        if len(fields) > 3 and fields[3]:
            for forms, tag in ((fields[2], "D"), (fields[3], "Q")):
                for form in forms.split("/"):
                    found[form] = tag if found.get(form, tag) == tag else "P"
    return found


def _lines(name: str) -> list[str]:
    spec = util.find_spec("lemminflect")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "expected the package lemminflect, whose word lists say what a word may be; install it with `pip install lemminflect`"
        )
    path = Path(spec.origin).parent / "resources" / name
    return gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()


_words: dict[str, Word] = {}


def look_up(text: str) -> Word:
    """Say what a lower-case word may be; words seen before are kept, at most `CACHED_WORDS` of them."""
    word = _words.get(text)
    if word is None:
        if len(_words) >= CACHED_WORDS:
            _words.clear()
        word = _words[text] = _describe(text.lower())
    return word


def _describe(text: str) -> Word:
    closed = CLOSED.get(text)
    if closed is not None:
        return Word(text, closed, text, _kinds(text).get("verb", text), verbal=False)
    if len(text) > LONGEST_WORD or not any(map(str.isalpha, text)):
        number = text[:1].isdigit() and len(text) <= LONGEST_WORD
        return Word(text, "#" if number else "N", text, text, verbal=False)
    kinds = _kinds(text)
    tags = "".join(_tags(text, kind, lemma) for kind, lemma in kinds.items()) if kinds else _guess(text)
    if text in GERUND_NOUNS and text != "swing":
        tags = "N"
    if text in PLURAL_ONLY:
        tags = "S"
    if text in ADJECTIVES:
        tags += "J"
    elif "N" in tags and not text.endswith(_SURE_ENDINGS):
        tags = tags.replace("J", "")
    if text == "building":
        tags = "NG"
    if text in ONLY_ADJECTIVES:
        tags = "J"
    elif text in NOUNS:
        tags += "N"
    if tags == "Z" and (kinds["verb"] in NOUNS or "noun" in _kinds(kinds["verb"])):
        tags = "ZS"
    if "J" not in tags and len(text) > 6 and text.endswith(_SURE_ENDINGS):
        tags += "J"
    noun = _noun_lemma(text, kinds.get("noun"))
    verb = kinds.get("verb") or _verb_lemma(text)
    tags = "".join(dict.fromkeys(tags))
    return Word(text, tags, noun, verb, verbal=verb in VERBS)


def _tags(text: str, kind: str, lemma: str) -> str:
    if kind == "noun":
        return "S" if text in PLURAL_ONLY or (text != lemma and text not in SINGULAR_S) else "N"
    if kind in _TAGS:
        return _TAGS[kind]
    if text.endswith("ing") and text != lemma:
        return "G"
    if text == lemma:
        return "V" + ("P" if text in _past_only() else "")
    if text.endswith("s") and not lemma.endswith("sss"):
        return "Z"
    return _past_only().get(text, "P")


def _guess(text: str) -> str:
    """Guess from the ending of a word that no list has."""
    if "-" in text:
        last = text.rsplit("-", 1)[1]
        if last.endswith(("ed", "ing")) or last in ADJECTIVES or last in ("old", "sized", "like", "free"):
            return "J"
        return _guess(last) if last and "-" not in last and last not in _entries() else "N"
    if text.endswith("ing") and len(text) > 5:
        return "G"
    if text.endswith("ed") and len(text) > 4:
        return "PJ"
    if text.endswith("ly") and len(text) > 4:
        return "R"
    if text.endswith("s") and not text.endswith(("ss", "us", "is")) and len(text) > 3:
        return "SZ"
    return "JN" if text.endswith(_ADJECTIVE_ENDINGS) and len(text) > 4 else "N"


def _noun_lemma(text: str, lemma: str | None) -> str:
    if text in PLURAL_ONLY or text in SINGULAR_S:
        return text
    if text in _OTHER_LEMMAS:
        return _OTHER_LEMMAS[text]
    if lemma is not None:
        return lemma
    if text.endswith("s") and not text.endswith(("ss", "us", "is")) and len(text) > 3:
        if text.endswith("ies") and len(text) > 4:
            return text[:-3] + "y"
        return text[:-2] if text.endswith(("sses", "shes", "ches", "xes")) else text[:-1]
    return text


_OTHER_LEMMAS = {"leaves": "leaf", "graffiti": "graffiti", "fries": "fries"}


def _verb_lemma(text: str) -> str:
    for ending, cut in (("ing", 3), ("ed", 2)):
        stem = text[:-cut]
        if text.endswith(ending) and len(stem) > 2:
            if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
                return stem[:-1]
            return stem + "e" if stem + "e" in _entries() else stem
    return text[:-1] if text.endswith("s") and not text.endswith("ss") and len(text) > 3 else text
