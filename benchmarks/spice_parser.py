"""Compare the scene graphs of metrics/spice with the published parser's, with hand-checked ones and with the tuples that SPICE counted.

    python benchmarks/spice_parser.py [--data ../shared/data]

Rules were written with a look at three lines of four of the published graphs, and at the tuple counts of the candidates of three images
of four (in sorted order). The third, the seventh and so on line is `held_out`, and so are the fourth, the eighth and so on image. FACTUAL's
hand-checked graphs follow another guideline (no compounds, for example) and are for orientation only. One thread; the parser keeps what
it found out about words, not about captions.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.metrics.spice.parser import parse
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
KINDS = {1: "objects", 2: "attributes", 3: "relations"}
Facts = set[tuple[str, ...]]


def read_facts(text: str) -> Facts:
    """Read "( man , wear , hat ) , ( hat , is , red )"; "is" marks attributes, "v:" FACTUAL's verbs."""
    facts: Facts = set()
    for item in text.split(") , ("):
        parts = tuple(part.strip().removeprefix("v:") for part in item.strip(" ()").split(" , "))
        facts.add((parts[0], parts[2]) if len(parts) == 3 and parts[1] == "is" else parts)
    return facts


def with_objects(facts: Facts) -> Facts:
    """Add the objects of pairs and triples; as in the files, objects of which nothing is said count only where nothing else is."""
    told = {fact for fact in facts if len(fact) > 1}
    return told | {(fact[place],) for fact in told for place in (0, 2) if place < len(fact)} if told else facts


def agreement(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Give the micro F1 of all tuples and of each kind."""
    counts = {kind: [0, 0] for kind in ("all", *KINDS.values())}
    for caption, text in pairs:
        ours, theirs = with_objects(set(parse(caption.lower().split()).tuples())), with_objects(read_facts(text))
        for facts, place, weight in ((ours & theirs, 0, 2), (ours, 1, 1), (theirs, 1, 1)):
            for fact in facts:
                counts["all"][place] += weight
                counts[KINDS[len(fact)]][place] += weight
    return {f"{kind}_f1": twice / total for kind, (twice, total) in counts.items()}


def tuple_counts(candidates: list[dict[str, Any]], *, stops: bool) -> dict[str, float]:
    """Compare how many tuples a candidate has with the published tp + fp."""
    differences = []
    for caption, count in {(item["caption"], item["spice"]["tp"] + item["spice"]["fp"]) for item in candidates}:
        words = [word for word in caption.lower().split() if stops or word not in (".", ",")]
        differences.append(len(parse(words).tuples()) - count)
    return {
        "captions": len(differences),
        "equal": sum(number == 0 for number in differences) / len(differences),
        "mean_difference": statistics.mean(differences),
        "mean_absolute_difference": statistics.mean(map(abs, differences)),
    }


def speed(captions: list[list[str]]) -> float:
    """Give captions per second of CPU time, the median of five passes."""
    rates = []
    for _ in range(5):
        start = time.process_time()
        for words in captions:
            parse(words)
        rates.append(len(captions) / (time.process_time() - start))
    return statistics.median(rates)


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--output", type=Path, default=RESULTS / "spice_parser.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    start = time.process_time()
    parse(["dog"])
    ready = time.process_time() - start
    folder = args.data / "spice"
    lines = [line.split("\t") for line in (folder / "official_parser_graphs.tsv").read_text(encoding="utf-8").splitlines()]
    with (folder / "factual_dev.csv").open(encoding="utf-8", newline="") as file:
        factual = [(row["caption"], row["scene_graph"]) for row in csv.DictReader(file)]
    flickr = json.loads((folder / "flickr8k_official_spice.json").read_text(encoding="utf-8"))
    places = {image: place for place, image in enumerate(sorted(flickr["references"]))}
    seen, unseen = (
        [item for item in flickr["candidates"] if (places[item["image_id"]] % 4 == 3) == held_out] for held_out in (False, True)
    )
    report = {
        "provenance": provenance([0], threads=1),
        "published_graphs": {
            "development": agreement((caption, text) for place, (caption, text) in enumerate(lines) if place % 4 != 2),
            "held_out": agreement((caption, text) for caption, text in lines[2::4]),
        },
        "factual_dev": agreement(factual),
        "published_tuple_counts": {"development": tuple_counts(seen, stops=True), "held_out": tuple_counts(unseen, stops=True)},
        "published_tuple_counts_without_stops": {"held_out": tuple_counts(unseen, stops=False)},
        "ready_s": ready,
        "captions_per_s": speed([item["caption"].lower().split() for item in flickr["candidates"]]),
    }
    print(json.dumps({key: value for key, value in report.items() if key != "provenance"}, indent=1))
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="spice_parser.py"))
