"""No figure of README.md or docs/results.md stands without its file, and no file without where it comes from."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def report() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        spec = importlib.util.spec_from_file_location("report_of_test", ROOT / "benchmarks" / "report.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # its dataclasses look for it there
        spec.loader.exec_module(module)
        yield module


PAGES = ("README.md", "ARCHITECTURE.md", "docs/results.md", "docs/earlier.md", "docs/metrics.md", "docs/scaling.md", "docs/variance.md")


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, (ROOT / request.param).read_text(encoding="utf-8")


def blocks(report: ModuleType, text: str) -> list[tuple[str, str, str]]:
    return [match.groups() for match in report.BLOCK.finditer(text)]


def test_figures_are_those_of_the_files(report: ModuleType, page: tuple[str, str]) -> None:
    name, text = page
    for kind, block, shown in blocks(report, text):
        if kind == "figures":
            assert shown == report.render(block, page=name)[0], f"{name}: `python benchmarks/report.py` writes {block} anew"
        else:
            assert report.not_in_file(block, shown) == [], f"{name}: numbers that are not in {block}"


def test_every_figure_stands_in_a_block(report: ModuleType, page: tuple[str, str]) -> None:
    if page[0] in report.PAGES:
        assert report.numbers_outside(page[1]) == []


def test_readme_and_results_quote_clean_commits_only(report: ModuleType, page: tuple[str, str]) -> None:
    name, text = page
    assert name == "docs/earlier.md" or not {report.CHANGED_TREE, report.BY_HAND} & set(text.splitlines())
    for kind, block, heading in report.headings_above(text):
        used = report.render(block, page=name)[1].used if kind == "figures" else provenances_of(report, block)
        if heading != report.CHANGED_TREE:
            assert [file for file, facts in used if facts["clean"] is not True] == [], f"{name}: {block}"


def test_nothing_is_stressed_that_no_file_holds(report: ModuleType) -> None:
    text = (ROOT / "docs" / "earlier.md").read_text(encoding="utf-8")
    for heading in (report.CHANGED_TREE, report.BY_HAND):
        assert heading in text
        assert "**" not in re.split(r"^## ", text.split(heading, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def provenances_of(report: ModuleType, name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, facts) for facts in report.provenances(json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8")))]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_every_file_says_where_it_comes_from(report: ModuleType, path: Path) -> None:
    found = provenances_of(report, path.name)
    assert found, "no provenance"
    for _, facts in found:
        assert set(report.FIELDS) <= facts.keys()
        assert re.fullmatch(r"python \S+\.py.*|python -m \S+.*", facts["command"]) and facts["seeds"] is not None
        assert re.fullmatch(r"[0-9a-f]{40}", facts["commit"]) and facts["clean"] in (True, False, None)
        assert "python" in facts["versions"] and {"model", "cores", "bf16", "amx"} <= facts["cpu"].keys()
        assert facts["clean"] is True or facts["note"], "say why it is not clean"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_no_file_names_a_folder_of_one_machine(path: Path) -> None:
    assert re.findall(r"/(?:work|tmp|home|root)/[^\" ]*", path.read_text(encoding="utf-8")) == []


# The checks themselves, on texts whose faults are known.


def test_a_number_outside_of_a_block_is_found(report: ModuleType) -> None:
    text = """# Title 12
It is 2.5 times as fast as 1,234, and -80.5 is 97% of it. In `num_updates=300` and [a link](x12.md)
and a Flickr8k on MNIST 28x28 nothing is wrong.
Python 3.11+, BLEU-4, LunarLander-v3, C51, seeds 0, 1, 2, Rennie 2017 and 500 updates of six glimpses neither.
Learning rate 1e-3, 4 epochs. <!-- settings -->
<!-- figures: agents -->
9.99
<!-- /figures -->
```
seqrl train --num_updates=77
```
"""
    found = [line.partition(" ")[0] for line in report.numbers_outside(text)]
    assert found == ["2.5", "1,234", "-80.5", "97"]
    by_hand = f"{report.BY_HAND}\n\n### Part\n\n3.5 |\n\n## Next\n\n4.5\n"
    assert [line.partition(" ")[0] for line in report.numbers_outside(by_hand)] == ["4.5"]


def test_a_quoted_number_is_looked_up_as_it_is_rounded(report: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": [0.8619, {"b": 1234.4}], "share": 0.664, "loss": -80.51, "yes": True}))
    text = "| 0.862 | 1,234 | +66% | -80.5 | 0.86 |"
    assert report.not_in_file("x.json", text, tmp_path) == []
    assert report.not_in_file("x.json", "0.863 1,235 67%", tmp_path) == ["0.863", "1,235", "67%"]


def test_a_block_is_not_changed_by_hand(report: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert report.rewrite("README.md", text) == text
    changed = text.replace(" microseconds a caption", "0 microseconds a caption")
    assert changed != text and report.rewrite("README.md", changed) == text


def test_what_was_read_is_taken_down(report: ModuleType, tmp_path: Path) -> None:
    facts = [{"commit": name} for name in "abc"]
    tree = {"provenance": facts[0], "one": {"provenance": facts[1], "seeds": {"0": {"provenance": facts[2]}}}, "two": {"value": 1}}
    (tmp_path / "x.json").write_text(json.dumps(tree))
    for keys, expected in (((), facts), (("one",), facts[1:]), (("two",), facts[:1]), (("one", "seeds", "0"), facts[2:])):
        files = report.Files(tmp_path)
        files.read("x.json", *keys)
        assert [found for _, found in files.used] == expected
