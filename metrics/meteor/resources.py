"""METEOR's word lists, read where pycocoevalcap's wheel has them: synonyms, irregular forms, function words."""

from __future__ import annotations

import zipfile
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_NEEDED = "reinstall it with `pip install --force-reinstall pycocoevalcap`"


def meteor_folder() -> Path:
    """Give the folder of pycocoevalcap that holds METEOR's jar and its table of paraphrases, without importing the package.

    Raises:
        FileNotFoundError: when the package is not installed.
    """
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "METEOR's word lists come with the package pycocoevalcap, which is not installed: pip install pycocoevalcap"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "meteor"


def read_lines(member: str, jar: Path | None = None) -> list[str]:
    """Read the lines of a file inside METEOR's jar.

    Args:
        member: its name in the jar.
        jar: METEOR's jar; that of pycocoevalcap by default.

    Raises:
        FileNotFoundError: when there is no jar.
        ValueError: when it is cut short or not METEOR's.
    """
    path = jar or meteor_folder() / "meteor-1.5.jar"
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member).decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: expected METEOR's jar there, found none; {_NEEDED}") from error
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path}: expected METEOR's jar with {member} in it, got a file that is cut short or another one; {_NEEDED}"
        ) from error


def _pairs(member: str, jar: Path | None) -> list[tuple[str, list[str]]]:
    lines = read_lines(member, jar)
    if len(lines) % 2:
        raise ValueError(f"{member} in METEOR's jar: expected pairs of lines, got {len(lines)} lines; {_NEEDED}")
    return [(first, second.split()) for first, second in zip(lines[::2], lines[1::2], strict=True)]


@cache
def english_synsets(jar: Path | None = None) -> dict[str, tuple[int, ...]]:
    """Give WordNet's sets of synonyms that hold a word: word (with "_" between its parts) to their numbers.

    Args:
        jar: METEOR's jar; that of pycocoevalcap by default.

    Raises:
        FileNotFoundError, ValueError: see `read_lines`.
    """
    return {word: tuple(map(int, numbers)) for word, numbers in _pairs("synonym/english.synsets", jar)}


@cache
def english_bases(jar: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Give the base forms of irregular forms, in the order of the file: "axes" to ("ax", "axis"); arguments as in `english_synsets`."""
    bases: dict[str, tuple[str, ...]] = {}
    for base, forms in _pairs("synonym/english.exceptions", jar):
        for form in forms:
            bases[form] = tuple(dict.fromkeys((*bases.get(form, ()), base)))
    return bases


@cache
def function_words(jar: Path | None = None) -> frozenset[str]:
    """Give the English words that METEOR counts as function words, punctuation among them; arguments as in `english_synsets`."""
    return frozenset(word for line in read_lines("function/english.words", jar) if (word := line.strip()))
