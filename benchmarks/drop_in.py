"""Compare the classes of `seqrl.metrics.coco` with pycocoevalcap's on the same calls: results, and captions a second.

    python benchmarks/drop_in.py [--data ../shared/data] [--rounds 3]

The 1,000 captions of coco_metrics with about five references each, split into words; one call scores all of them, references counted anew
each time, as code that uses pycocoevalcap calls it. CPU time, of the Java process all its threads' time, its start not counted; both
in turn, of which the medians are kept. The official SPICE is not run: its models are on another server.
Writes benchmarks/results/drop_in.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
from pycocoevalcap.cider.cider import Cider as TheirCider
from pycocoevalcap.meteor.meteor import Meteor as TheirMeteor
from pycocoevalcap.rouge.rouge import Rouge as TheirRouge

from seqrl.metrics import coco
from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
Call = tuple[dict[int, list[str]], dict[int, list[str]]]


def read_call(data: Path) -> Call:
    rows = json.loads((data / "coco_metrics" / "captions_1000.json").read_text())
    references = {n: [" ".join(ptb_tokenize(text)) for text in row["refs"]] for n, row in enumerate(rows)}
    return references, {n: [" ".join(ptb_tokenize(row["test"]))] for n, row in enumerate(rows)}


def java_seconds(process: Any) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(score: Callable[[], Any], process: Any = None) -> tuple[Any, float]:
    """Give a call's result and its CPU time, with that of a process that works for it."""
    before, start = java_seconds(process) if process else 0.0, time.process_time()
    result = score()
    return result, time.process_time() - start + ((java_seconds(process) if process else 0.0) - before)


def measure(ours: Any, theirs: Any, call: Call, rounds: int, **settings: Any) -> dict[str, float]:
    """Call both in turn; `theirs` may be None."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    ours.compute_score(*call, **settings)  # compiles, and reads tables
    results = {}
    for name, scorer in (("ours", ours), ("theirs", theirs)) * rounds:
        if scorer is not None:
            process = getattr(scorer, "meteor_p", None)
            results[name], seconds = timed(lambda scorer=scorer: scorer.compute_score(*call, **settings), process)  # type: ignore[misc]
            times[name].append(seconds)
    row = {"ours_per_s": len(call[0]) / statistics.median(times["ours"])}
    if theirs is not None:
        figures = {name: (np.asarray(result[0], np.float64), np.asarray(result[1], np.float64)) for name, result in results.items()}
        row["theirs_per_s"] = len(call[0]) / statistics.median(times["theirs"])
        row["ratio"] = row["ours_per_s"] / row["theirs_per_s"]
        row["corpus_difference"] = float(np.abs(figures["ours"][0] - figures["theirs"][0]).max())
        apart = np.abs(figures["ours"][1] - figures["theirs"][1])
        row |= {"largest_difference": float(apart.max()), "equal_to_1e-6": float((apart <= 1e-6).mean())}
    return row


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--rounds", type=int, default=3)
    add_arguments(parser)
    arguments = parser.parse_args()
    require_clean(allow_dirty=arguments.allow_dirty)
    call = read_call(arguments.data)
    meteor = TheirMeteor()
    meteor.compute_score(*call)  # warm
    contests: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("Bleu", coco.Bleu(4), TheirBleu(4), {"verbose": 0}),
        ("Rouge", coco.Rouge(), TheirRouge(), {}),
        ("Cider", coco.Cider(), TheirCider(), {}),
        ("Meteor", coco.Meteor(), meteor, {}),
        ("Spice", coco.Spice(), None, {}),
    ]
    results: dict[str, Any] = {"provenance": provenance([]), "captions": len(call[0]), "rounds": arguments.rounds, "classes": {}}
    for name, ours, theirs, settings in contests:
        row = results["classes"][name] = measure(ours, theirs, call, arguments.rounds, **settings)
        print(name, {key: float(f"{value:.3g}") for key, value in row.items()}, flush=True)
    write_results(RESULTS / "drop_in.json", results)


if __name__ == "__main__":
    sys.exit(run_command(main, name="drop_in.py"))
