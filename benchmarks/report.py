"""Write the figures of README.md, docs/results.md and docs/earlier.md from benchmarks/results, or check that they stand there.

    python benchmarks/report.py            # after a measurement: write them anew
    python benchmarks/report.py --check    # name what differs; tests/test_claims.py does the same

A figure stands in one of two kinds of block. Text between `<!-- figures: NAME -->` and `<!-- /figures -->` is written by the
function NAME of benchmarks/blocks. Text between `<!-- quoted: FILE.json -->` and `<!-- /quoted -->` is written by hand, and every
number in it has to be in that file, rounded to the digits shown, or, with a percent sign, a hundredth of it. Elsewhere a number is
an error unless `EXCEPTIONS` knows its kind, the heading above it is `BY_HAND`, or its line ends with `<!-- settings -->`, which says
that its numbers are settings or quoted from a paper.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from competitors import run_benchmark
from provenance import FIELDS, RESULTS, ROOT

__all__ = ["FIELDS", "Files", "render", "rewrite"]
PAGES = {name: ROOT / name for name in ("README.md", "docs/results.md", "docs/earlier.md")}
# Other pages with blocks; their other numbers are ranges and settings.
PAGES_OF_RANGES = {name: ROOT / name for name in ("docs/metrics.md", "docs/scaling.md", "docs/variance.md", "ARCHITECTURE.md")}
# Headings whose figures have less behind them; they stand in docs/earlier.md only.
CHANGED_TREE, BY_HAND = "## Measured before files named their commit", "## Run once by hand, no file"
SETTINGS = "<!-- settings -->"
# What may stand outside of a block: kinds of numbers that are no figures of ours.
EXCEPTIONS = {
    r"Python \d\.\d+\+?": "a requirement",
    r"\d+x\d+(?: pixels)?": "the size of an image or a glimpse",
    r"\(?(?:18|19|20)\d\d[a-z]?\)?": "the year of a paper",
    r"seeds? \d(?:, \d)*(?: and \d)?|\d seeds": "a setting",
    r"[\d,]+ (?:updates|images|steps|episodes|games|captions|glimpses|photographs|minibatches|copies|epochs|references)": "a setting",
    r"\d+ bits?": "a dtype",
    r"95% (?:bootstrap )?intervals?": "the width of an interval",
    r"two threads|one thread|\d threads?": "a setting",
    r"Apache-2\.0": "a name",
}
NUMBER = r"(?<![A-Za-z0-9_.][-/])(?<![A-Za-z0-9_.$])[-+]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e-?\d+)?"
BLOCK = re.compile(r"<!-- (figures|quoted): (\S+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


@dataclass
class Files:
    """Reads files of results, and takes down where what was read comes from.

    Attributes:
        used: (file, provenance) of everything read so far.
    """

    folder: Path = RESULTS
    used: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def read(self, name: str, *keys: str) -> Any:
        """Give a file's contents, or what stands in it under keys within each other."""
        whole = node = json.loads((self.folder / name).read_text(encoding="utf-8"))
        for key in keys:
            node = node[key]
        inside = list(provenances(node))
        self.used += [(name, facts) for facts in inside or [whole["provenance"]]]
        return node

    def peek(self, name: str) -> Any:
        """Give a file's contents to look what there is, without taking anything down; nothing of it may be shown."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def provenances(node: Any) -> Iterator[dict[str, Any]]:
    """Find every `provenance` within a file's contents."""
    if isinstance(node, dict):
        if "provenance" in node:
            yield node["provenance"]
        for key, value in node.items():
            if key != "provenance":
                yield from provenances(value)
    elif isinstance(node, list):
        for value in node:
            yield from provenances(value)


def source_lines(used: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Say in a line for each file and commit where figures come from."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name, facts in used:
        key = (name, facts["command"], str(facts["commit"])[:10], str(facts["clean"]), facts["cpu"]["model"])
        groups.setdefault(key, []).append(facts)
    lines = []
    for (name, command, commit, clean, model), facts_of in groups.items():
        facts = facts_of[0]
        seeds = ", ".join(str(seed) for seed in sorted({seed for entry in facts_of for seed in entry["seeds"]}))
        state = {"True": "", "False": " with changes", "None": " (it is not known whether with changes)"}[clean]
        bf16 = {True: "bf16", False: "no bf16", None: "not known whether bf16"}[facts["cpu"]["bf16"]] + (
            " and AMX" if facts["cpu"]["amx"] else ""
        )
        versions = ", ".join(f"{package} {facts['versions'][package]}" for package in ("python", "torch") if package in facts["versions"])
        lines.append(
            f"From [{name}](../benchmarks/results/{name}): `{command}`; seeds {seeds}; commit {commit}{state}; {versions}; "
            f"{facts['cpu']['cores']} cores of {model} ({bf16})."
        )
    return "\n".join(f"<sub>{line}</sub>" for line in dict.fromkeys(lines))


def render(name: str, *, page: str) -> tuple[str, Files]:
    """Write a block anew; outside of the README a line about where it comes from follows.

    Raises:
        KeyError: when no function of benchmarks/blocks has that name.
    """
    files = Files()
    text = functions()[name](files).rstrip("\n")
    sources = f"\n\n{source_lines(files.used)}" if page != "README.md" and files.used else ""
    return f"{text}{sources}\n", files


def functions() -> dict[str, Callable[[Files], str]]:
    """Find what writes blocks, by name."""
    from blocks import find_blocks

    return find_blocks()


def rewrite(page: str, text: str) -> str:
    """Give a page's text with every block of figures written anew."""

    def write(match: re.Match[str]) -> str:
        kind, name, old = match.groups()
        new = old if kind == "quoted" else render(name, page=page)[0]
        return f"<!-- {kind}: {name} -->\n{new}<!-- /{kind} -->"

    return BLOCK.sub(write, text)


def numbers_outside(text: str) -> list[str]:
    """Find the numbers that stand in no block and are of no kind that `EXCEPTIONS` knows, each with its line."""
    text = BLOCK.sub("", text)
    text = re.sub(rf"^{re.escape(BY_HAND)}$.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(rf"^.*{SETTINGS}$", "", text, flags=re.MULTILINE)
    text = _prose(text)
    found = []
    for line in text.splitlines():
        left = line
        for pattern in EXCEPTIONS:
            left = re.sub(rf"(?<![\w.,-]){pattern}(?![\w%])", "", left)
        found += [f"{number} in {line.strip()!r}" for number in re.findall(NUMBER, left)]
    return found


def not_in_file(name: str, text: str, folder: Path = RESULTS) -> list[str]:
    """Find the numbers of a quoted block that are not in its file."""
    known = list(_numbers(json.loads((folder / name).read_text(encoding="utf-8"))))
    text = _prose(text)
    for pattern in EXCEPTIONS:
        text = re.sub(rf"(?<![\w.,-]){pattern}(?![\w%])", "", text)
    missing = []
    for match in re.finditer(rf"({NUMBER})\s?(%?)", text):
        shown, percent = match.group(1).replace(",", ""), match.group(2)
        digits, value = len(shown.partition(".")[2]), float(shown)
        scale = 100 if percent else 1
        half = 0.5000001 * 10**-digits
        if not any(abs(abs(number) * scale - abs(value)) <= half or abs(abs(number) - abs(value)) <= half for number in known):
            missing.append(match.group(0).strip())
    return missing


def _prose(text: str) -> str:
    """Leave out comments, code within lines, addresses and headings."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`|\]\([^)\n]*\)|^#.*$", "", text, flags=re.MULTILINE)


def _numbers(node: Any) -> Iterator[float]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value)
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield float(node)


def headings_above(text: str) -> Iterator[tuple[str, str, str]]:
    """Give kind and name of each block with the `##` heading that it stands under."""
    for match in BLOCK.finditer(text):
        above = re.findall(r"^## .*$", text[: match.start()], re.MULTILINE)
        yield match.group(1), match.group(2), above[-1] if above else ""


def main() -> None:
    """Write or check the pages; end with 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; name what differs and end with 1")
    args = parser.parse_args()
    differ = False
    for page, path in (PAGES | PAGES_OF_RANGES).items():
        text = path.read_text(encoding="utf-8")
        new = rewrite(page, text)
        if new != text and not args.check:
            path.write_text(new, encoding="utf-8")
            print(f"{page}: written")
        elif new != text:
            differ = True
            print(f"{page}: figures differ from benchmarks/results; `python benchmarks/report.py` writes them", file=sys.stderr)
        for problem in numbers_outside(text) if page in PAGES else ():
            differ = True
            print(f"{page}: a figure without a file: {problem}", file=sys.stderr)
        for kind, name, _ in headings_above(text):
            if kind == "quoted" and (missing := not_in_file(name, dict(_quoted(text))[name])):
                differ = True
                print(f"{page}: not in {name}: {', '.join(missing)}", file=sys.stderr)
    if differ:
        raise SystemExit(1)


def _quoted(text: str) -> Iterator[tuple[str, str]]:
    for match in BLOCK.finditer(text):
        if match.group(1) == "quoted":
            yield match.group(2), match.group(3)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
