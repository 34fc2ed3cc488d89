"""Compare METEOR with the Java program of METEOR 1.5: scores, speed in turn, and what the table of paraphrases takes.

    python benchmarks/meteor.py [--data ../shared/data] [--rounds 3] [--captions 25000]

Both get captions tokenised as coco-caption does. Agreement is over the 1,000 captions of coco_metrics and over COCO captions, each against
the others of its image. Speed is in captions a second of CPU time, one process after the other in each round: of the Java process all
its threads' time, once it is warm; of ours one thread, references prepared before, as a reward has them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results

from seqrl.metrics.meteor import kernels
from seqrl.metrics.meteor.metric import Meteor, summable
from seqrl.metrics.meteor.paraphrases import load_paraphrases
from seqrl.metrics.meteor.resources import meteor_folder
from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
MOST_LISTED = 1000
Captions = tuple[list[str], list[list[str]]]


class Java:
    """The Java program as coco-caption starts it."""

    def __init__(self) -> None:
        command = ["java", "-jar", "-Xmx2G", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=meteor_folder(), text=True, encoding="utf-8", **pipes)
        self.ask("SCORE ||| a ||| a")

    def ask(self, line: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def statistics(self, captions: Captions) -> np.ndarray:
        lines = [self.ask(" ||| ".join(("SCORE", *refs, text))) for text, refs in zip(*captions, strict=True)]
        return np.array([line.split() for line in lines], np.float64)

    def seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def read_thousand(data: Path) -> Captions:
    rows = json.loads((data / "captions_1000.json").read_text())
    return [row["test"] if isinstance(row["test"], str) else row["test"][0] for row in rows], [row["refs"] for row in rows]


def read_coco(data: Path, most: int) -> Captions:
    by_image: dict[int, list[str]] = {}
    for annotation in json.loads((data / "captions_val2017.json").read_text())["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(" ".join(ptb_tokenize(annotation["caption"])))
    pairs = [(rows[k], rows[:k] + rows[k + 1 :]) for rows in by_image.values() for k in range(min(5, len(rows)))][:most]
    return [text for text, _ in pairs], [refs for _, refs in pairs]


def agreement(captions: Captions, java: np.ndarray, settings: np.ndarray) -> dict[str, Any]:
    scores, statistics = Meteor().statistics(*captions)
    expected = np.array([kernels.score_statistics(row, settings) for row in java])
    apart = np.abs(scores - expected)
    return {
        "captions": len(scores),
        "equal_to_1e-6": float((apart <= 1e-6).mean()),
        "different": int((apart > 1e-6).sum()),
        "largest_difference": float(apart.max()),
        "differing": [
            {"row": int(row), "ours": round(float(scores[row]), 9), "java": round(float(expected[row]), 9)}
            for row in np.flatnonzero(apart > 1e-6)[:MOST_LISTED]
        ],
        "mean_difference": float((scores - expected).mean()),
        "corpus": float(kernels.score_statistics(statistics.sum(axis=0), settings)),
        "corpus_java": float(kernels.score_statistics(summable(java).sum(axis=0), settings)),
    }


def time_round(captions: Captions, java: Java) -> dict[str, float]:
    hypotheses = [text.split() for text in captions[0]]
    prepared = Meteor().prepare_words([[text.split() for text in refs] for refs in captions[1]])
    prepared.score(hypotheses, range(len(hypotheses)))
    start = time.process_time()
    prepared.score(hypotheses, range(len(hypotheses)))
    ours = len(hypotheses) / (time.process_time() - start)
    before = java.seconds()
    java.statistics(captions)
    theirs = len(hypotheses) / (java.seconds() - before)
    return {"ours_per_s": ours, "java_per_s": theirs, "ratio": ours / theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captions", type=int, default=25_000)
    parser.add_argument("--output", type=Path, default=RESULTS / "meteor.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    data = args.data / "coco_metrics"
    table = meteor_folder() / "data" / "paraphrase-en.gz"
    load_paraphrases(table)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    index = load_paraphrases(table)
    ready = time.process_time() - start
    report: dict[str, Any] = {
        "provenance": provenance([0], threads=1),
        "index_mb": sum(np.asarray(each).nbytes for each in index.arrays[:4]) / 1e6,
        "ready_s": ready,
        "ready_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    java, settings = Java(), Meteor().settings
    thousand = read_thousand(data)
    report["thousand"] = agreement(thousand, java.statistics(thousand), settings)
    report["rounds"] = [time_round(thousand, java) for _ in range(args.rounds)]
    coco = read_coco(data, args.captions)
    report["coco"] = agreement(coco, java.statistics(coco), settings)
    java.close()
    for name, value in report.items():
        if name != "provenance":
            shown = {key: each for key, each in value.items() if key != "differing"} if isinstance(value, dict) else value
            print(name, shown, flush=True)
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="meteor.py"))
