"""Compare SPICE with the official program's scores and with people's, and time it as a reward.

    python benchmarks/spice.py [--data ../shared/data] [--seeds 0,1,2] [--no-coco-size] [--no-speed]

Agreement is over the 2,882 candidates of Flickr8k that come with the official program's counts and three human ratings each. While the
parser was written, candidates of some images were looked at: those of even place in sorted order (from 0), and those whose name has a
SHA-256 that begins with one of 0 to 7. They are `development`; `held_out` are the others. Candidates are captions of Flickr8k that stand
at several images, so most held-out ones were seen elsewhere, with other references; `held_out_new_captions` are those that were not.
Intervals are of 300 bootstrap samples of images. The official program read the text as written; the tokens of coco-caption are without
punctuation, which tells its parser and ours sentences from headlines, so both are compared.

Speed is captions a second of CPU time, one thread, 80 captions of 16 images a batch, 5 references an image that were read
before: captions that are all new, and captions that come again as they do in training, with a cache.
"""

from __future__ import annotations

import argparse
import hashlib
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
from numpy.typing import NDArray
from provenance import RESULTS, add_arguments, provenance, require_clean, write_results
from rewards import NUM_IMAGES, SAMPLES_AN_IMAGE, read_captions, resident_bytes, sampled_captions
from scipy.stats import kendalltau

from seqrl.metrics.spice import PreparedSpice, Spice
from seqrl.metrics.tokenize import ptb_tokenize
from seqrl.run.interrupt import run_command

ROOT = Path(__file__).resolve().parent.parent
NUM_BATCHES, RESAMPLES, COCO_IMAGES = 50, 300, 100_000
PUBLISHED_TAU = 0.4477  # of the official program, on all candidates of Flickr8k


def looked_at(images: list[str]) -> set[str]:
    """Name the images whose candidates were looked at while the parser was written."""
    return {image for place, image in enumerate(sorted(images)) if place % 2 == 0 or hashlib.sha256(image.encode()).hexdigest()[0] < "8"}


def words_as_written(caption: str) -> list[str]:
    """Split a caption of Flickr8k, whose punctuation marks stand by themselves, and keep them: the official program read them so."""
    return caption.lower().split()


def flickr8k(path: Path, words: Callable[[str], list[str]] = words_as_written) -> dict[str, Any]:
    """Read the candidates with the official F and human ratings; `images` numbers each candidate's image."""
    found = json.loads(path.read_text(encoding="utf-8"))
    references = {image: [words(caption) for caption in captions] for image, captions in found["references"].items()}
    rows = found["candidates"]
    names, development = sorted(references), looked_at(list(references))
    seen = {row["caption"] for row in rows if row["image_id"] in development}
    return {
        "hypotheses": [words(row["caption"]) for row in rows],
        "references": [references[row["image_id"]] for row in rows],
        "official": np.array([row["spice"]["f"] for row in rows], np.float64),
        "ratings": np.array([row["ratings"] for row in rows], np.float64),
        "images": np.array([names.index(row["image_id"]) for row in rows]),
        "development": np.array([row["image_id"] in development for row in rows]),
        "new": np.array([row["caption"] not in seen for row in rows]),
    }


def tau_c(scores: NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """Correlate scores [N] with the ratings [N, 3], each rating by itself, as the literature on Flickr8k does."""
    return float(kendalltau(np.repeat(scores, ratings.shape[1]), ratings.ravel(), variant="c").statistic)


def agreement(scores: NDArray[np.float64], data: dict[str, Any], rows: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Any]:
    """Compare scores with the official ones and with ratings, on the candidates of `rows`."""
    ours, official, ratings, images = scores[rows], data["official"][rows], data["ratings"][rows], data["images"][rows]
    by_image = [np.flatnonzero(images == image) for image in np.unique(images)]

    def figures(at: NDArray[np.int64]) -> dict[str, float]:
        return {
            "pearson": float(np.corrcoef(ours[at], official[at])[0, 1]),
            "mean": float(ours[at].mean()),
            "official_mean": float(official[at].mean()),
            "tau_c": tau_c(ours[at], ratings[at]),
            "official_tau_c": tau_c(official[at], ratings[at]),
        }

    drawn = [figures(np.concatenate([by_image[n] for n in rng.integers(len(by_image), size=len(by_image))])) for _ in range(RESAMPLES)]
    found: dict[str, Any] = {"candidates": int(rows.sum()), "images": len(by_image), **figures(np.arange(len(ours)))}
    differences = {"mean_difference": ("mean", "official_mean"), "tau_c_difference": ("tau_c", "official_tau_c")}
    for name, (first, second) in differences.items():
        found[name] = found[first] - found[second]
        for each in drawn:
            each[name] = each[first] - each[second]
    found["interval_95"] = {name: np.quantile([each[name] for each in drawn], [0.025, 0.975]).tolist() for name in drawn[0]}
    return found


def compare(data: dict[str, Any], text: str) -> dict[str, Any]:
    """Compare SPICE with official scores and people on each part of the candidates, and print it."""
    scores = Spice().score(data["hypotheses"], data["references"])
    parts = {
        "development": data["development"],
        "held_out": ~data["development"],
        "held_out_new_captions": data["new"],
        "all": np.ones(len(scores), bool),
    }
    report = {name: agreement(scores, data, rows, np.random.default_rng(0)) for name, rows in parts.items()}
    for part, found in report.items():
        for name, (low, high) in found["interval_95"].items():
            print(f"{text:20s} {part:22s} {name:18s} {found[name]:8.4f}   95% {low:8.4f} to {high:8.4f}", flush=True)
    return report


def prepared(captions: list[list[list[str]]], cached: int) -> PreparedSpice:
    """Read the references of all images beforehand."""
    spice = Spice(cached=cached).prepare_words(captions)
    spice.score([rows[0] for rows in captions], range(len(captions)))
    return spice


def timed(spice: PreparedSpice, batches: list[tuple[list[list[str]], NDArray[np.int64]]]) -> float:
    """Give captions a second of CPU time, the median over batches that are each scored once."""
    seconds = []
    for hypotheses, items in batches:
        start = time.process_time()
        spice.score(hypotheses, items.tolist())
        seconds.append((time.process_time() - start) / len(items))
    return 1 / statistics.median(seconds)


def new_captions(captions: list[list[list[str]]], seed: int) -> float:
    """Time captions that were not seen before, without a cache."""
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(NUM_BATCHES):
        images = rng.choice(len(captions), NUM_IMAGES, replace=False)
        batches.append((sampled_captions(captions, images, rng), np.repeat(images, SAMPLES_AN_IMAGE)))
    return timed(prepared(captions, cached=0), batches)


def captions_of_training(captions: list[list[list[str]]], seed: int) -> dict[str, float]:
    """Time captions that come again: eight passes over 320 images with five captions each, drawn from twelve, the n-th with chance ~ 1/n.

    So may a captioner write that self-critical training has made sure of itself; `share_seen_before` says how much of it a cache can save.
    The last four passes are timed.
    """
    rng = np.random.default_rng(seed)
    images = rng.choice(len(captions), 320, replace=False)
    written = [sampled_captions(captions, np.repeat(image, 3), rng)[:12] for image in images]
    chances = 1 / np.arange(1, 13)
    batches, seen, again = [], set(), []
    for _ in range(8):
        for part in rng.permutation(len(images)).reshape(-1, NUM_IMAGES):
            rows = [written[place][n] for place in part for n in rng.choice(12, SAMPLES_AN_IMAGE, p=chances / chances.sum())]
            batches.append((rows, np.repeat(images[part], SAMPLES_AN_IMAGE)))
    first = len(batches) // 2
    for number, (rows, _) in enumerate(batches):
        again += [tuple(row) in seen for row in rows] if number >= first else []
        seen |= set(map(tuple, rows))
    spice = prepared(captions, cached=Spice().cached)
    timed(spice, batches[:first])
    return {"per_s": timed(spice, batches[first:]), "share_seen_before": float(np.mean(again))}


def coco_size(captions: list[list[list[str]]]) -> dict[str, float]:
    """Prepare references as many as COCO's, then read all of them, which scoring does for an item when it is first scored."""
    rng = np.random.default_rng(0)
    flat = [row for rows in captions for row in rows]
    references = [[flat[n] for n in row] for row in rng.integers(len(flat), size=(COCO_IMAGES, 5))]
    before, start = resident_bytes(), time.process_time()
    spice = Spice().prepare_words(references)
    ready = time.process_time() - start
    spice.score([["dog"]] * COCO_IMAGES, range(COCO_IMAGES))
    read = time.process_time() - start
    growth = (resident_bytes() - before) / 1e6
    return {"images": COCO_IMAGES, "captions": 5 * COCO_IMAGES, "prepare_s": ready, "read_all_s": read, "resident_growth_mb": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQRL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--no-coco-size", action="store_true")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "spice.json")
    add_arguments(parser)
    args = parser.parse_args()
    require_clean(allow_dirty=args.allow_dirty)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    report: dict[str, Any] = {"provenance": provenance(seeds, threads=1), "published_tau_c_of_all_candidates": PUBLISHED_TAU}
    report["agreement"] = {}
    for text, words in {"as_written": words_as_written, "without_punctuation": ptb_tokenize}.items():
        report["agreement"][text] = compare(flickr8k(args.data / "spice" / "flickr8k_official_spice.json", words), text)
    if not args.no_speed:
        captions = read_captions(args.data / "coco_metrics" / "captions_val2017.json")
        report["seeds"] = {}
        for seed in seeds:
            row = {"new_captions_per_s": new_captions(captions, seed), "training": captions_of_training(captions, seed)}
            report["seeds"][seed] = row
            print(
                f"seed {seed}  new captions {row['new_captions_per_s']:8,.0f}/s   "
                f"of training {row['training']['per_s']:8,.0f}/s ({row['training']['share_seen_before']:.0%} seen before)",
                flush=True,
            )
        if not args.no_coco_size:
            report["coco_size"] = coco_size(captions)
            for name, value in report["coco_size"].items():
                print(f"COCO size  {name:30s} {value:14,.1f}")
    write_results(args.output, report)
    print(f"written to {args.output}")


if __name__ == "__main__":
    sys.exit(run_command(main, name="spice.py"))
