"""Figures of the demonstration: the captioner of drawn scenes before and after."""

from __future__ import annotations

import statistics
from typing import Any

from blocks.text import number, span, table

FILE = "scenes.json"
TITLES = {"control": "more cross-entropy", "self_critical": "self-critical, CIDEr-D", "mixed": "self-critical, CIDEr-D and variety"}
# figure -> (title, digits, whether it is a share)
ROWS = {
    "cider_d": ("CIDEr-D", 3, False),
    "bleu4": ("BLEU-4", 3, False),
    "length": ("words a caption", 1, False),
    "objects_said": ("things named a caption", 2, False),
    "facts_said": ("facts said a caption", 2, False),
    "facts_right": ("facts right a caption", 2, False),
    "facts_left_out": ("facts left out a caption", 2, False),
    "facts_right_share": ("right, of all facts said", 1, True),
    "shapes_right": ("right, of the shapes", 1, True),
    "colours_right": ("right, of the colours", 1, True),
    "counts_right": ("right, of the counts", 1, True),
    "looks_right": ("right, of the sizes and textures", 1, True),
    "relations_right": ("right, of the relations", 1, True),
    "places_right": ("right, of the places", 1, True),
    "templates": ("different templates", 0, False),
    "top_template": ("captions of the most frequent template", 0, True),
    "openings": ("different openings", 0, False),
    "top_opening": ("captions of the most frequent opening", 0, True),
    "distinct": ("different captions", 0, True),
    "bad_endings": ("captions that break off", 1, True),
}


def scenes(files: Any) -> str:
    """All figures of the test scenes: references, start, control, self-critical, mixed."""
    results = files.read(FILE)
    methods = [method for method in TITLES if method in results["runs"]]
    rows = []
    for key, (title, digits, share) in ROWS.items():
        cells = [_cell([results[name]["test"][key]], digits, share) for name in ("references", "start")]
        cells += [_cell([run["test"][key] for run in results["runs"][method]], digits, share) for method in methods]
        rows.append([title, *cells])
    updates = {method: span([run["updates"] for run in results["runs"][method]]) for method in methods}
    head = ["500 test scenes, greedy", "a reference", "start", *(TITLES[method] for method in methods)]
    done = "; ".join(f"{TITLES[method]}: {updates[method]}" for method in methods)
    return (
        f"{table(head, rows)}\n\nUpdates from the start: {done}. Mean of the seeds, lowest and highest in brackets; 0.0% right stands, "
        "too, where nothing of the kind is said."
    )


def scenes_confusions(files: Any) -> str:
    """Which shapes the captioner that ships takes for which."""
    confusions = files.read(FILE)["start"]["confusions"]
    twice = sum(count for pair, count in confusions.items() if pair.split(" -> ")[0] == pair.split(" -> ")[1])
    unknown = sum(count for pair, count in confusions.items() if pair.startswith("?"))
    others = {pair: count for pair, count in confusions.items() if not pair.startswith("?") and len(set(pair.split(" -> "))) == 2}
    listed = ", ".join(f"{pair.replace(' -> ', ' for ')} {count}" for pair, count in list(others.items())[:8])
    return (
        f"Of the shapes that the start names wrongly, {twice} are a second mention of what it has named before, {unknown} have a colour "
        f"that nothing or several things of the scene have, and {sum(others.values())} are taken for another shape: "
        f"{listed or 'none'} (true for said)."
    )


def scenes_examples(files: Any) -> str:
    """What the first scenes were said to show."""
    results = files.read(FILE)
    methods = [method for method in TITLES if method in results["runs"]]
    rows = []
    for index, caption in enumerate(results["examples"]["start"][:6]):
        rows.append(
            [results["examples"]["references"][index], caption, *(results["runs"][method][0]["captions"][index] for method in methods)]
        )
    return table(["two of five references", "start", *(TITLES[method] for method in methods)], rows)


def front_scenes(files: Any) -> str:
    """The README's table."""
    results = files.read(FILE)
    summary, start = results["summary"], results["start"]["test"]
    columns = {"cider_d": 3, "facts_said": 2, "facts_right": 2}
    rows = [
        [
            "cross-entropy, as it ships",
            *(number(start[key], digits) for key, digits in columns.items()),
            _percent(start["facts_right_share"]),
        ]
    ]
    for method in (name for name in TITLES if name in summary):
        figures = summary[method]
        cells = [number(figures[key], digits) for key, digits in columns.items()]
        cells[0] = f"{cells[0]} ({100 * figures['gain']:+.0f}%)"
        rows.append([TITLES[method], *cells, _percent(figures["facts_right_share"])])
    return table(["500 test scenes, three seeds", "CIDEr-D", "facts a caption says", "right of them", "share"], rows)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def _cell(values: list[float], digits: int, share: bool) -> str:
    values = [100 * value for value in values] if share else values
    middle, ends, unit = number(statistics.fmean(values), digits), span(values, digits), "%" if share else ""
    return f"{middle}{unit}" if len(values) == 1 or ends == middle else f"{middle}{unit} ({ends})"


BLOCKS = (scenes, scenes_confusions, scenes_examples, front_scenes)
